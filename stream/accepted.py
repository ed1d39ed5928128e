"""When the events were accepted that a commit has learned: for measuring how fresh its rows are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from stream.blocks import CLICK, FeedbackBlock, ItemsBlock
from stream.errors import FrameError

__all__ = ["MOST_TIMES", "AcceptedTimes", "policy_clicks", "read_times", "served_items"]

MOST_TIMES = 1_024
"""Distinct times of one commit; beyond them neighbours are counted together."""


class AcceptedTimes:
    """Wall times (ms), each with how many events were accepted then, since the last `take`.

    Exact to the ms up to `MOST_TIMES` distinct ones; then each step halves how finely they are told, and the
    time that stands for several is the earliest. A time of 0 is not known and not counted.

    Example:
        >>> times = AcceptedTimes()
        >>> times.add([1_000, 1_007, 1_000, 0])
        >>> read_times(times.take()), read_times(times.take())
        ([(1000, 2), (1007, 1)], [])
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._grain = 1

    def add(self, times: Iterable[int]) -> None:
        """Take note of events."""
        counts = self._counts
        for at in times:
            if at > 0:
                at -= at % self._grain
                counts[at] = counts.get(at, 0) + 1
        while len(self._counts) > MOST_TIMES:
            self._coarsen()

    def _coarsen(self) -> None:
        self._grain *= 2
        found, self._counts = self._counts, {}
        for at, n in found.items():
            at -= at % self._grain
            self._counts[at] = self._counts.get(at, 0) + n

    def take(self) -> bytes:
        """Pairs of time and number, little-endian int64, in order of time."""
        pairs = sorted(self._counts.items())
        self._counts, self._grain = {}, 1
        return np.array(pairs, "<i8").tobytes()


def read_times(data: bytes) -> list[tuple[int, int]]:
    """What `AcceptedTimes.take` gave.

    Raises:
        FrameError: the bytes are no pairs, or too many.

    Example:
        >>> read_times(b"1234567")
        Traceback (most recent call last):
        stream.errors.FrameError: accepted times: expected pairs of 16 bytes, at most 1024, got 7 bytes
    """
    if len(data) % 16 or len(data) > 16 * MOST_TIMES:
        msg = f"accepted times: expected pairs of 16 bytes, at most {MOST_TIMES}, got {len(data)} bytes"
        raise FrameError(msg)
    return [(at, n) for at, n in np.frombuffer(data, "<i8").reshape(-1, 2).tolist()]


def policy_clicks(block: FeedbackBlock) -> list[int]:
    """When those clicks of a block were accepted that policies learn from: on slates that were decided."""
    if not block.accepted:
        return []
    rows = zip(block.kind, block.ref, block.accepted, strict=True)
    return [at for kind, ref, at in rows if at and kind == CLICK and block.slates[ref].decided]


def served_items(block: ItemsBlock) -> list[int]:
    """When those items of a block were accepted that are there to be found: not the deleted ones.

    Example:
        >>> from stream.events import ItemEvent
        >>> gone = ItemEvent(item_id="b", ts=6, deleted=True)
        >>> served_items(ItemsBlock([ItemEvent(item_id="a", ts=5), gone], [1_000, 1_001]))
        [1000]
    """
    if not block.accepted:
        return []
    return [at for item, at in zip(block.items, block.accepted, strict=True) if not item.deleted]
