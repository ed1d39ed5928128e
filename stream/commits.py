"""What the learner committed: outputs, merge order and positions, together or not at all.

One row a commit, in ``learner.db``: a sequence number, which records of which source were taken in which
order (and which wall-clock ticks), the frame that `Step.take` gave (outputs and changed rows, for replicas),
`absorbed_at` and the watermark. Private state is not in it: the newest snapshot plus the committed order,
run again, give it back bit for bit.

Durability: a commit survives a killed process. Power loss may take the last commits (they are synced with
each snapshot, not each time). That is harmless: accepted events are synced in the workers' files and are
learned again, and replicas, which may have seen more, lost their memory too. The order in which they are
merged the second time may differ from what was published before the power went; the state stays consistent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from stream.checksum import checksum
from stream.database import Database
from stream.dead_letters import DEAD_LETTERS, LETTERS_UPGRADE, DeadLetter, DeadLetters
from stream.errors import LogError, StorageError
from stream.filelock import FileLock

__all__ = [
    "COMMITS_LAYOUT",
    "BehindError",
    "CommitLog",
    "CommitReader",
    "Cuts",
    "Delta",
    "Pending",
    "Span",
    "TickMark",
]

COMMITS_LAYOUT = 2
_PAGE_BYTES = 1 << 15  # a delta of megabytes costs a third of what it does in pages of 4 KiB
_SHRINK_BYTES = 16 << 20

_SCRIPT = (
    """
CREATE TABLE IF NOT EXISTS commits(
  seq INTEGER PRIMARY KEY, absorbed_at INTEGER NOT NULL, watermark INTEGER NOT NULL, merge BLOB NOT NULL,
  size INTEGER NOT NULL, frame BLOB NOT NULL, checksum BLOB);
CREATE TABLE IF NOT EXISTS positions(source TEXT PRIMARY KEY, pos INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshots(seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, positions BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS scrubs(
  id INTEGER PRIMARY KEY AUTOINCREMENT, user BLOB NOT NULL, ts INTEGER NOT NULL, seq INTEGER NOT NULL,
  UNIQUE(user, ts));
CREATE TABLE IF NOT EXISTS scrub_cuts(
  scrub INTEGER NOT NULL, source TEXT NOT NULL, letter INTEGER NOT NULL, pos INTEGER NOT NULL,
  spans BLOB NOT NULL, PRIMARY KEY(scrub, source, letter, pos)) WITHOUT ROWID;
"""
    + DEAD_LETTERS
)


def _upgrade(connection: sqlite3.Connection, _found: int) -> None:
    """From layout 1, where the owners of the logs searched them."""
    connection.execute("ALTER TABLE commits ADD COLUMN checksum BLOB")
    connection.execute(LETTERS_UPGRADE)
    connection.execute("DROP TABLE IF EXISTS scrub_requests")
    # Forgets that were ready then are searched for again.
    connection.execute(
        "UPDATE meta SET value=(SELECT min(id) - 1 FROM scrubs) "
        "WHERE name='ready_scrub' AND EXISTS(SELECT 1 FROM scrubs WHERE id <= value)"
    )


class Span(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """`count` records of `source` with `after < pos <= last`, taken in order."""

    source: str
    after: int
    last: int
    count: int


class TickMark(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """The wall clock reached `ts` while every source was at its end."""

    ts: int


class Delta(NamedTuple):
    """One commit as a replica sees it; `frame` is the packed `Step.take()`."""

    seq: int
    absorbed_at: int
    watermark: int
    frame: bytes


class Pending(NamedTuple):
    """A forget whose traces are still being taken out of the files.

    `user` is the keyed hash of the user id, `ts` the time of the forget, `seq` the commit that learned it.
    """

    id: int
    user: bytes
    ts: int
    seq: int


class Cuts(NamedTuple):
    """What is to go from one record of a log, or (`letter`) which dead letter: spans of bytes of its body."""

    source: str
    letter: bool
    pos: int
    spans: list[tuple[int, int]]


class BehindError(LogError):
    """The deltas that follow are gone; start again from the newest snapshot."""


_MERGE = msgspec.msgpack.Decoder(list[Span | TickMark])
_POSITIONS = msgspec.msgpack.Decoder(dict[str, int])
_SPANS = msgspec.msgpack.Decoder(list[tuple[int, int]])


class CommitReader:
    """Reads ``learner.db`` beside the learner that writes it.

    Raises:
        LogError: the file is missing, damaged, newer, or cannot be read.
    """

    def __init__(self, path: Path, *, still: bool = False) -> None:
        self.database = Database(path, schema=COMMITS_LAYOUT, readonly=True, still=still)

    def last_seq(self) -> int:
        """Sequence number of the last commit, 0 before the first."""
        # Two look-ups at the ends of two trees; the maximum of a union would read every row.
        sql = (
            "SELECT max(coalesce((SELECT max(seq) FROM commits), 0), "
            "coalesce((SELECT max(seq) FROM snapshots), 0))"
        )
        return int(self.database.read(sql)[0][0])

    def read_deltas(self, after_seq: int, limit: int = 256, max_bytes: int = 32 << 20) -> list[Delta]:
        """Deltas `after_seq + 1`, `after_seq + 2`, … without a hole; empty when there is nothing newer.

        Raises:
            BehindError: the next one was dropped (retention, a forget, a restart after power loss), or was
            changed on the disk.
        """
        last = self.last_seq()
        sql = (
            f"SELECT seq, absorbed_at, watermark, {self._checksum}, CAST(frame AS BLOB) FROM commits "
            "WHERE seq > ? ORDER BY seq LIMIT ?"
        )
        rows = self.database.read_some(sql, (after_seq, limit), max_bytes)
        found = [
            Delta(seq, absorbed_at, watermark, frame)
            for seq, absorbed_at, watermark, check, frame in rows
            if check is None or check[4:] == checksum([frame], seq)
        ]
        deltas = [delta for n, delta in enumerate(found, after_seq + 1) if delta.seq == n]
        if not deltas and last > after_seq:
            msg = (
                f"delta {after_seq + 1} is no longer kept or damaged, the last is {last}; start from the "
                "newest snapshot"
            )
            raise BehindError(msg)
        return deltas

    def merge_order(self, after_seq: int, limit: int = 256) -> list[tuple[int, list[Span | TickMark]]]:
        """What was merged in which order by the commits behind `after_seq`.

        Raises:
            LogError: one was changed on the disk.
        """
        rows = self.database.read(
            f"SELECT seq, CAST(merge AS BLOB), {self._checksum} FROM commits "
            "WHERE seq > ? ORDER BY seq LIMIT ?",
            (after_seq, limit),
        )
        for seq, merge, check in rows:
            if check is not None and check[:4] != checksum([merge], seq):
                raise LogError(self.say_damaged(seq))
        return [(seq, self.decode_merge(merge)) for seq, merge, _ in rows]

    def first_damaged(self) -> int:
        """The first commit whose bytes are not those that were written, 0 if there is none."""
        after = 0
        sql = (
            f"SELECT seq, {self._checksum}, CAST(merge AS BLOB), CAST(frame AS BLOB) FROM commits "
            "WHERE seq > ? ORDER BY seq LIMIT 16"
        )
        while rows := self.database.read_some(sql, (after,), 32 << 20):
            after = rows[-1][0]
            for seq, check, merge, frame in rows:
                if check is not None and check != checksum([merge], seq) + checksum([frame], seq):
                    return int(seq)
        return 0

    def say_damaged(self, seq: int) -> str:
        """What is wrong with a damaged commit, and what to do."""
        return (
            f"{self.database.path.name}: commit {seq} was changed on the disk, its checksum differs; restore "
            "learner.db and the snapshots from one backup, and check the disk"
        )

    @property
    def _checksum(self) -> str:
        return "checksum" if self.database.layout >= COMMITS_LAYOUT else "NULL"

    @staticmethod
    def decode_merge(merge: bytes) -> list[Span | TickMark]:
        """The merge order of one commit, from the bytes of its row."""
        return _MERGE.decode(merge)

    def positions(self) -> dict[str, int]:
        """For each source the position up to which it is committed."""
        return dict(self.database.read("SELECT source, pos FROM positions"))

    def absorbed(self) -> tuple[int, int]:
        """`absorbed_at` and watermark (ms) of the last kept commit; zeros when there is none."""
        rows = self.database.read("SELECT absorbed_at, watermark FROM commits ORDER BY seq DESC LIMIT 1")
        return (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)

    def snapshots(self) -> list[tuple[int, dict[str, int]]]:
        """Sequence number and positions of the kept snapshots, newest first."""
        rows = self.database.read("SELECT seq, positions FROM snapshots ORDER BY seq DESC")
        return [(seq, _POSITIONS.decode(positions)) for seq, positions in rows]

    def covered(self, source: str, n_snapshots: int = 2) -> int:
        """Position up to which `source` is held by each of the newest `n_snapshots`, 0 if there are fewer."""
        kept = self.snapshots()[:n_snapshots]
        return min((at.get(source, 0) for _, at in kept), default=0) if len(kept) == n_snapshots else 0

    def pending(self) -> list[Pending]:
        """Forgets whose traces may still be in a file, in order."""
        return [
            Pending(*row) for row in self.database.read("SELECT id, user, ts, seq FROM scrubs ORDER BY id")
        ]

    def ready_scrub(self) -> int:
        """Files may be rewritten for pending forgets up to this id."""
        return self.database.meta("ready_scrub")

    def cuts(self, source: str, done: int, upto: int) -> Iterator[Cuts]:
        """What is to go from a log for pending forgets with `done < id <= upto`, in order."""
        found = (done, 2, 0)
        sql = (
            "SELECT scrub, letter, pos, spans FROM scrub_cuts WHERE source=? AND scrub <= ? "
            "AND (scrub, letter, pos) > (?, ?, ?) ORDER BY scrub, letter, pos LIMIT 500"
        )
        while rows := self.database.read(sql, (source, upto, *found)):
            for scrub, letter, pos, spans in rows:
                found = (scrub, letter, pos)
                yield Cuts(source, bool(letter), pos, _SPANS.decode(spans))

    def dead_letters(self) -> DeadLetters:
        """What the learner could not read."""
        return DeadLetters(self.database)

    def close(self) -> None:
        """Close the file."""
        self.database.close()


class CommitLog(CommitReader):
    """The commits and their only writer, the learner; a second one is refused.

    Grows by a delta a commit until `trim`; the engine trims with each snapshot.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> commits = CommitLog(Path(folder.name) / "learner.db")
        >>> commits.commit(1, [Span("events-0", 0, 3, 3)], b"rows", absorbed_at=7, watermark=1_000)
        >>> commits.read_deltas(0)
        [Delta(seq=1, absorbed_at=7, watermark=1000, frame=b'rows')]
        >>> commits.positions()
        {'events-0': 3}
        >>> commits.close(); folder.cleanup()
    """

    def __init__(self, path: Path, *, max_letters: int = 10_000, max_letter_bytes: int = 64 << 20) -> None:
        self._held = FileLock(path.with_name(f"{path.name}.lock"), path.name)
        try:
            # Deltas are large and many, so freed pages are not zeroed one by one: a forget rewrites the file.
            self.database = Database(
                path,
                schema=COMMITS_LAYOUT,
                script=_SCRIPT,
                upgrade=_upgrade,
                page_bytes=_PAGE_BYTES,
                zero_freed_pages=False,
            )
        except BaseException:
            self._held.close()
            raise
        self._letters = DeadLetters(self.database, max_count=max_letters, max_bytes=max_letter_bytes)

    def commit(
        self,
        seq: int,
        merge: Sequence[Span | TickMark],
        frame: bytes | Sequence[bytes | memoryview],
        *,
        absorbed_at: int,
        watermark: int,
        letters: Iterable[DeadLetter] = (),
        forgets: Iterable[tuple[bytes, int]] = (),
    ) -> None:
        """Store one commit.

        `frame` is the packed frame, or its parts in order (`stream.frame.pack_parts`), which spares putting
        them together. `forgets` are (keyed hash of the user, ts), to be scrubbed from the files.

        Raises:
            LogError: nothing of it was stored.
        """
        parts = [frame] if isinstance(frame, bytes) else frame
        size = sum(map(len, parts))
        order = msgspec.msgpack.encode(merge)
        check = checksum([order], seq) + checksum(parts, seq)
        row = (seq, absorbed_at, watermark, order, size, size, check)
        reached = {entry.source: entry.last for entry in merge if isinstance(entry, Span)}
        letters, forgets = list(letters), list(forgets)
        with self.database.transaction(durable=False) as connection:
            connection.execute("INSERT INTO commits VALUES(?,?,?,?,?,zeroblob(?),?)", row)
            # Written into its place, megabytes are copied once; as a value of the row, three times.
            with connection.blobopen("commits", "frame", seq) as blob:
                for part in parts:
                    blob.write(part)
            connection.executemany("INSERT OR REPLACE INTO positions VALUES(?,?)", list(reached.items()))
            if letters:
                self._letters.add_within(connection, letters)
            if forgets:
                connection.executemany(
                    "INSERT OR IGNORE INTO scrubs(user, ts, seq) VALUES(?,?,?)",
                    [(user, ts, seq) for user, ts in forgets],
                )

    def sync(self) -> None:
        """Make all commits so far survive power loss."""
        self.database.set_meta("synced_seq", self.last_seq())

    def keep_snapshots(self, kept: Mapping[int, Mapping[str, int]], *, at: int) -> None:
        """Note which snapshots exist (sequence number → positions) and drop the deltas that none needs.

        The deltas behind the oldest kept snapshot stay. `at` is wall ms.
        """
        rows = [(seq, at, msgspec.msgpack.encode(dict(positions))) for seq, positions in kept.items()]
        with self.database.transaction(durable=True) as connection:
            connection.execute("DELETE FROM snapshots")
            connection.executemany("INSERT INTO snapshots VALUES(?,?,?)", rows)
            connection.execute("DELETE FROM commits WHERE seq <= ?", (min(kept),))
        self.database.shrink(_SHRINK_BYTES // _PAGE_BYTES)

    def bytes_after(self, seq: int) -> int:
        """Bytes of the deltas behind `seq`: what a replica or a recovery would have to read."""
        sql = "SELECT coalesce(sum(size), 0) FROM commits WHERE seq > ?"
        return int(self.database.read(sql, (seq,))[0][0])

    def add_cuts(self, scrub: int, cuts: Iterable[Cuts]) -> None:
        """Keep what is to go for the pending forgets up to `scrub`."""
        rows = [(scrub, x.source, x.letter, x.pos, msgspec.msgpack.encode(x.spans)) for x in cuts]
        if rows:
            with self.database.transaction(durable=False) as connection:
                connection.executemany("INSERT OR REPLACE INTO scrub_cuts VALUES(?,?,?,?,?)", rows)

    def finish_scrubs(self, upto: int) -> None:
        """Every file is free of the pending forgets with `id <= upto`."""
        with self.database.transaction(durable=True) as connection:
            connection.execute("DELETE FROM scrubs WHERE id <= ?", (upto,))
            connection.execute("DELETE FROM scrub_cuts WHERE scrub <= ?", (upto,))

    def dead_letters(self) -> DeadLetters:
        """What the learner could not read."""
        return self._letters

    def close(self) -> None:
        """Sync and close; closing twice is fine."""
        if self._held.closed:
            return
        try:
            # On a full disk the last commits survive the end of this process and not that of the machine;
            # then they are learned again.
            with suppress(StorageError):
                self.sync()
            self.database.close()
        finally:
            self._held.close()
