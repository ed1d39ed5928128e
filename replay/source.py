"""Reading a recorded log in the order in which it was learned, or would have been."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from replay.errors import ReplayError
from stream.codec import decode_logged
from stream.commits import CommitReader, Span, TickMark
from stream.errors import EventError
from stream.events import Click, Decision, Impression, ItemEvent, LoggedEvent, Tick
from stream.log import DAMAGED, EventReader, Record, SQLiteLogReader
from stream.rules import MAX_NESTING, broken_own_rule, broken_rule, nesting, too_deep
from stream.times import broken_ts

__all__ = ["Entry", "FolderSource", "LinesSource", "LogSource", "open_folder", "seen_items"]

_CHUNK = 1_024
_MAX_REASONS = 20


class Entry(NamedTuple):
    """One event of a log; `accepted_at` is wall ms (in files that do not know it, the event's own `ts`).

    `made` says that it does not stand in the log, see `seen_items`.
    """

    event: LoggedEvent
    accepted_at: int
    backfill: bool = False
    made: bool = False


class LogSource(Protocol):
    """A recorded log; iterating reads it once, from the beginning."""

    skipped: int
    reasons: list[str]

    def __iter__(self) -> Iterator[Entry]:
        """Events in order; a `Tick` stands where the wall clock ticked on an idle system."""


class LinesSource:
    """Events as JSON, one an element: public events as clients send them, decisions as Freshet logs them.

    What cannot be read or breaks a rule of the event schema is left out: `skipped` counts, `reasons` keeps
    the first twenty, with the row's number: that of its place, from 1, unless it came with another. Text in
    the place of an event says why there is none.

    Example:
        >>> click = b'{"type": "click", "ts": 1700000000000, "user_id": "u", "item_id": "a"}'
        >>> lines = [click, b'{"type": "click"}']
        >>> source = LinesSource(lines)
        >>> [entry.event.item_id for entry in source], source.skipped
        (['a'], 1)
    """

    def __init__(self, lines: Iterable[bytes | tuple[int, bytes | str]]) -> None:
        self._lines = lines
        self.skipped = 0
        self.reasons: list[str] = []

    def __iter__(self) -> Iterator[Entry]:
        for place, given in enumerate(self._lines, 1):
            number, line = given if isinstance(given, tuple) else (place, given)
            if isinstance(line, str):
                self.skip(number, line)
                continue
            try:
                if (levels := nesting(line)) > MAX_NESTING + 1:
                    raise EventError(too_deep(levels))
                events = decode_logged(line)
            except EventError as error:
                self.skip(number, str(error))
                continue
            for event in events:
                reason = self._broken(event)
                if reason is None:
                    yield Entry(event, event.ts)
                else:
                    self.skip(number, reason)

    @staticmethod
    def _broken(event: LoggedEvent) -> str | None:
        if not isinstance(event, Decision | Tick):
            return broken_rule(event)
        wrong = broken_ts(event.ts) if isinstance(event, Decision) else None
        return broken_own_rule(event) or (wrong and f"ts: {wrong}")

    def skip(self, number: int, reason: str) -> None:
        """Count a row that is left out."""
        self.skipped += 1
        if len(self.reasons) < _MAX_REASONS:
            self.reasons.append(f"row {number}: {reason}")


def seen_items(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The log with an `item` event behind the first mention of each item that it has not described by then.

    For logs of impressions and clicks alone: only items of the catalogue are ever recommended. An item thus
    enters after its first appearance was predicted; a description that comes later replaces it. Grows by the
    item ids.

    Example:
        >>> from stream.events import Click
        >>> clicks = [Entry(Click(ts=t, user_id="u", item_id=item), t) for t, item in enumerate("aba")]
        >>> [type(entry.event).__name__ for entry in seen_items(clicks)]
        ['Click', 'ItemEvent', 'Click', 'ItemEvent', 'Click']
    """
    known: set[str] = set()
    for entry in entries:
        yield entry
        event = entry.event
        if isinstance(event, Click | ItemEvent):
            mentioned = [event.item_id]
        else:
            mentioned = event.items if isinstance(event, Impression | Decision) else []
        new = [item_id for item_id in mentioned if item_id not in known]
        known.update(new)
        if not isinstance(event, ItemEvent):
            for item_id in new:
                yield entry._replace(event=ItemEvent(item_id=item_id, ts=event.ts), made=True)


class FolderSource:
    """The logs of an embedded system's workers as one sequence.

    The learner committed the order in which it took records of several workers; that order is followed as far
    back as it is kept. What lies before it, and what was not committed yet, comes in the order of acceptance,
    which is the learner's own rule. Records that retention or a forget took away are missing here too.

    Args:
        readers: a log by the name that it has in the committed order.
        commits: the learner's file; None: everything in order of acceptance.

    Example:
        >>> from stream.log import MemoryLog
        >>> a, b = MemoryLog(), MemoryLog()
        >>> click = b'[{"type": "click", "ts": %d, "user_id": "u", "item_id": "a"}]'
        >>> _ = a.append([Record("events", click % 1, accepted_at=10), Record("events", click % 2, 30)])
        >>> _ = b.append([Record("events", click % 3, accepted_at=20)])
        >>> [entry.event.ts for entry in FolderSource({"a": a, "b": b})]
        [1, 3, 2]
    """

    def __init__(self, readers: Mapping[str, EventReader], commits: CommitReader | None = None) -> None:
        self._readers = dict(readers)
        self._commits = commits
        self.skipped = 0
        self.reasons: list[str] = []

    def __iter__(self) -> Iterator[Entry]:
        for name, taken in self.records():
            if isinstance(taken, TickMark):
                yield Entry(Tick(ts=taken.ts), taken.ts)
            else:
                yield from self._events(name, taken)

    def records(self) -> Iterator[tuple[str, Record | TickMark]]:
        """The same sequence as it was written: records with the name of their log, and ticks (named "")."""
        began, reached = self._committed()
        yield from self._merged(dict.fromkeys(self._readers, 0), began)
        for span_or_tick in self._order():
            if not isinstance(span_or_tick, Span):
                yield "", span_or_tick
                continue
            name = span_or_tick.source
            for record in self._records(name, span_or_tick.after, span_or_tick.last):
                yield name, record
        ends = {name: reader.end() for name, reader in self._readers.items()}
        yield from self._merged(reached, ends)

    def _order(self) -> Iterator[Span | TickMark]:
        seq = 0
        while self._commits is not None and (order := self._commits.merge_order(seq)):
            for _, merge in order:
                yield from merge
            seq = order[-1][0]

    def _committed(self) -> tuple[dict[str, int], dict[str, int]]:
        """For each log, where the kept order begins and where it ends."""
        reached = self._commits.positions() if self._commits is not None else {}
        ends = {name: reached.get(name, 0) for name in self._readers}
        began: dict[str, int] = {}
        for entry in self._order():
            if isinstance(entry, Span):
                began.setdefault(entry.source, entry.after)
                if entry.source not in self._readers:
                    msg = (
                        f"{entry.source} is part of the committed order and its file is not there; restore it"
                    )
                    raise ReplayError(msg)
        return {**ends, **began}, ends

    def _merged(self, after: Mapping[str, int], last: Mapping[str, int]) -> Iterator[tuple[str, Record]]:
        queues = [
            ((record.accepted_at, name, record) for record in self._records(name, after[name], last[name]))
            for name in sorted(self._readers)
        ]
        for _, name, record in heapq.merge(*queues, key=lambda entry: entry[:2]):
            yield name, record

    def _records(self, name: str, after: int, last: int) -> Iterator[Record]:
        reader = self._readers[name]
        while after < last and (records := reader.read(after, _CHUNK)):
            for record in records:
                if record.pos > last:
                    return
                yield record
            after = records[-1].pos

    def _events(self, name: str, record: Record) -> Iterator[Entry]:
        try:
            if record.damaged:
                raise EventError(DAMAGED)
            events = decode_logged(record.body, record.schema)
        except EventError as error:
            self.skipped += 1
            if len(self.reasons) < _MAX_REASONS:
                self.reasons.append(f"{name}/{record.pos}: {error}")
            return
        for event in events:
            yield Entry(event, record.accepted_at, record.backfill)


@contextmanager
def open_folder(path: Path) -> Iterator[FolderSource]:
    """Open the data folder of an embedded system for reading; nothing is written, made or locked.

    Raises:
        ReplayError: it is no data folder, or a log that the order names is missing.
        LogError: a file is damaged or newer than this program.
    """
    files = sorted(path.glob("events-*.db"), key=lambda file: (len(file.name), file.name))
    if not (path / "freshet.json").exists() or not files:
        msg = (
            f"{path} is no data folder: expected freshet.json and events-*.db in it; see `freshet up --data`"
        )
        raise ReplayError(msg)
    with ExitStack() as stack:
        readers: dict[str, EventReader] = {}
        for file in files:
            readers[file.stem] = reader = SQLiteLogReader(file)
            stack.callback(reader.close)
        commits = None
        if (path / "learner.db").exists():
            commits = CommitReader(path / "learner.db")
            stack.callback(commits.close)
        yield FolderSource(readers, commits)
