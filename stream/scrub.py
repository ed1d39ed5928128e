"""Forget in files: what is left of a forgotten user is taken out of every file of the data folder.

How a forget travels, each stage resumed after a kill:

1. The commit that learns it stores a keyed hash of the user id and the forget's time (`CommitLog.pending`).
2. The learner writes a snapshot, which no longer holds the user, and deletes older snapshots and the deltas
   up to it. It searches the logs and dead letters once for all pending forgets (`LearnerScrub`) and notes
   which bytes of which record are to go: the user's events that are not newer than the forget, clicks that
   name only one of the user's requests, the forget itself; unknown fields of others' events, and their
   contexts, in which the id stands as a word; dead letters that hold it in whatever spelling. Then the
   forgets are *ready*.
3. Each log's owner overwrites these bytes where they stand (`stream.log_scrub.LogScrub`), a few records at a
   time between the appends. No record moves, so no copy remains anywhere; then the write-ahead log is cut.
   Only records that every kept snapshot covers are touched, so no replay ever reads one.
4. When all logs report this, the learner drops the hashes and the notes.

An event of that user delivered again after its file was scrubbed is dropped by the step; its bytes leave with
the next forget of that user or with the log's retention.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b

import msgspec

from stream.commits import CommitLog, Cuts, Pending
from stream.cuts import Span, event_spans, member_spans
from stream.events import Click, Decision, Forget, Impression, ItemEvent, Tick
from stream.log import Record, SQLiteLogReader
from stream.spellings import Spellings

__all__ = ["LearnerScrub", "hash_id"]

_SLICE, _SLICE_BYTES = 200, 1 << 20
_MAX_SEEN = 1_000_000
_LETTERS = "letters of the learner"
_EVENTS = (Click, Decision, Forget, Impression, ItemEvent, Tick)
# What others send freely, and what is only kept to be looked at later.
_FREE = {"context", "item_context"}
_KNOWN = {
    str(kind.__struct_config__.tag): {field.encode_name for field in msgspec.structs.fields(kind)} - _FREE
    for kind in _EVENTS
}


def hash_id(key: bytes, text: str | bytes) -> bytes:
    """Keyed hash (16 bytes) of an id; without the key nobody can test whether an id is meant.

    Example:
        >>> hash_id(b"secret of the folder", "ann") == hash_id(b"secret of the folder", b"ann")
        True
    """
    data = text.encode() if isinstance(text, str) else text
    return blake2b(data, digest_size=16, key=key).digest()


class _Slim(msgspec.Struct):
    """What tells whose event it is."""

    type: str = ""
    ts: int = 0
    user_id: str | None = None
    request_id: str | None = None


_slim_decoder = msgspec.json.Decoder(list[_Slim] | _Slim)


def _slims(record: Record) -> list[_Slim] | None:
    """The events of a record; None for one that cannot be read (the learner kept it as a dead letter)."""
    try:
        found = None if record.damaged else _slim_decoder.decode(record.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return [found] if isinstance(found, _Slim) else found


class _Search:
    """What to cut out of records for users to forget (id → up to which ts) and for requests of theirs."""

    def __init__(self, until: Mapping[str, int], requests: set[str]) -> None:
        self._until, self._requests = until, requests
        self._users = Spellings(until)
        self.anything = Spellings([*until, *requests])

    def in_letter(self, text: bytes) -> bool:
        """Whether unreadable bytes hold an id."""
        return self.anything.found(text, encoded=True)

    def spans(self, record: Record) -> list[Span]:
        """What is to go from a record's body."""
        if not self.anything.found(record.body):
            return []
        events = _slims(record)
        if events is None:
            return [(0, len(record.body))]
        places = list(zip(events, event_spans(record.body), strict=True))
        found = [span for event, span in places if self.covers(event)]
        others = [(event, span) for event, span in places if not self.covers(event)]
        # Seldom is an id anywhere in the others, and one look at them all is cheaper than one at each.
        if self._users.found(b",".join([record.body[start:end] for _, (start, end) in others])):
            for event, (start, end) in others:
                found += self._free_members(event, record.body[start:end], start)
        return found

    def _free_members(self, event: _Slim, raw: bytes, start: int) -> Iterator[Span]:
        """Fields of another's event that Freshet does not know, or only keeps, in which an id stands."""
        if self._users.found(raw):
            known = _KNOWN.get(event.type, set())
            for name, first, last in member_spans(raw):
                if name not in known and name != "type" and self._users.found(raw[first:last]):
                    yield start + first, start + last

    def covers(self, event: _Slim) -> bool:
        """Whether the event is to go: by its user, or by its request if it names no user."""
        if event.user_id is not None:
            return event.ts <= self._until.get(event.user_id, -1)
        return event.request_id in self._requests

    def requests_in(self, record: Record) -> list[str]:
        """Requests of the users to forget; a click may name only these."""
        return [
            event.request_id
            for event in _slims(record) or ()
            if event.request_id is not None and event.user_id is not None and self.covers(event)
        ]


class LearnerScrub:
    """The learner's part: stages 1, 2 and 4. Searching the logs goes on in slices between batches.

    Bounds: ids of the forgets that are pending, and of the requests of these users while it searches.

    Args:
        commits: the learner's file.
        logs: every log of the folder.
        key: the folder's secret.
    """

    def __init__(self, commits: CommitLog, logs: Mapping[str, SQLiteLogReader], key: bytes) -> None:
        self._commits = commits
        self._logs = dict(logs)
        self._key = key
        self._job: Iterator[None] | None = None
        self._next: tuple[int, dict[str, int]] | None = None
        self._known: dict[bytes, str] = {}
        self._open = bool(commits.pending())

    def hash(self, user_id: str) -> bytes:
        """What a forget is stored under; the id itself is remembered until its search has begun."""
        digest = hash_id(self._key, user_id)
        self._known[digest] = user_id
        return digest

    def waiting(self) -> list[Pending]:
        """Forgets that wait for a snapshot, or for the search behind it."""
        ready = self._commits.ready_scrub()
        return [entry for entry in self._commits.pending() if entry.id > ready]

    def begin(self, seq: int, positions: Mapping[str, int]) -> None:
        """A snapshot of commit `seq` stands and is the only one: start on the forgets that it knows.

        A search that is under way is ended first, so that forgets that keep coming in cannot hold it up.
        """
        self._open = True
        self._next = (seq, dict(positions))

    def advance(self) -> bool:
        """Do a little of what is to do; false when nothing is left but waiting for the logs' owners."""
        if self._job is None and self._next is not None:
            (seq, positions), self._next = self._next, None
            pending = [entry for entry in self.waiting() if entry.seq <= seq]
            self._job = self._prepare(pending, positions) if pending else None
        if self._job is not None:
            try:
                next(self._job)
            except StopIteration:
                self._job = None
            return True
        if self._open:
            self._reconcile()
        return False

    def _prepare(self, pending: Sequence[Pending], positions: Mapping[str, int]) -> Iterator[None]:
        yield from self._recall({entry.user for entry in pending} - self._known.keys(), positions)
        until: dict[str, int] = {}
        for entry in pending:
            if (user := self._known.get(entry.user)) is not None:
                until[user] = max(entry.ts, until.get(user, entry.ts))
        scrub, requests = max(entry.id for entry in pending), set[str]()
        search = _Search(until, set())
        yield from self._search_records(search, scrub, positions, requests)
        if requests:
            search = _Search(until, requests)
            yield from self._search_records(search, scrub, positions, set())
        yield from self._search_letters(search, scrub)
        # With the deltas up to the snapshot gone this file is small, so it is simply written anew.
        self._commits.database.vacuum()
        while not self._commits.database.checkpoint(timeout_s=0.05):
            yield
        self._commits.database.set_meta("ready_scrub", scrub)

    def _search_records(
        self, search: _Search, scrub: int, positions: Mapping[str, int], requests: set[str]
    ) -> Iterator[None]:
        """Note what is to go, and gather the requests of the users to forget."""
        cuts: list[Cuts] = []
        for source, record in self._read(positions):
            if record is None:
                self._commits.add_cuts(scrub, cuts)
                cuts = []
                yield
            elif spans := search.spans(record):
                requests.update(search.requests_in(record))
                cuts.append(Cuts(source, False, record.pos, spans))

    def _read(self, positions: Mapping[str, int]) -> Iterator[tuple[str, Record | None]]:
        """All records up to the positions; None after every slice."""
        for source, log in self._logs.items():
            after, end = 0, positions.get(source, 0)
            while after < end and (records := log.read(after, _SLICE, _SLICE_BYTES)):
                after = records[-1].pos
                for record in records:
                    if record.pos <= end:
                        yield source, record
                yield source, None

    def _recall(self, unknown: set[bytes], positions: Mapping[str, int]) -> Iterator[None]:
        """Find the ids behind hashes again, after a restart: in their forgets, or in any event of theirs."""
        for marker in (b'"forget"', b""):
            if not unknown:
                return
            seen: dict[str, None] = {}
            for _, record in self._read(positions):
                if record is None:
                    yield
                elif marker in record.body:
                    for event in _slims(record) or ():
                        if event.user_id is not None and event.user_id not in seen:
                            seen[event.user_id] = None
                            digest = hash_id(self._key, event.user_id)
                            if digest in unknown:
                                unknown.discard(digest)
                                self._known[digest] = event.user_id
                    if len(seen) > _MAX_SEEN:
                        seen.clear()

    def _search_letters(self, search: _Search, scrub: int) -> Iterator[None]:
        books = {source: log.dead_letters for source, log in self._logs.items()}
        books[_LETTERS] = self._commits.dead_letters()
        for source, book in books.items():
            after = 0
            while letters := book.after(after):
                after = letters[-1][0]
                found = [
                    key
                    for key, reason, original in letters
                    if search.in_letter(original) or search.in_letter(reason.encode())
                ]
                if found and source == _LETTERS:
                    book.empty(found)
                else:
                    self._commits.add_cuts(scrub, [Cuts(source, True, key, []) for key in found])
                yield

    def _reconcile(self) -> None:
        done = min((log.database.meta("scrubbed") for log in self._logs.values()), default=0)
        pending = self._commits.pending()
        self._open = bool(pending)
        if pending and pending[0].id <= done:
            self._commits.finish_scrubs(done)
        left = {entry.user for entry in pending if entry.id > done}
        self._known = {digest: user for digest, user in self._known.items() if digest in left}
