"""Ways on which the same events come to parts: embedded, restarted, on partitions, by frames and by rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, cast

import msgspec
import numpy as np

from learning.parts import Parts, build_parts
from learning.pipeline import Pipeline
from learning.rows.follow import RowFollower
from learning.rows.publish import ItemRows, TrainedRows, UserRows
from learning.rows.shared import SharedRows
from learning.settings import LearningSettings
from learning.testing_chain import Chain
from stream.block_codec import encode_item
from stream.engine.shard import Output
from stream.events import Click, Decision, Forget, Impression, ItemEvent, LoggedEvent, Tick
from stream.frame import Frame, pack, unpack
from stream.step import Step
from stream.testing import ScriptedEvents, drive

__all__ = ["Embedded", "chained", "followed", "pieces", "renewed", "scripted", "shuffled_rows"]

_KEY = b"a key for tests, no secret"
_DRAWN = 5
_DEVICES = ("phone", "desk", "car")


def scripted(
    settings: LearningSettings, *, seed: int = 1, n: int = 600, forgets: bool = True
) -> list[LoggedEvent]:
    """A log of n events with all that may stand in one; requests have a context, items have attributes.

    The numbers are sums of few powers of two, so that sums of them are exact in any order, and features are
    float16, in which they travel to TRAIN. A last tick closes all windows.

    Example:
        >>> events = scripted(LearningSettings(), n=100)
        >>> len(events), [event.context for event in events if isinstance(event, Decision)][0]
        (101, {'device': 'desk', 'hour': 1})
    """
    n_features = build_parts(settings).ranker.n_features
    numbers = count(1)
    made: list[LoggedEvent] = []
    for event in ScriptedEvents(seed, n_features=_DRAWN).take(n):
        if isinstance(event, Decision):
            at = next(numbers)
            context = {"device": _DEVICES[at % 7 % 3], "hour": at % 8}
            # As many are drawn whatever scorers there are, so that all else in the log stays the same.
            drawn = np.frombuffer(event.features, "<f4").astype("<f2").astype("<f4").reshape(-1, _DRAWN)
            features = drawn[:, np.arange(n_features) % _DRAWN].tobytes()
            made.append(msgspec.structs.replace(event, context=context, features=features))
        elif isinstance(event, ItemEvent):
            number = int(event.item_id[1:])
            genre = {"genre": "abc"[number % 3], "length": number % 4}
            made.append(msgspec.structs.replace(event, attributes=genre))
        elif forgets or not isinstance(event, Forget):
            made.append(event)
    return [*made, Tick(ts=made[-1].ts + 45 * 60_000)]


def renewed(events: Sequence[LoggedEvent], pause_ms: int) -> list[LoggedEvent]:
    """The same log with a pause in the middle: all items are deleted before it, and behind it come new ones
    and new users. It ends as soon as all is said."""
    half, events = len(events) // 2, events[:-1]
    first, at = list(events[:half]), events[half].ts
    items = [event for event in first if isinstance(event, ItemEvent)]
    others = {item.item_id: f"new-{item.item_id}" for item in items}
    first += [ItemEvent(item_id=item.item_id, ts=at, deleted=True) for item in items]
    # A row that is freed at one tick is used again after the next.
    first += [Tick(ts=at + pause_ms // 2), Tick(ts=at + pause_ms)]
    at += pause_ms
    first += [msgspec.structs.replace(item, item_id=others[item.item_id], ts=at) for item in items]
    return [*first, *(_later(event, others, pause_ms) for event in events[half:])]


def _later(event: LoggedEvent, others: Mapping[str, str], by_ms: int) -> LoggedEvent:
    """An event by another user, with other items, so much later."""
    changed: dict[str, Any] = {"ts": event.ts + by_ms}
    if not isinstance(event, Tick | ItemEvent):
        changed["user_id"] = f"new-{event.user_id}"
    if isinstance(event, Click | ItemEvent):
        changed["item_id"] = others.get(event.item_id, event.item_id)
    elif isinstance(event, Decision | Impression):
        changed["items"] = [others.get(item, item) for item in event.items]
    if isinstance(event, Decision | Impression | Click) and event.request_id is not None:
        changed["request_id"] = f"new-{event.request_id}"
    return msgspec.structs.replace(event, **changed)


def pieces(
    events: Sequence[LoggedEvent], rng: np.random.Generator, most: int = 40
) -> Iterator[list[LoggedEvent]]:
    """The events cut anywhere, into lists of `most` at most."""
    low = 0
    while low < len(events):
        size = int(rng.integers(1, most + 1))
        yield list(events[low : low + size])
        low += size


class Embedded:
    """The embedded learner, and all that replicas would get from it.

    Args:
        settings: of what learns.
        kind: "frames" keeps what embedded replicas follow, "rows" what stands in topics; "": nothing.
    """

    def __init__(self, settings: LearningSettings, kind: str = "") -> None:
        self.settings, self._kind = settings, kind
        self.frames: list[Frame] = []
        self.outputs: list[Output] = []
        self._take_over(None)

    def _take_over(self, frame: Frame | None) -> None:
        self.pipeline = Pipeline(self.settings, _KEY)
        parts = self.pipeline.parts
        self._users, self._items = UserRows(parts, 0), ItemRows(parts, 0, lambda _: 0)
        of_all = {**parts.learners(), **parts.policy_parts(), **parts.measures}
        self._rows = (
            self._users,
            self._items,
            TrainedRows({"ranker": parts.ranker}),
            SharedRows(of_all, "items", 0),
        )
        if frame is not None:
            self.pipeline.restore(frame["pipeline"])
            self._users.restore(frame["users"])
            self._items.restore(frame["items"])

    @property
    def parts(self) -> Parts:
        """What it has learned."""
        return self.pipeline.parts

    def learn(self, batches: Iterable[Sequence[LoggedEvent]], *, restarts: bool = False) -> Embedded:
        """Learn batch after batch; with `restarts` each begins in a new process."""
        for batch in batches:
            drive(cast(Step, self.pipeline), batch)
            if self._kind == "rows":
                self.outputs += [_said(event) for event in batch if isinstance(event, ItemEvent)]
                self.outputs += [output for rows in self._rows for output in rows.take()]
            else:
                frame = unpack(pack(self.pipeline.take()))
                self.frames += [frame] if self._kind else []
            if restarts:
                state: dict[str, Any] = {
                    "pipeline": self.pipeline,
                    "users": self._users,
                    "items": self._items,
                }
                self._take_over(unpack(pack({name: one.snapshot() for name, one in state.items()})))
        return self

    def replica(self) -> Parts:
        """An embedded replica that has followed all frames."""
        parts = build_parts(self.settings)
        for frame in self.frames:
            for name, part in parts.named().items():
                if frame.get(name):
                    part.apply(frame[name])
        return parts


def _said(event: ItemEvent) -> Output:
    return Output("catalogue", 0, None if event.deleted else encode_item(event), event.item_id.encode())


def chained(
    settings: LearningSettings, n: int, batches: Iterable[Sequence[LoggedEvent]], *, restarts: bool = False
) -> Chain:
    """All shards of n partitions that have learned all batches; with `restarts` each in new processes."""
    chain = Chain(settings, n)
    for batch in batches:
        chain.feed(batch)
        if restarts:
            chain.restart()
    chain.settle()
    return chain


def shuffled_rows(outputs: Iterable[Output], rng: np.random.Generator) -> list[Output]:
    """In order within each partition of a topic, in any order otherwise."""
    queues: dict[tuple[str, int], deque[Output]] = {}
    for output in outputs:
        queues.setdefault((output.topic, output.partition), deque()).append(output)
    mixed = []
    while queues:
        names = sorted(queues)
        name = names[rng.integers(len(names))]
        mixed.append(queues[name].popleft())
        if not queues[name]:
            del queues[name]
    return mixed


def followed(settings: LearningSettings, outputs: Iterable[Output], rng: np.random.Generator) -> Parts:
    """A serving worker that has read these records, shuffled, in some batches."""
    follower, parts = RowFollower(settings), build_parts(settings)
    for batch in _pieces_of(shuffled_rows(outputs, rng), rng):
        for output in batch:
            follower.add(output.topic, output.partition, output.key or b"", output.value)
        frame = unpack(pack(follower.take()))
        for name, part in parts.named().items():
            if frame.get(name):
                part.apply(frame[name])
    return parts


def _pieces_of(outputs: Sequence[Output], rng: np.random.Generator) -> Iterator[Sequence[Output]]:
    """The records in some batches of any size."""
    cuts = np.sort(rng.integers(0, len(outputs) + 1, 6)).tolist()
    for low, high in zip([0, *cuts], [*cuts, len(outputs)], strict=True):
        yield outputs[low:high]
