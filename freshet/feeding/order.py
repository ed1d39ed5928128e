"""Notices rows that a running Freshet will count as late and not learn, while they go by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from freshet.feeding.readers import Row
from stream.join_settings import JoinSettings

__all__ = ["OrderWatch"]


class _Timed(msgspec.Struct):
    ts: int | None = None


_decoder = msgspec.json.Decoder(_Timed)


class OrderWatch:
    """Counts rows whose `ts` lies further back than the allowed lateness; what it cannot read it lets pass.

    For history the watermark follows the rows, so what counts is the newest row before; on the live stream
    of a system on the wall clock it is now. The lateness is the default one: the other side may be set
    otherwise.

    Args:
        now_ms: the wall clock, for the live stream; None for history.

    Example:
        >>> watch = OrderWatch(None)
        >>> rows = [Row(0, b'{"ts": 90000000}'), Row(1, b'{"ts": 80000000}'), Row(2, b'{"ts": 90000001}')]
        >>> len(list(watch.watch(rows))), watch.n_late, watch.advice()
        (3, 1, '1 row is more than 10 minutes older than one before it (the first is row 2): sort by ts')
    """

    def __init__(self, now_ms: int | None) -> None:
        self._newest = -1 if now_ms is None else now_ms
        self._is_live = now_ms is not None
        self._lateness_ms = JoinSettings().lateness_ms
        self._first = 0
        self.n_late = 0

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows."""
        for row in rows:
            ts = _ts_of(row.body)
            if ts is not None:
                if ts < self._newest - self._lateness_ms:
                    self._first = self._first or row.number + 1
                    self.n_late += 1
                self._newest = max(self._newest, ts)
            yield row

    def advice(self) -> str:
        """What to do about it, in a sentence; empty when nothing is late."""
        if not self.n_late:
            return ""
        rows = "1 row is" if self.n_late == 1 else f"{self.n_late:,} rows are"
        first = f"(the first is row {self._first})"
        minutes = self._lateness_ms // 60_000
        if self._is_live:
            return f"{rows} more than {minutes} minutes old {first}: for history add --backfill"
        return f"{rows} more than {minutes} minutes older than one before it {first}: sort by ts"


def _ts_of(body: bytes) -> int | None:
    try:
        return _decoder.decode(body).ts
    except msgspec.DecodeError:
        return None
