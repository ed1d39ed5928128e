"""Segments in the making: where the joiner puts its outcomes, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from stream.blocks import (
    CLICK,
    CLOSED,
    ORGANIC,
    SHOWN,
    TAKEN_BACK,
    FeedbackBlock,
    Forgotten,
    ItemsBlock,
    Segment,
    Slate,
)
from stream.events import Decision, ItemEvent
from stream.frame import Frame

__all__ = [
    "Mark",
    "OpenSlate",
    "Outbox",
    "revive_context",
    "revive_slates",
    "store_context",
    "store_item_context",
    "store_slates",
    "weight_of",
]

Mark = tuple[int, str, float, str, str]
"""What is kept of a click: (ts, event id or "", value, item, kind). Larger marks win over smaller ones."""


class OpenSlate(Slate, kw_only=True, gc=False):
    """A shown slate whose window is open, with the clicks that were joined to it.

    `marks`: the joined clicks by identity. `aside`: clicks that did not fit an undecided slate, kept in case
    its decision is still to come. `taught`: places whose first positive has already left, though their reward
    is not above zero now; ~place where it is the first dislike that has. `serial` and `ref` say where the
    slate lies in the block that is being filled. `n_bytes` is `weight_of` it, once it is kept.
    """

    marks: dict[tuple[str, str] | str, Mark] | None = None
    aside: list[Mark] | None = None
    taught: list[int] | None = None
    serial: int = -1
    ref: int = -1
    n_bytes: int = 0


_SLATE_BYTES = 700

# `item_context` is for whoever learns what was shown, and whatever is open was.
_OWN = {"context", "item_context", "rewards", "rows", "marks", "aside", "taught", "serial", "ref", "n_bytes"}
_PLAIN = tuple(name for name in OpenSlate.__struct_fields__ if name not in _OWN)
_ABSENT: Mapping[str, Any] = {"eligible": 0, "feature_schema": ""}


def store_context(context: bytes | dict[str, Any] | None) -> bytes | None:
    """A client's context as JSON, unless it is that already.

    As Python objects it may take a hundred times the memory; and a frame has no place for every number, and
    reads some maps as arrays.
    """
    return context if context is None or isinstance(context, bytes) else msgspec.json.encode(context)


def store_item_context(context: bytes | msgspec.Raw | list[dict[str, Any] | None] | None) -> bytes:
    """What is said of each item of a list as JSON, for the same reasons; nothing where nothing is."""
    if not context:
        return b""
    stored = context if isinstance(context, bytes) else msgspec.json.encode(context)
    return b"" if stored == b"null" else stored


def revive_context(stored: bytes | dict[str, Any] | None) -> dict[str, Any] | None:
    """The context that `store_context` wrote; of a decision that nothing has kept yet it is a map."""
    return msgspec.json.decode(stored) if isinstance(stored, bytes) else stored


def store_slates(slates: Iterable[OpenSlate]) -> Frame:
    """The state of open slates as columns: a list for each field, with an entry a slate."""
    kept = list(slates)
    columns: Frame = {name: [getattr(slate, name) for slate in kept] for name in _PLAIN}
    columns["context"] = [store_context(slate.context) for slate in kept]
    columns["rewards"] = [list(slate.rewards.items()) for slate in kept]
    columns["marks"] = [list((slate.marks or {}).values()) for slate in kept]
    columns["aside"] = [list(slate.aside or ()) for slate in kept]
    columns["taught"] = [list(slate.taught or ()) for slate in kept]
    return columns


def revive_slates(columns: Mapping[str, Any]) -> Iterator[OpenSlate]:
    """The slates that `store_slates` described, in the same order."""
    contexts = map(store_context, columns["context"])  # older snapshots hold maps
    more = zip(
        contexts, columns["rewards"], columns["marks"], columns["aside"], columns["taught"], strict=True
    )
    n = len(columns["request_id"])
    # Snapshots may be older than a column.
    plain = zip(*(columns.get(name, [_ABSENT.get(name)] * n) for name in _PLAIN), strict=True)
    for values, (context, rewards, marks, aside, taught) in zip(plain, more, strict=True):
        slate = OpenSlate(**dict(zip(_PLAIN, values, strict=True)), context=context, rewards=dict(rewards))
        if marks:
            slate.marks = {mark[1] or (mark[3], mark[4]): tuple(mark) for mark in marks}
        slate.aside = [tuple(mark) for mark in aside] or None
        slate.taught = list(taught) or None
        yield slate


def weight_of(shown: Decision | OpenSlate) -> int:
    """About how many bytes of memory a slate, or a decision that waits for its impression, takes.

    Its context counts as JSON, which is how it is kept. Clicks that were joined to it are not in it.

    Example:
        >>> slate = OpenSlate(request_id="r", user_id="u", ts=7, items=["a", "b"], context=b"x" * 1_000)
        >>> weight_of(slate)
        1902
    """
    items, others, context = shown.items, shown.others, shown.context
    # What CPython takes for the structs, and for each text with its place in a list and its propensity.
    n_bytes = _SLATE_BYTES + 100 * len(items) + 60 * len(others) + len(shown.features)
    n_bytes += len("".join(items)) + len("".join(others))
    if known := shown.item_context:
        n_bytes += len(store_item_context(known))
    return n_bytes if context is None else n_bytes + len(context)


class Outbox:
    """Collects outcomes into segments; a slate enters a block's `slates` at its first outcome there.

    Args:
        kinds: what a click may be called, in the order of their numbers.

    Example:
        >>> outbox = Outbox()
        >>> slate = OpenSlate(request_id="r", user_id="u", ts=7, items=["a", "b"])
        >>> outbox.shown(slate)
        >>> outbox.click(slate, 1, 1.0, True, 9)
        >>> [block] = outbox.take()
        >>> block.kind, block.ref, block.place, len(block.slates)
        ([0, 1], [0, 0], [-1, 1], 1)

    Attributes:
        accepted_at: when the event was accepted that outcomes come from now, wall ms; 0: not known.
    """

    __slots__ = (
        "_actions", "_acts", "_block", "_operations", "_segments", "_serial", "accepted_at",
    )  # fmt: skip

    def __init__(self, kinds: Iterable[str] = ("click",)) -> None:
        self._segments: list[Segment] = []
        self._actions = {kind: number for number, kind in enumerate(kinds)}
        self._block: FeedbackBlock | None = None
        self._operations: list[tuple[int, int, int, float, bool, int, float, int]] = []
        self._acts: list[tuple[int, int]] = []  # operations of other kinds than "click", and which
        self._serial = 0
        self.accepted_at = 0

    def _open(self) -> FeedbackBlock:
        block = self._block
        if block is None:
            block = self._block = FeedbackBlock()
            self._segments.append(block)
            self._serial += 1
        return block

    def _seal(self) -> None:
        """Turn the operations of the block that is being filled into its columns."""
        block, self._block = self._block, None
        if block is not None:
            columns = map(list, zip(*self._operations, strict=True))
            block.kind, block.ref, block.place, block.reward, block.first, block.ts, before, at = columns
            block.before = before if any(before) else []
            block.accepted = at if any(at) else []
            if self._acts:
                block.action = [0] * len(block.kind)
                for o, action in self._acts:
                    block.action[o] = action
                self._acts = []
            self._operations = []

    def _put(
        self,
        slate: OpenSlate,
        kind: int,
        place: int,
        reward: float,
        first: bool,
        ts: int,
        before: float = 0.0,
        accepted_at: int = 0,
    ) -> None:
        block = self._block
        if block is None:
            block = self._open()
        if slate.serial == self._serial:
            ref = slate.ref
        else:
            ref = slate.ref = len(block.slates)
            slate.serial = self._serial
            block.slates.append(slate)
        self._operations.append((kind, ref, place, reward, first, ts, before, accepted_at))

    def shown(self, slate: OpenSlate) -> None:
        """The slate counts as shown, at its own time."""
        self._put(slate, SHOWN, -1, 0.0, False, slate.ts)

    def click(
        self,
        slate: OpenSlate,
        place: int,
        change: float,
        first: bool,
        ts: int,
        before: float = 0.0,
        kind: str | None = "click",
    ) -> None:
        """The reward of one place changed from `before`; a change of 0 is a signal. No `kind`: nobody
        clicked, a reward is taken back."""
        if kind != "click":
            self._acts.append((len(self._operations), TAKEN_BACK if kind is None else self._actions[kind]))
        self._put(slate, CLICK, place, change, first, ts, before, self.accepted_at)

    def closed(self, slate: OpenSlate, ts: int) -> None:
        """The window of the slate ended at `ts`."""
        self._put(slate, CLOSED, -1, 0.0, False, ts)

    def organic(self, user_id: str, item_id: str, reward: float, ts: int, kind: str = "click") -> None:
        """A click without a decision behind it."""
        block = self._block
        if block is None:
            block = self._open()
        if kind != "click":
            self._acts.append((len(self._operations), self._actions[kind]))
        self._operations.append((ORGANIC, len(block.organic), -1, reward, True, ts, 0.0, self.accepted_at))
        block.organic.append((user_id, item_id))

    def item(self, event: ItemEvent) -> None:
        """An item as last sent."""
        last = self._segments[-1] if self._segments else None
        if isinstance(last, ItemsBlock):
            last.items.append(event)
        else:
            self._seal()
            last = ItemsBlock([event])
            self._segments.append(last)
        if self.accepted_at or last.accepted:
            last.accepted += [0] * (len(last.items) - 1 - len(last.accepted)) + [self.accepted_at]

    def forgotten(self, user_id: str, ts: int) -> None:
        """A user to erase."""
        self._seal()
        self._segments.append(Forgotten(user_id, ts))

    def take(self) -> list[Segment]:
        """The segments since the last call; they are the caller's now."""
        self._seal()
        segments, self._segments = self._segments, []
        return segments
