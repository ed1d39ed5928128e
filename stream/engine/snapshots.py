"""The learner's snapshot files: the newest good one wins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stream.errors import SnapshotError
from stream.frame import Frame
from stream.snapshot import read_snapshot, sync_folder, write_snapshot

__all__ = ["LEARNER_KIND", "SnapshotStore"]

LEARNER_KIND = "learner"
_NAME = re.compile(r"learner-([0-9]{15,18})\.snapshot")
_ASIDE = re.compile(r"learner-[0-9]+\.snapshot\.[0-9]+\.aside")


class SnapshotStore:
    """Snapshots in one folder, named after the commit they hold.

    A frame has ``seq``, ``positions`` (source → position), ``step`` (`Step.snapshot()`), ``tickers``,
    ``absorbed_at`` and ``fingerprint``. At most two are kept.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> store = SnapshotStore(Path(folder.name))
        >>> _ = store.write({"seq": 7, "positions": {}})
        >>> store.load()[0]
        {'seq': 7, 'positions': {}}
        >>> folder.cleanup()
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def found(self) -> list[tuple[int, Path]]:
        """Sequence number and path, newest first; what others put there is passed over."""
        named = ((_NAME.fullmatch(path.name), path) for path in self.folder.glob("learner-*.snapshot"))
        return sorted(((int(name[1]), path) for name, path in named if name and path.is_file()), reverse=True)

    def strays(self) -> list[str]:
        """Names of what is in the folder and was not written by a learner."""
        mine = {path.name for _, path in self.found()}
        names = (path.name for path in self.folder.glob("*"))
        return sorted(name for name in names if name not in mine and not _ASIDE.fullmatch(name))

    def has(self, seq: int) -> bool:
        """Whether the snapshot of that commit is there."""
        return self._path(seq).is_file()

    def _path(self, seq: int) -> Path:
        return self.folder / f"learner-{seq:015d}.snapshot"

    def write(self, frame: Mapping[str, Any]) -> int:
        """Store a frame under its ``seq``; returns its bytes. Leftovers of killed writers are removed.

        Raises:
            SnapshotError: it was not written; the older ones are untouched.
        """
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            for leftover in self.folder.glob("*.aside"):
                if _ASIDE.fullmatch(leftover.name):
                    leftover.unlink(missing_ok=True)
        except OSError as error:
            msg = f"the snapshot folder {self.folder.name} cannot be used: {error}"
            raise SnapshotError(msg) from error
        return write_snapshot(self._path(frame["seq"]), LEARNER_KIND, frame)

    def load(self) -> tuple[Frame | None, list[str]]:
        """The newest snapshot that can be read, and what was wrong with newer ones; None if there is none.

        Raises:
            SnapshotError: there are snapshots and none can be read.
        """
        problems: list[str] = []
        found = self.found()
        for _, path in found:
            try:
                return read_snapshot(path, LEARNER_KIND), problems
            except SnapshotError as error:
                problems.append(str(error))
        if self.found() != found:
            # The learner wrote a newer one and deleted these meanwhile.
            return self.load()
        if problems:
            msg = f"no snapshot can be read: {'; '.join(problems)}; restore one from a backup"
            raise SnapshotError(msg)
        return None, problems

    def remove_newer(self, seq: int) -> None:
        """Delete the snapshots behind `seq`: damaged ones, or the fall-back would not be the newest."""
        for found, path in self.found():
            if found > seq:
                path.unlink(missing_ok=True)

    def keep(self, n_kept: int) -> None:
        """Delete all but the newest `n_kept`."""
        old = self.found()[n_kept:]
        for _, path in old:
            path.unlink(missing_ok=True)
        if old:
            sync_folder(self.folder)
