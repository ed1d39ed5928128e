"""Replicas synchronised only so often, for replays that ask what a delay before serving costs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from learning.errors import SettingsError
from learning.parts import Parts, build_parts
from learning.pipeline import Pipeline
from learning.settings import LearningSettings
from stream.events import LoggedEvent
from stream.frame import Frame, pack, unpack

__all__ = ["Mirror", "MirroredPipeline", "parse_interval"]

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_MS = 3_653 * 86_400_000


def parse_interval(text: str) -> int:
    """``30s``, ``5m``, ``1.5h`` or ``1d`` in milliseconds.

    Raises:
        SettingsError: it is written otherwise, shorter than a second or longer than ten years.

    Example:
        >>> parse_interval("1.5h")
        5400000
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    interval = float(match[1]) * _UNITS_MS[match[2]] if match else 0.0
    if not 1_000 <= interval <= _LONGEST_MS:
        msg = (
            "an interval from a second to ten years was expected, like 30s, 5m, 1.5h or 1d; "
            f"got {text[:40]!r}"
        )
        raise SettingsError(msg)
    return round(interval)


class Mirror:
    """A serving worker's copy of the learned parts, brought up to date every `sync_ms` of event time.

    Live events and backfilled history each have a time of their own, so each stream has its own next time;
    whichever comes brings all up to date. Between two synchronisations it holds the changes published
    meanwhile, as bytes.
    """

    def __init__(self, settings: LearningSettings, sync_ms: int) -> None:
        self.sync_ms = sync_ms
        self.parts: Parts = build_parts(settings)
        self._pending: list[bytes] = []
        self._due_ms = {False: 0, True: 0}

    def is_due(self, now_ms: int, *, backfill: bool) -> bool:
        """Whether it is to be brought up to date now, by the time of this stream."""
        return now_ms >= self._due_ms[backfill]

    def publish(self, changes: bytes) -> None:
        """Take note of changes."""
        self._pending.append(changes)

    def sync(self, now_ms: int, *, backfill: bool) -> None:
        """Take over all that was published."""
        self._due_ms[backfill] = now_ms + self.sync_ms
        for frame in map(unpack, self._pending):
            for name, part in self.parts.named().items():
                if frame.get(name):
                    part.apply(frame[name])
        self._pending.clear()

    def restore(self, frame: Frame) -> None:
        """Start from a snapshot of the pipeline."""
        self.parts.restore(frame)
        self._pending.clear()


class MirroredPipeline:
    """The pipeline as a step, and mirrors that follow it at intervals of their own.

    Synchronisation stands at ticks: what was learned before the tick is in the copy. The pipeline itself
    learns as it would without mirrors, bit for bit, with one thing more: while history is fed, tables,
    centroids and graph are looked after in the time of that history. A live learner does so by its clock,
    which does not pass here.

    Example:
        >>> from stream.events import Click
        >>> step = MirroredPipeline(LearningSettings(), b"sixteen bytes or more", [60_000])
        >>> for ts in (1_000, 2_000):
        ...     step.on_events([Click(ts=ts, user_id="u", item_id=f"i{ts}")])
        ...     step.on_tick(ts)
        >>> step.pipeline.parts.items.size, step.mirrors[0].parts.items.size
        (2, 1)
    """

    def __init__(self, settings: LearningSettings, forget_key: bytes, syncs_ms: Sequence[int]) -> None:
        self.pipeline = Pipeline(settings, forget_key)
        self.mirrors = [Mirror(settings, sync_ms) for sync_ms in syncs_ms]

    def on_events(self, events: Sequence[LoggedEvent], *, backfill: bool = False) -> None:
        """Learn events in log order."""
        self.pipeline.on_events(events, backfill=backfill)

    def on_tick(self, now_ms: int, *, backfill: bool = False) -> None:
        """Let time pass in one of the streams, and bring up to date whom it is time for."""
        self.pipeline.on_tick(now_ms, backfill=backfill)
        self.pipeline.maintain(now_ms)
        due = [mirror for mirror in self.mirrors if mirror.is_due(now_ms, backfill=backfill)]
        if due:
            self.take()
        for mirror in due:
            mirror.sync(now_ms, backfill=backfill)

    def take(self) -> Frame:
        """Publish what has changed; nothing is left to commit."""
        changes = pack(self.pipeline.take())
        for mirror in self.mirrors:
            mirror.publish(changes)
        return {}

    def snapshot(self) -> Frame:
        """All state of the pipeline; mirrors are made anew from it."""
        return self.pipeline.snapshot()

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; every mirror starts from there."""
        self.pipeline.restore(frame)
        for mirror in self.mirrors:
            mirror.restore(frame)
