"""The data folder: what lies where, who may open it, and which version wrote it.

```
freshet.json                format number
key                         32 secret bytes (mode 0600): hashes of forgotten users are keyed with them
lock                        held by the one system that runs on this folder
events-<w>.db               accepted events, decisions and dead letters of serving worker w
learner.db                  commits of the learner: deltas, merge order, positions, pending forgets
history.marks               how far each worker has accepted history
claims.db                   which worker answers a request id that a client chose
snapshots/learner-*.snapshot   the learner's whole state, the newest two
index.snapshot              vectors and links of the workers' index; if it is missing, it is built anew
*.sock                      where processes nudge each other
```
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec

from stream.commits import CommitLog, CommitReader
from stream.dead_letters import DeadLetter
from stream.engine.settings import EngineSettings
from stream.engine.snapshots import SnapshotStore
from stream.errors import FilesGoneError, LogError, storage_error
from stream.filelock import FileLock
from stream.log import Claims, SQLiteLog, SQLiteLogReader
from stream.presence import Presence
from stream.private import mend_modes
from stream.snapshot import sync_folder

__all__ = ["FOLDER_FORMAT", "DataFolder"]

FOLDER_FORMAT = 2
"""Number of the layout; raised with any file format inside, so an older program refuses the whole folder."""

_KEY_BYTES = 32
_KEY_MARK = "key_mark"  # in learner.db
_LOG = re.compile(r"events-(0|[1-9][0-9]*)\.db")
_log = logging.getLogger(__name__)


class _Header(msgspec.Struct):
    format: int


class DataFolder:
    """A data folder, created when missing.

    Args:
        path: the folder.
        exclusive: take the folder's lock; the process that starts all others does, they themselves do not.
        create: make it when it is missing, and mend who may read it; not for who only looks or comes later.

    Raises:
        LogError: another process runs on it (the message names it), a newer program wrote it, it is damaged,
            or it cannot be written.

    Example:
        >>> import tempfile
        >>> parent = tempfile.TemporaryDirectory()
        >>> folder = DataFolder(Path(parent.name) / "data", exclusive=True)
        >>> folder.prepare(workers=2)
        >>> folder.sources(), len(folder.key)
        (['events-0', 'events-1'], 32)
        >>> folder.close(); parent.cleanup()
    """

    def __init__(self, path: Path, *, exclusive: bool = False, create: bool = True) -> None:
        self.path = path
        self._held: FileLock | None = None
        try:
            if create:
                # It holds ids of users: nobody else's business.
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_header(create)
            if exclusive:
                self._held = FileLock(path / "lock", f"the data folder {path}")
            self.key = self._read_key(create)
            if create:
                self._mend_modes()
        except OSError as error:
            self.close()
            msg = f"the data folder {path} cannot be used: {error}; check its owner, its mode and the disk"
            raise storage_error(msg, error) from error
        except LogError:
            self.close()
            raise
        self._presence = self.presence()

    def presence(self, files: Sequence[Path] = (), *, logs_of: Sequence[Path] = ()) -> Presence:
        """The folder and what it is known by, and `files` in it, as they are now.

        `logs_of` are databases that this process holds open: their write-ahead logs stay as long as it does.
        """
        contents = [self.path / "freshet.json", self.path / "key"]
        beside = [path.with_name(f"{path.name}{ending}") for path in logs_of for ending in ("-wal", "-shm")]
        return Presence([self.path, self.path / "lock", *files], later=beside, contents=contents)

    def refuse_lost(self) -> None:
        """Refuse a folder that is no longer the one that was opened.

        Raises:
            FilesGoneError: it was deleted or replaced, or its key or lock was.
        """
        self._presence.refuse()

    def _mend_modes(self) -> None:
        patterns = (
            "freshet.json",
            "key",
            "*.db",
            "*.db-wal",
            "*.db-shm",
            "*.lock",
            "*.snapshot",
            "*.sock",
            "*.marks",
        )
        mine = [path for pattern in (*patterns, "snapshots/*.snapshot") for path in self.path.glob(pattern)]
        mend_modes(self.path, [*mine, self.snapshots_path])

    def _check_header(self, create: bool) -> None:
        file = self.path / "freshet.json"
        if not file.exists():
            if not create:
                msg = (
                    f"{self.path} is no data folder: it has no freshet.json; "
                    "give the one that `freshet up` was given"
                )
                raise FilesGoneError(msg)
            self._check_empty()
            self._write("freshet.json", msgspec.json.encode(_Header(FOLDER_FORMAT)))
        try:
            header = msgspec.json.decode(file.read_bytes(), type=_Header)
        except msgspec.DecodeError as error:
            msg = f'{file} is damaged ({error}); expected {{"format": {FOLDER_FORMAT}}}; restore it'
            raise LogError(msg) from error
        if not 1 <= header.format <= FOLDER_FORMAT:
            msg = (
                f"{self.path} has format {header.format}, this program reads 1 to {FOLDER_FORMAT}; upgrade it"
            )
            raise LogError(msg)

    def _check_empty(self) -> None:
        if any(entry.suffix == ".db" for entry in self.path.iterdir()):
            msg = f"{self.path} holds databases and no freshet.json; restore it, or choose an empty folder"
            raise LogError(msg)

    def _read_key(self, create: bool) -> bytes:
        file = self.path / "key"
        if not file.exists():
            if not create or (self.path / "learner.db").exists():
                msg = f"{file} is missing: forgotten users could not be recognised; restore it from a backup"
                raise LogError(msg)
            self._write("key", secrets.token_bytes(_KEY_BYTES))
        key = file.read_bytes()
        if len(key) != _KEY_BYTES:
            msg = (
                f"{file} is damaged: expected {_KEY_BYTES} bytes, found {len(key)}; restore it from a backup"
            )
            raise LogError(msg)
        return key

    def _write(self, name: str, data: bytes) -> None:
        # Aside, synced and linked: whoever comes first wins, and nobody ever reads half a file.
        aside = self.path / f"{name}.{os.getpid()}.aside"
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(aside, self.path / name)
        except FileExistsError:
            pass
        finally:
            aside.unlink()
        sync_folder(self.path)

    @classmethod
    def describe(cls, path: Path) -> str:
        """What an existing folder holds, in a sentence; opens it for reading only and changes nothing.

        Raises:
            LogError: there is no data folder, or something in it is damaged or newer.
        """
        folder = cls(path, create=False)
        folder.refuse_missing_files()
        logs, commits = folder._still_readers()
        seq, n_pending = commits.last_seq(), len(commits.pending())
        for database in (commits.database, *(log.database for log in logs.values())):
            if damage := database.damage():
                msg = f"{database.path} is damaged ({damage}); restore it from a backup"
                raise LogError(msg)
        for source, log in logs.items():
            if pos := log.first_damaged():
                raise LogError(log.say_damaged(pos))
            if n := log.dead_letters.damaged():
                msg = f"{source}.db: {n} dead letters were changed on the disk; check the disk"
                raise LogError(msg)
        if damaged := commits.first_damaged():
            raise LogError(commits.say_damaged(damaged))
        folder.snapshot_store().load()
        _close(commits, logs)
        return f"format {FOLDER_FORMAT}, {len(logs)} logs, {seq} commits, {n_pending} forgets to finish"

    def _still_readers(self) -> tuple[dict[str, SQLiteLogReader], CommitReader]:
        logs = {source: SQLiteLogReader(self.events_path(source), still=True) for source in self.sources()}
        return logs, CommitReader(self.learner_path, still=True)

    def newest_letters(self, limit: int) -> tuple[int, list[DeadLetter]]:
        """How many dead letters all files hold, and the newest of them, newest first."""
        logs, commits = self._still_readers()
        kept = [log.dead_letters for log in logs.values()] + [commits.dead_letters()]
        newest = [letter for letters in kept for letter in letters.newest(limit)]
        count = sum(letters.count() for letters in kept)
        _close(commits, logs)
        return count, sorted(newest, key=lambda letter: -letter.at)[:limit]

    def prepare(self, workers: int) -> None:
        """Create the files of `workers` workers and of the learner, so that readers find them.

        Raises:
            LogError: a file that others refer to is missing, or is another than it was.
        """
        self.refuse_missing_files()
        if strays := self.strays():
            _log.warning("%s: passed over, as they are not Freshet's: %s", self.path, ", ".join(strays))
        for worker in range(workers):
            SQLiteLog(self.events_path(self.source(worker))).close()
        commits = CommitLog(self.learner_path)
        if not commits.database.meta(_KEY_MARK):
            commits.database.set_meta(_KEY_MARK, self._key_mark())
        commits.close()
        Claims(self.claims_path, self.key).close()
        self.snapshots_path.mkdir(mode=0o700, exist_ok=True)
        self._raise_format()

    def strays(self) -> list[str]:
        """Files that look like Freshet's and were put there by others, as copies are."""
        logs = (path.name for path in self.path.glob("events-*.db"))
        return [
            *(name for name in sorted(logs) if not _LOG.fullmatch(name)),
            *(f"snapshots/{name}" for name in self.snapshot_store().strays()),
        ]

    def _raise_format(self) -> None:
        """Note that the files are of this program's layouts now: an older one refuses them."""
        file, header = self.path / "freshet.json", msgspec.json.encode(_Header(FOLDER_FORMAT))
        if file.read_bytes() != header:
            aside = file.with_name(f"{file.name}.{os.getpid()}.aside")
            aside.touch(0o600)
            aside.write_bytes(header)
            aside.replace(file)
            sync_folder(self.path)

    def refuse_missing_files(self) -> None:
        """Refuse a folder of which a part was deleted or put in from elsewhere.

        Raises:
            LogError: snapshots without the commits behind them, or a log that is missing or ends before what
                was learned from it: what a new one would be given now would be taken for what was learned.
        """
        if not self.learner_path.exists():
            if self.snapshot_store().found():
                msg = (
                    f"{self.learner_path} is missing and there are snapshots; restore it from the same backup"
                )
                raise LogError(msg)
            return
        commits = CommitReader(self.learner_path, still=True)
        positions, noted, mark = commits.positions(), commits.snapshots(), commits.database.meta(_KEY_MARK)
        commits.close()
        if mark and mark != self._key_mark():
            msg = (
                f"{self.path / 'key'} is not the key of this folder: forgotten users could not be "
                "recognised; restore it from the same backup as learner.db"
            )
            raise LogError(msg)
        self._refuse_missing_snapshots([seq for seq, _ in noted])
        for source, position in positions.items():
            path = self.events_path(source)
            if not path.exists():
                msg = f"{path} is missing; {position} of its records were learned; restore it from a backup"
                raise FilesGoneError(msg)
            reader = SQLiteLogReader(path, still=True)
            given = reader.last_given()
            reader.close()
            if given < position:
                msg = (
                    f"{path} is not the file that was learned from: it ends at {given}, expected {position} "
                    "at least; restore it from the same backup as learner.db"
                )
                raise LogError(msg)

    def _refuse_missing_snapshots(self, noted: list[int]) -> None:
        # The deltas up to the oldest noted one were dropped: only a snapshot of it, or of a later one, holds
        # what they said.
        if noted and not any(seq >= min(noted) for seq, _ in self.snapshot_store().found()):
            msg = (
                f"{self.snapshots_path} holds no snapshot of commit {min(noted)} or a later one, and what "
                "led there is no longer kept; restore it from the same backup as learner.db. To begin anew "
                "from the events that are still kept, move learner.db away and send the last forgets again"
            )
            raise LogError(msg)

    def _key_mark(self) -> int:
        """A number that tells one key from another and says nothing about it."""
        return int.from_bytes(blake2b(self.key, digest_size=7, person=b"freshet-key").digest(), "big") + 1

    @staticmethod
    def source(worker: int) -> str:
        """Name of a worker's log, as it stands in the merge order."""
        return f"events-{worker}"

    def sources(self) -> list[str]:
        """Names of all logs that are here, also of workers that run no longer."""
        names = [path.stem for path in self.path.glob("events-*.db") if _LOG.fullmatch(path.name)]
        return sorted(names, key=lambda name: (len(name), name))

    def owned(self, worker: int, workers: int) -> list[str]:
        """Logs that a worker looks after: its own, and for worker 0 those of workers that run no longer."""
        running = {self.source(w) for w in range(workers)}
        return [n for n in self.sources() if n == self.source(worker) or (worker == 0 and n not in running)]

    def events_path(self, source: str) -> Path:
        """File of a log."""
        return self.path / f"{source}.db"

    @property
    def learner_path(self) -> Path:
        """File of the commits."""
        return self.path / "learner.db"

    @property
    def claims_path(self) -> Path:
        """File of the claims."""
        return self.path / "claims.db"

    @property
    def history_path(self) -> Path:
        """File of `HistoryMarks`."""
        return self.path / "history.marks"

    @property
    def snapshots_path(self) -> Path:
        """Folder of the snapshots."""
        return self.path / "snapshots"

    @property
    def index_path(self) -> Path:
        """File of the workers' index; worker 0 writes it, all read it."""
        return self.path / "index.snapshot"

    def socket_path(self, name: str) -> Path:
        """Where the process called `name` (``learner``, ``worker-0``) listens for nudges."""
        return self.path / f"{name}.sock"

    def writer(self, source: str, settings: EngineSettings | None = None) -> SQLiteLog:
        """Open a log for writing, within the bounds that the settings state; its process only."""
        bounds = settings or EngineSettings()
        self._require(self.events_path(source))
        return SQLiteLog(
            self.events_path(source),
            max_bytes=bounds.max_mb << 20,
            max_letters=bounds.max_letters,
            max_letter_bytes=bounds.max_letter_mb << 20,
        )

    def readers(self) -> dict[str, SQLiteLogReader]:
        """Open every log for reading."""
        return {source: SQLiteLogReader(self.events_path(source)) for source in self.sources()}

    def commit_log(self, settings: EngineSettings | None = None) -> CommitLog:
        """Open the commits for writing; the learner only."""
        bounds = settings or EngineSettings()
        self._require(self.learner_path)
        return CommitLog(
            self.learner_path,
            max_letters=bounds.max_letters,
            max_letter_bytes=bounds.max_letter_mb << 20,
        )

    def commit_reader(self) -> CommitReader:
        """Open the commits for reading."""
        return CommitReader(self.learner_path)

    def snapshot_store(self) -> SnapshotStore:
        """The learner's snapshots."""
        return SnapshotStore(self.snapshots_path)

    def claims(self) -> Claims:
        """Open the claims."""
        return Claims(self.claims_path, self.key)

    def _require(self, file: Path) -> None:
        # `prepare` makes what is missing. One that came into being later would be empty, and look like all.
        if not file.exists():
            msg = f"{file} is missing; restore it from a backup"
            raise FilesGoneError(msg)

    def close(self) -> None:
        """Release the lock; closing twice is fine."""
        if self._held is not None:
            self._held.close()


def _close(commits: CommitReader, logs: dict[str, SQLiteLogReader]) -> None:
    commits.close()
    for log in logs.values():
        log.close()
