"""Forget in files: what is left of a forgotten user is taken out of every file of the data folder.

How a forget travels, each stage resumed after a kill:

1. The commit that learns it stores a keyed hash of the user id and the forget's time (`CommitLog.pending`).
2. The learner writes a snapshot, which no longer holds the user, and deletes older snapshots and the deltas
   up to it. It reads the logs once for all pending forgets and notes keyed hashes of the users' request ids
   (a click may name only the request, in another worker's file). Then they are *ready*.
3. Each log's owner rewrites its own file once for all ready forgets (`LogScrub`): the user's events that are
   not newer than the forget go, the forget itself too; other users' events of the same bundle and all
   positions stay. Only records that every kept snapshot covers are rewritten, so no replay ever reads one.
   Freed pages are overwritten, the write-ahead log is cut, and a file that still holds the bytes is written
   anew.
4. When all logs report this, the learner drops the hashes.

An event of that user delivered again after its file was scrubbed is dropped by the step; its bytes leave with
the next forget of that user or with the log's retention.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b

import msgspec

from stream.commits import CommitLog, CommitReader, Pending
from stream.database import Database
from stream.errors import LogError
from stream.log import Claims, Record, SQLiteLog, SQLiteLogReader

__all__ = ["LearnerScrub", "LogScrub", "hash_id"]

_SLICE = 500
_MAX_NEEDLES = 16
_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"?|([^\s",:{}\[\]]+)')


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

    ts: int = 0
    user_id: str | None = None
    request_id: str | None = None


_slim_decoder = msgspec.json.Decoder(list[_Slim] | _Slim)
_raw_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_encoder = msgspec.json.Encoder()


def _slims(record: Record) -> list[_Slim] | None:
    """The events of a record; None for one that cannot be read (the learner kept it as a dead letter)."""
    try:
        found = _slim_decoder.decode(record.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, list) else [found]


class _Targets:
    """The users to forget and, as far as known, their requests; all as keyed hashes."""

    def __init__(self, key: bytes, pending: Sequence[Pending], requests: set[bytes]) -> None:
        self._key = key
        self._until: dict[bytes, tuple[int, int]] = {}
        for entry in pending:
            ts, first = self._until.get(entry.user, (entry.ts, entry.id))
            self._until[entry.user] = (max(ts, entry.ts), max(first, entry.id))
        self.requests = requests

    def scrub_of(self, event: _Slim) -> int:
        """Id of the forget that this event falls under by its user, 0 if none."""
        if event.user_id is None:
            return 0
        until, scrub = self._until.get(hash_id(self._key, event.user_id), (-1, 0))
        return scrub if event.ts <= until else 0

    def covers(self, event: _Slim) -> bool:
        """Whether the event is to go: by its user, or by its request if it names no user."""
        if event.user_id is not None or event.request_id is None:
            return self.scrub_of(event) > 0
        return hash_id(self._key, event.request_id) in self.requests

    def in_text(self, original: bytes) -> bool:
        """Whether unreadable bytes hold a forgotten id, as a JSON string or as a word."""
        return any(hash_id(self._key, token) in self._until for token in _tokens(original))


def _tokens(original: bytes) -> Iterator[bytes]:
    for match in _TOKEN.finditer(original):
        quoted, word = match.groups()
        token = word if quoted is None else quoted
        if b"\\" in token:
            with contextlib.suppress(msgspec.DecodeError, UnicodeError):
                yield msgspec.json.decode(b'"%b"' % token, type=str).encode()
        yield token


def _drop_letters(database: Database, targets: _Targets) -> bool:
    """Delete the dead letters that hold a forgotten id; tells whether there were any."""
    rows = database.read("SELECT id, original, reason FROM dead_letters")
    gone = [(r[0],) for r in rows if targets.in_text(r[1]) or targets.in_text(r[2].encode())]
    if gone:
        with database.transaction(durable=True) as connection:
            connection.executemany("DELETE FROM dead_letters WHERE id=?", gone)
    return bool(gone)


class LearnerScrub:
    """The learner's part: stages 1, 2 and 4. Reading the logs goes on in slices between batches.

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
        self._open = bool(commits.pending())

    def hash(self, user_id: str) -> bytes:
        """What a forget is stored under."""
        return hash_id(self._key, user_id)

    def waiting(self) -> list[Pending]:
        """Forgets that wait for a snapshot."""
        ready = self._commits.ready_scrub()
        return [entry for entry in self._commits.pending() if entry.id > ready]

    def begin(self, seq: int, positions: Mapping[str, int]) -> None:
        """A snapshot of commit `seq` stands and is the only one: start on the forgets that it knows."""
        pending = [entry for entry in self.waiting() if entry.seq <= seq]
        self._open = True
        self._job = self._prepare(pending, dict(positions))

    def advance(self) -> bool:
        """Do a little of what is to do; false when nothing is left but waiting for the logs' owners."""
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
        targets = _Targets(self._key, pending, set())
        for source, log in self._logs.items():
            after, end = 0, positions.get(source, 0)
            while after < end and (records := log.read(after, _SLICE)):
                after = records[-1].pos
                found = [
                    (hash_id(self._key, event.request_id), scrub)
                    for record in records
                    for event in _slims(record) or ()
                    if event.request_id is not None and (scrub := targets.scrub_of(event))
                ]
                self._commits.add_scrub_requests(found)
                yield
        _drop_letters(self._commits.database, targets)
        # With the deltas up to the snapshot gone this file is small, so it is simply written anew.
        self._commits.database.vacuum()
        while not self._commits.database.checkpoint(timeout_s=0.05):
            yield
        self._commits.database.set_meta("ready_scrub", max(entry.id for entry in pending))

    def _reconcile(self) -> None:
        done = min((log.database.meta("scrubbed") for log in self._logs.values()), default=0)
        pending = self._commits.pending()
        self._open = bool(pending)
        if pending and pending[0].id <= done:
            self._commits.finish_scrubs(done)


class LogScrub:
    """A log owner's part, stage 3: run it in the process that writes the log, in a thread of its own.

    One pass over the file serves all ready forgets. Appends go on between its slices of 500 records;
    they wait only while a file that still held an id is written anew.

    Args:
        source: the log's name.
        log: the log, opened for writing.
        commits: the learner's file.
        key: the folder's secret.
        claims: where the forgotten requests are claimed, if there is such a file.
    """

    def __init__(
        self, source: str, log: SQLiteLog, commits: CommitReader, key: bytes, claims: Claims | None = None
    ) -> None:
        self._source = source
        self._log = log
        self._commits = commits
        self._key = key
        self._claims = claims

    def pending(self) -> bool:
        """Whether forgets are ready that this file has not been rewritten for."""
        return self._commits.ready_scrub() > self._log.database.meta("scrubbed")

    def run(self) -> bool:
        """Rewrite the file for what is ready; false if readers were in the way and it must be run again.

        Raises:
            LogError: the file could not be rewritten (a full disk, for instance); it stays pending.
        """
        ready, database = self._commits.ready_scrub(), self._log.database
        if ready <= database.meta("scrubbed"):
            return True
        due = [entry for entry in self._commits.pending() if entry.id <= ready]
        targets = _Targets(self._key, due, self._commits.scrub_requests())
        # If an earlier run was killed, remains of ids that are not known any more may be in freed pages.
        unsure = bool(database.meta("scrubbing"))
        database.set_meta("scrubbing", 1)
        needles = self._rewrite(targets)
        unsure = _drop_letters(database, targets) or unsure
        if not database.checkpoint():
            return False
        if unsure or len(needles) > _MAX_NEEDLES or _holds(database, needles):
            database.vacuum()
            if not database.checkpoint():
                return False
        with database.transaction(durable=True) as connection:
            rows = [("scrubbing", 0), ("scrubbed", ready)]
            connection.executemany("INSERT OR REPLACE INTO meta VALUES(?,?)", rows)
        return True

    def _covered(self) -> int:
        # Every kept snapshot was written after the forgets became ready, so the oldest one decides.
        kept = self._commits.snapshots()
        return min((positions.get(self._source, 0) for _, positions in kept), default=0)

    def _rewrite(self, targets: _Targets) -> set[bytes]:
        """Rewrite slice by slice; the ids that were taken out, as they stood in the file."""
        needles: set[bytes] = set()
        after, end = 0, self._covered()
        while after < end and (records := self._log.read(after, _SLICE)):
            bodies = [(_without(r, targets, needles), r.pos) for r in records if r.pos <= end]
            changed = [(body, pos) for body, pos in bodies if body is not None]
            if changed:
                self._forget_claims(needles)
                with self._log.database.transaction(durable=True) as connection:
                    connection.executemany("UPDATE records SET body=?, request_id=NULL WHERE pos=?", changed)
            after = records[-1].pos
        return needles

    def _forget_claims(self, needles: set[bytes]) -> None:
        if self._claims is not None:
            self._claims.forget(needle.decode() for needle in needles)


def _without(record: Record, targets: _Targets, needles: set[bytes]) -> bytes | None:
    """The record's JSON without forgotten events, the others byte for byte; None: nothing to do."""
    events = _slims(record)
    if events is None:
        if not targets.in_text(record.body):
            return None
        needles.add(b"")  # which bytes the id was is not known: any file holds these
        return b"[]"
    gone = [targets.covers(event) for event in events]
    if not any(gone):
        return None
    needles.update(
        form for event, leaves in zip(events, gone, strict=True) if leaves for form in _forms(event)
    )
    if all(gone):
        return b"[]"
    raws = _raw_decoder.decode(record.body)
    return _encoder.encode([raw for raw, leaves in zip(raws, gone, strict=True) if not leaves])


def _forms(event: _Slim) -> Iterator[bytes]:
    """An event's ids as they may stand in a file."""
    for text in (event.user_id, event.request_id):
        if text:
            yield text.encode()
            yield _encoder.encode(text)[1:-1]


def _holds(database: Database, needles: set[bytes]) -> bool:
    """Whether the main file still has one of the byte strings anywhere, page remains included."""
    overlap = max((len(needle) for needle in needles), default=1)
    tail = b""
    try:
        with database.path.open("rb") as file:
            while block := file.read(1 << 22):
                data = tail + block
                if any(needle in data for needle in needles):
                    return True
                tail = data[-overlap:]
    except OSError as error:
        msg = f"{database.path.name} cannot be read: {error}"
        raise LogError(msg) from error
    return False
