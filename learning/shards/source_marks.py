"""How far the sources of a partition have come."""

from __future__ import annotations

from stream.item_blocks import Ticked

__all__ = ["SourceMarks"]


class SourceMarks:
    """The newest tick of every source; what all of them have passed is absorbed.

    Args:
        n_sources: how many sources write into the partition.

    Example:
        >>> marks = SourceMarks(2)
        >>> marks.put(Ticked(0, 50, 40)), marks.absorbed_at
        (False, 0)
        >>> marks.put(Ticked(1, 70, 30)), marks.absorbed_at, marks.watermark
        (True, 50, 30)
    """

    def __init__(self, n_sources: int) -> None:
        self.n_sources = n_sources
        self._newest: list[tuple[int, int]] = [(0, 0)] * n_sources
        self.absorbed_at = 0
        """Everything acknowledged up to then (ms) stands before this; 0 until all sources have spoken."""
        self.watermark = 0
        """The event time (ms) that all sources have reached."""

    def put(self, tick: Ticked) -> bool:
        """Take a tick of one of the sources; whether `absorbed_at` or `watermark` has grown by it."""
        ts, watermark = self._newest[tick.source]
        self._newest[tick.source] = (max(ts, tick.ts), max(watermark, tick.watermark))
        before = (self.absorbed_at, self.watermark)
        self._settle()
        return before != (self.absorbed_at, self.watermark)

    def rewind(self, tick: Ticked) -> None:
        """One of the sources had said times that had not come: it has come no further than `tick`.

        Example:
            >>> marks = SourceMarks(1)
            >>> _ = marks.put(Ticked(0, 9_000_000, 9_000_000))
            >>> marks.rewind(Ticked(0, 50, 40, rewinds=True))
            >>> marks.absorbed_at, marks.watermark
            (50, 40)
        """
        ts, watermark = self._newest[tick.source]
        self._newest[tick.source] = (min(ts, tick.ts), min(watermark, tick.watermark))
        self._settle()

    def _settle(self) -> None:
        self.absorbed_at = min(ts for ts, _ in self._newest)
        self.watermark = min(watermark for _, watermark in self._newest)

    def snapshot(self) -> list[list[int]]:
        """The newest tick of each source."""
        return [list(pair) for pair in self._newest]

    def restore(self, state: list[list[int]]) -> None:
        """Become what `snapshot` described."""
        self._newest = [(int(ts), int(watermark)) for ts, watermark in state]
        self._settle()
