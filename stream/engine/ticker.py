"""When time passes: a pure function of the record sequence."""

from __future__ import annotations

__all__ = ["Ticker"]


class Ticker:
    """Says which tick is due before something that happened at a given time.

    Ticks stand at multiples of `tick_ms` and never go back: before whatever happens at
    `now >= last + tick_ms` comes a tick at ``floor(now / tick_ms) * tick_ms``. The only state is `last`,
    which travels in snapshots, so ticks of this kind need no place in the committed merge order.

    Example:
        >>> ticker = Ticker(1_000)
        >>> ticker.due(5_300), ticker.due(5_999), ticker.due(9_001), ticker.due(100)
        (5000, None, 9000, None)
    """

    def __init__(self, tick_ms: int, last: int = -1) -> None:
        self.tick_ms = tick_ms
        self.last = last
        """Time of the last tick, which is the watermark; -1 before the first."""

    @property
    def next(self) -> int:
        """What happens earlier than this needs no tick."""
        return self.last + self.tick_ms if self.last >= 0 else 0

    def due(self, now: int) -> int | None:
        """The tick that comes before something at `now` (ms), which is then the last one; or None."""
        if now < self.next:
            return None
        self.last = now // self.tick_ms * self.tick_ms
        return self.last
