"""Rows in the order of their times, as far as a bounded look-ahead can put them there, and what was seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

import msgspec

from freshet.feeding.readers import Row
from stream.join_settings import JoinSettings

__all__ = ["InOrder", "Timed"]

_MOST_ROWS = 500_000
_MOST_BYTES = 128 << 20
_JUMP_MS = 30 * 86_400_000
_FEW = 100  # one row in so many may lie behind a jump
_SHORT, _YEAR_MS = 10, 365 * 86_400_000


class Timed(NamedTuple):
    """A row, the time that it is lined up by (ms), and whether it can be late."""

    ts: int
    row: Row
    acts: bool = True


class _Glance(msgspec.Struct):
    ts: int | None = None
    type: str = ""


_decoder = msgspec.json.Decoder(_Glance)


class InOrder:
    """One file's rows by `ts`, so that none is late only because of where it stands in the file.

    History has a watermark that follows the rows, so a row far behind one before it is lost. The rules:

    * A file whose rows are never more than the allowed lateness behind one before them is left as it is.
    * From the first that is, rows are sorted by `ts`, half a million rows or 128 MiB at a time; equal times
      keep their order. Rows that had to move further are `n_late`.
    * Rows at the very end that lie further away than a month, and than the whole log before them is long, are
      not given at all where they are at most one in a hundred, or a single one that is more than a year away
      from ten or more: `jumped`. One wrong clock among them would make all that is loaded afterwards late.
    * An item or a forget has no place in time: it stays behind the rows that came before it, and a row whose
      time cannot be read stays where it stands.

    The order depends on the file alone, so its n-th row is the same whenever it is read. Holds as many rows
    as are sorted at a time.

    Args:
        lateness_ms: how far behind a row may lie.

    Example:
        >>> rows = [Row(n, b'{"ts": %d}' % ts) for n, ts in enumerate([90_000_000, 80_000_000, 90_000_001])]
        >>> order = InOrder()
        >>> [timed.row.number for timed in order.sort(rows)], order.n_behind
        ([1, 0, 2], 1)
        >>> order.findings()
        ['1 of 3 rows is more than 10 minutes older than one before it (the first is row 2): sorted by ts']
    """

    def __init__(
        self,
        lateness_ms: int = JoinSettings().lateness_ms,
        *,
        most_rows: int = _MOST_ROWS,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        self._lateness_ms = lateness_ms
        self._most_rows, self._most_bytes = most_rows, most_bytes
        self._newest = self._given = -1
        self._oldest = 1 << 62
        self._first = 0
        self._jumped: list[Timed] = []
        self.n_rows = 0
        self.n_behind = 0
        """Rows further back than the lateness, as the file has them."""
        self.n_late = 0
        """Rows that are so still, in the order in which they are given."""

    @property
    def jumped(self) -> list[Row]:
        """Rows behind a jump at the end, which were not given; complete once all others were."""
        return [timed.row for timed in self._jumped]

    def sort(self, rows: Iterable[Row]) -> Iterator[Timed]:
        """The rows in their order."""
        waiting: list[Timed] = []
        size = 0
        for row in rows:
            waiting.append(self._place(row))
            size += len(row.body)
            if len(waiting) >= self._most_rows or size >= self._most_bytes:
                ready, waiting = self._halved(waiting)
                size = sum(len(timed.row.body) for timed in waiting)
                yield from self._give(ready)
        yield from self._give(self._sorted(waiting))

    def _place(self, row: Row) -> Timed:
        try:
            glance = _decoder.decode(row.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Timed(self._newest, row, acts=False)
        self.n_rows += 1
        ts = glance.ts
        if ts is None or glance.type in ("item", "forget", "user"):
            return Timed(self._newest if ts is None else min(ts, self._newest), row, acts=False)
        if ts < self._newest - self._lateness_ms:
            self._first = self._first or row.number + 1
            self.n_behind += 1
        self._newest = max(self._newest, ts)
        return Timed(ts, row)

    def _sorted(self, waiting: list[Timed]) -> list[Timed]:
        return sorted(waiting, key=itemgetter(0)) if self.n_behind else waiting

    def _halved(self, waiting: list[Timed]) -> tuple[list[Timed], list[Timed]]:
        ready = self._sorted(waiting)
        half = max(1, len(ready) // 2)
        return ready[:half], ready[half:]

    def _give(self, ready: list[Timed]) -> Iterator[Timed]:
        for timed in ready:
            self._jumped.append(timed)
            if not self._is_far(timed.ts) or len(self._jumped) > self._n_few(timed.ts):
                yield from self._let_go()

    def _n_few(self, ts: int) -> int:
        """How many rows may lie behind a jump: of a short file one, if it is years away."""
        is_absurd = self.n_rows >= _SHORT and ts - self._given > _YEAR_MS
        return max(self.n_rows // _FEW, int(is_absurd))

    def _is_far(self, ts: int) -> bool:
        """Whether it lies behind a jump, seen from what was given so far."""
        gap = ts - self._given
        return self._given >= 0 and gap > _JUMP_MS and gap > self._given - self._oldest

    def _let_go(self) -> Iterator[Timed]:
        held, self._jumped = self._jumped, []
        for timed in held:
            if timed.acts:
                self.n_late += timed.ts < self._given - self._lateness_ms
                self._given, self._oldest = max(self._given, timed.ts), min(self._oldest, timed.ts)
            yield timed

    def findings(self) -> list[str]:
        """What was seen, in sentences with numbers; nothing where all is in order."""
        found = []
        if self.n_behind:
            rows = _rows(self.n_behind, self.n_rows)
            first = f"(the first is row {self._first})"
            found.append(f"{rows} more than {self._lateness} older than one before it {first}: sorted by ts")
        if self.n_late:
            found.append(
                f"{_rows(self.n_late, self.n_rows)} late all the same, for at most {self._most_rows:,} rows "
                f"or {self._most_bytes >> 20} MiB are sorted at a time: sort the file by ts before"
            )
        if self._jumped:
            days = (self._jumped[0].ts - self._given) / 86_400_000
            which = f"(the first is row {self._jumped[0].row.number + 1})"
            found.append(
                f"{_rows(len(self._jumped), self.n_rows)} {days:,.0f} days after all others {which} and left "
                "out: mend the clock that wrote it, or put it into a file of its own"
            )
        return found

    @property
    def _lateness(self) -> str:
        minutes = self._lateness_ms / 60_000
        return f"{minutes:g} minutes"


def _rows(n: int, of: int) -> str:
    share = "" if n * 100 < of or n == 1 else f" ({n / of:.0%})"
    return f"{n:,} of {of:,} rows{share} {'is' if n == 1 else 'are'}"
