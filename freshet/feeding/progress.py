"""How far a copy has come, kept in a small file beside what is copied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from freshet.feeding.sender import resume_path
from learning.errors import StartError

__all__ = ["CopyProgress"]


class CopyProgress:
    """Positions by name, for one copy from here to there.

    A file that belongs to another copy (`mark` differs) counts as none; it is written over.

    Args:
        folder: the data folder that is copied or filled; the file lies beside it.
        mark: what tells this copy from others: brokers, prefix, direction.
        restart: ignore where an earlier run stopped.

    Example:
        >>> import tempfile
        >>> home = tempfile.TemporaryDirectory()
        >>> progress = CopyProgress(Path(home.name) / "data", {"to": "broker-1"})
        >>> progress.save({"events-0": 7})
        >>> CopyProgress(Path(home.name) / "data", {"to": "broker-1"}).positions
        {'events-0': 7}
        >>> home.cleanup()
    """

    def __init__(self, folder: Path, mark: Mapping[str, str | int], *, restart: bool = False) -> None:
        self._file = resume_path(folder.resolve())
        self._mark = dict(mark)
        self.positions: dict[str, int] = {} if restart else self._load()
        """The last position of each source that is certainly on the other side."""

    def _load(self) -> dict[str, int]:
        try:
            kept = json.loads(self._file.read_text("utf-8"))
            return dict(kept["positions"]) if kept["mark"] == self._mark else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def save(self, positions: Mapping[str, int]) -> None:
        """Remember positions; a crash leaves the old ones or the new ones.

        Raises:
            StartError: the file cannot be written.
        """
        self.positions = dict(positions)
        aside = self._file.with_name(f"{self._file.name}.aside")
        try:
            aside.write_text(json.dumps({"mark": self._mark, "positions": self.positions}), "utf-8")
            aside.replace(self._file)
        except OSError as error:
            msg = f"{self._file} cannot be written: {error}; a copy keeps there how far it has come"
            raise StartError(msg) from error
