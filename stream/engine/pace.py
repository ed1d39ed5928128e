"""Partitions in step: none is learned far ahead of the slowest.

A plain machine: no input or output, and the clock is handed in. It decides when a record is learned, never
what comes of it. There are two classes of records, and a partition waits for others in one class alone:

* *history* (header ``backfill``) waits for the history of others, by the time of the events;
* *live* records wait for partitions that are catching up with live ones, by the time that the log gave them.
  A partition that has history to learn takes part in history only, and its live records pass freely.

What an owner tells of its partition is a `Mark`. It speaks only of what is committed: the time of the next
event (`Mark.history`, `Mark.live`), and, where none waits, that there is none. The second is an answer:
whoever holds a record says where its own log ended (`Mark.ends`); each of the others looks where its log
ends, and once it has committed all that stood there it repeats the number that it had heard
(`Mark.covers`). So an answer that covers a record was given after that record was there, whatever the
clocks say. It stays true over restarts and changes of owners, which therefore need no epochs.

Nobody waits for ever:

* Of the records of one class that are held, the earliest waits for no other time.
* The answers that it needs do come. History needs those of live partitions, but live records need no answer
  of a partition that learns history, so there is no circle.
* A partition of which nothing is heard for `silent_s`, though somebody waits for it, is left out until it is
  heard again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from stream.clock import Clock
from stream.engine.shard import SourceRecord

__all__ = ["HISTORY", "Board", "Gate", "Mark", "TimesOf"]

HISTORY = ("backfill", b"1")
"""The header of a record of history."""

TimesOf = Callable[[SourceRecord], "tuple[int, int] | None"]
"""The times (ms) of the earliest and the latest event of a record of history; None: it moves no time."""

_TELL_S = 1.0  # while anybody waits, so that whoever starts late hears all that there is
_FINE = 8  # a mark is told anew when it has moved by this part of the skew, or waits


class Mark(msgspec.Struct, frozen=True):
    """What the owner of a partition tells the others; all of it speaks of what is committed.

    `history`: the next event of history is not before this time (ms). `live`: likewise for live records, by
    the time of the log, while it catches up. None: nothing of that kind waits, as far as `covers` says.
    `ends`: where its log ended when it last asked the others; -1 if it never did.
    `covers`: by asking partition, the last `ends` heard of before all stood in its log that is committed now.
    """

    history: int | None = None
    live: int | None = None
    ends: int = -1
    covers: dict[int, int] = {}


_NOTHING = Mark()
_FREE = (None, None)


class _Head(NamedTuple):
    """A record with a time; `first` and `last` are those of its events."""

    is_history: bool
    first: int
    last: int
    offset: int


class _Limit(NamedTuple):
    """How far a partition may go: up to the skew after `slowest`, and records before the offset `covered`."""

    slowest: float
    covered: float


class Board:
    """The marks of all partitions as one process knows them; its own are known at once.

    Args:
        n_partitions: of the source.
        max_skew_ms: how far one may be ahead of another.
        clock: for the time since something was heard.
        silent_s: a partition of which nothing is heard for so long, while somebody waits for it, is left out.
        on_change: called when somebody may have to do something.

    Example:
        >>> from stream.clock import ManualClock
        >>> board = Board(2, 60_000, ManualClock())
        >>> board.hear(1, Mark(history=5_000))
        >>> board.limit(0, is_history=True, is_behind=False)
        _Limit(slowest=5000, covered=inf)
    """

    def __init__(
        self,
        n_partitions: int,
        max_skew_ms: int,
        clock: Clock,
        *,
        silent_s: float = 45.0,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.max_skew_ms = max_skew_ms
        self.on_change = on_change
        self.marks = dict.fromkeys(range(n_partitions), _NOTHING)
        self.silent: set[int] = set()
        """Partitions that are left out, for nobody tells of them."""
        self.waits: dict[int, list[int]] = {}
        """Who waits for whom, of our own partitions."""
        self.live_waits = False
        """Whether any partition is catching up with live records."""
        self._clock, self._silent_s = clock, silent_s
        self._own: dict[int, object] = {}
        self._missed_s: dict[int, float] = {}
        self._told: dict[int, tuple[Mark, float]] = {}

    def own(self, partition: int, owner: object) -> None:
        """This process tells of a partition from now on, by `owner`."""
        self._own[partition] = owner
        self._forget_silence(partition)

    def disown(self, partition: int, owner: object) -> None:
        """Somebody else tells of it, or nobody does; unless it has a new owner here."""
        if self._own.get(partition) is owner:
            del self._own[partition]
            self.waits.pop(partition, None)
            self._told.pop(partition, None)

    def hear(self, partition: int, mark: Mark) -> None:
        """Take note of what another process told."""
        if partition in self.marks and partition not in self._own:
            self._forget_silence(partition)
            self._put(partition, mark)

    def state(self, partition: int, owner: object, mark: Mark) -> None:
        """Take note of a mark of our own."""
        if self._own.get(partition) is owner and mark != self.marks[partition]:
            self._put(partition, mark)

    def _put(self, partition: int, mark: Mark) -> None:
        self.marks[partition] = mark
        self._changed()

    def _changed(self) -> None:
        self.live_waits = any(
            mark.live is not None and partition not in self.silent for partition, mark in self.marks.items()
        )
        self.on_change()

    def _forget_silence(self, partition: int) -> None:
        self._missed_s.pop(partition, None)
        if partition in self.silent:
            self.silent.discard(partition)
            self._changed()

    # Who may go on

    def _others(self, partition: int) -> Iterable[tuple[int, Mark]]:
        silent = self.silent
        return (
            (other, mark) for other, mark in self.marks.items() if other != partition and other not in silent
        )

    def limit(self, partition: int, *, is_history: bool, is_behind: bool) -> _Limit:
        """How far a partition may go in one class; `is_behind`: it catches up, so answers are needed."""
        slowest, covered = math.inf, math.inf
        for _, mark in self._others(partition):
            at = mark.history if is_history else mark.live
            if at is not None:
                slowest = min(slowest, at)
            elif is_history or (is_behind and mark.history is None):
                covered = min(covered, mark.covers.get(partition, -1))
        return _Limit(slowest, covered)

    def wait(self, partition: int, head: _Head, *, is_behind: bool) -> None:
        """Note whom it waits for; from now on those that nobody tells of are missed."""
        self.waits[partition] = found = []
        for other, mark in self._others(partition):
            at = mark.history if head.is_history else mark.live
            if at is not None:
                blocks = head.last > at + self.max_skew_ms and head.first > at
            else:
                needs = head.is_history or (is_behind and mark.history is None)
                blocks = needs and mark.covers.get(partition, -1) <= head.offset
            if blocks:
                found.append(other)
                if other not in self._own:
                    self._missed_s.setdefault(other, self._clock.monotonic_s())

    def asks(self, partition: int) -> dict[int, int]:
        """Where the logs of the others ended when they last asked."""
        return {
            other: mark.ends for other, mark in self.marks.items() if other != partition and mark.ends >= 0
        }

    # What is told

    def look(self) -> list[int]:
        """To be called now and then: leave out those that are silent; returns those that are so newly."""
        now = self._clock.monotonic_s()
        found = [other for other, since_s in self._missed_s.items() if now - since_s > self._silent_s]
        for other in found:
            del self._missed_s[other]
        self.silent.update(found)
        if found:
            self._changed()
        return found

    def to_tell(self) -> list[tuple[int, Mark]]:
        """The marks of ours that the others should hear now."""
        now = self._clock.monotonic_s()
        is_active = any(
            (mark.history is not None or mark.live is not None) and partition not in self.silent
            for partition, mark in self.marks.items()
        )
        is_alone = len(self._own) == len(self.marks)
        found = []
        for partition in sorted(self._own):
            mark = self.marks[partition]
            told, at_s = self._told.get(partition, (_NOTHING, -math.inf))
            is_news = not is_alone and self._is_news(partition, told, mark)
            if is_news or (now - at_s >= _TELL_S and (is_active or mark != told)):
                self._told[partition] = mark, now
                found.append((partition, mark))
        return found

    def _is_news(self, partition: int, told: Mark, mark: Mark) -> bool:
        if (mark.ends, mark.covers, mark.live) != (told.ends, told.covers, told.live):
            return True
        if mark.history is None or told.history is None or partition in self.waits:
            return mark.history != told.history
        return abs(mark.history - told.history) * _FINE >= self.max_skew_ms


class Gate:
    """Says how much of what comes to one partition may be learned now; of one owner.

    Args:
        partition: which.
        board: the marks of all.
        times_of: when a record of history was.
        clock: for the time that it is.

    Example:
        >>> from stream.clock import ManualClock
        >>> clock = ManualClock(0)
        >>> board = Board(2, 60_000, clock)
        >>> gate = Gate(0, board, lambda record: (int(record.value), int(record.value)), clock)
        >>> records = [SourceRecord(n, b"%d" % (50_000 * n), headers=(HISTORY,)) for n in range(3)]
        >>> board.hear(1, Mark(history=0))
        >>> gate.admit(records), board.waits
        (2, {0: [1]})
        >>> board.hear(1, Mark(history=40_000))
        >>> gate.admit(records[2:]), board.waits
        (1, {})
    """

    def __init__(self, partition: int, board: Board, times_of: TimesOf, clock: Clock) -> None:
        self._partition, self._board, self._times_of, self._clock = partition, board, times_of, clock
        self._skew_ms = board.max_skew_ms
        self._head: _Head | None = None  # the first record that is held
        self._history: int | None = None  # the newest that was let through, while there may be more
        self._history_at = -1
        self._live: int | None = None
        self._live_at = -1
        self._said: tuple[int | None, int | None] = _FREE
        self._is_stated = False  # the board may have what the owner before told
        self._ends, self._covers, self._position = -1, dict[int, int](), 0
        # All that stands before `stop` answers `asks` once it is committed; nothing was, from `start` on.
        self._target: tuple[int, int, Mapping[int, int]] | None = None
        self._lag_ms, self._usual_ms = 0, 0
        board.own(partition, self)

    def admit(self, records: Sequence[SourceRecord]) -> int:
        """How many of some records that come next, in order, may be learned now; at least one is there."""
        now = int(self._clock.now_ms())
        self._lag_ms = now - records[-1].at
        if self._lag_ms < self._usual_ms:
            self._usual_ms = max(self._lag_ms, 0)
        is_plain = self._is_plain and not self._board.live_waits and not self._is_behind(records[0], now)
        if is_plain and not any(HISTORY in record.headers for record in records):
            return len(records)
        return self._admit_one_by_one(records, now)

    @property
    def _is_plain(self) -> bool:
        """Whether it learns what comes, live, and has told so."""
        return self._head is None and self._history is None and self._live is None and self._said == _FREE

    def _is_behind(self, record: SourceRecord, now: int) -> bool:
        # Somebody's clock may differ: what the lag is at the end of the log is no lag.
        return now - record.at > self._skew_ms + self._usual_ms

    def _admit_one_by_one(self, records: Sequence[SourceRecord], now: int) -> int:
        before, self._head = self._head, None
        limits: dict[tuple[bool, bool], _Limit] = {}
        for n, record in enumerate(records):
            head, is_behind = self._head_of(record, now, before)
            if head is None:
                continue
            limit = limits.get((head.is_history, is_behind))
            if limit is None:
                limit = self._board.limit(self._partition, is_history=head.is_history, is_behind=is_behind)
                limits[head.is_history, is_behind] = limit
            in_step = head.last <= limit.slowest + self._skew_ms or head.first <= limit.slowest
            if not (in_step and head.offset < limit.covered):
                self._head = head
                self._board.wait(self._partition, head, is_behind=is_behind)
                return n
            if head.is_history:
                self._history, self._history_at, self._live = head.last, head.offset, None
            elif is_behind:
                self._live, self._live_at = head.last, head.offset
            else:
                self._live = None
        self._board.waits.pop(self._partition, None)
        return len(records)

    def _head_of(self, record: SourceRecord, now: int, before: _Head | None) -> tuple[_Head | None, bool]:
        """A record with its times, if it has to wait for anybody, and whether it is late."""
        if HISTORY in record.headers:
            if before is not None and before.offset == record.offset:
                return before, False
            times = self._times_of(record)
            return None if times is None else _Head(True, *times, record.offset), False
        is_behind = self._is_behind(record, now)
        if self._history is not None or not (is_behind or self._board.live_waits):
            self._live = None
            return None, False
        return _Head(False, record.at, record.at, record.offset), is_behind

    def settled(self, position: int) -> None:
        """All before `position` is committed, and so is all that was let through."""
        self._position = position
        if self._is_plain and self._is_stated and self._target is None:
            return
        head = self._head
        if head is not None and head.is_history:
            self._said = head.first, None
        elif self._history is not None:
            self._said = self._history, None
        else:
            self._said = None, self._live if head is None else head.first
        self._reach()

    @property
    def wants_end(self) -> bool:
        """Whether `ended` should be called."""
        if self._head is not None and self._head.offset >= self._ends:
            return True
        if self._target is not None:
            return False
        is_on_its_way = self._head is None and self._said != _FREE
        return is_on_its_way or any(
            ends > self._covers.get(other, -1) for other, ends in self._board.asks(self._partition).items()
        )

    def asks(self) -> dict[int, int]:
        """What the others ask; to be taken before the end of the log is."""
        return self._board.asks(self._partition)

    def ended(self, end: int, asks: Mapping[int, int]) -> None:
        """The log ended at `end`, after `asks` was taken."""
        if self._head is not None and self._head.offset >= self._ends:
            self._ends = max(end, self._head.offset + 1)
        if self._target is None:
            self._target = self._position, end, asks
        self._reach()

    def _reach(self) -> None:
        if self._target is not None and self._position >= self._target[1]:
            start, stop, asks = self._target
            self._target = None
            self._covers = {**self._covers, **asks}
            if self._head is None:
                self._leave(start, is_end=start >= stop)
        history, live = self._said
        self._is_stated = True
        self._board.state(self._partition, self, Mark(history, live, self._ends, self._covers))

    def _leave(self, start: int, *, is_end: bool) -> None:
        """There is no more of a class whose last record was let through before `start`."""
        history, live = self._said
        if self._history_at < start:
            self._history = history = None
        if is_end and self._live_at < start:
            self._live = live = None
            self._usual_ms = max(self._lag_ms, 0)
        self._said = history, live

    def nudge(self) -> None:
        """There is more to do at once."""
        self._board.on_change()

    def close(self) -> None:
        """The partition is somebody else's."""
        self._board.disown(self._partition, self)
