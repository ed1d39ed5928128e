"""Whether files are still those that were opened.

What is written to a file that somebody deleted reaches nobody: it is gone with the last process that holds
it. The operating system says nothing of that, so names are compared with what they led to at first.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from stream.clock import Clock
from stream.errors import FilesGoneError

__all__ = ["Presence", "Watch"]

_EVERY_S = 1.0
_log = logging.getLogger(__name__)

_Identity = tuple[int, int]


class Presence:
    """Files and folders that must stay what they are; a look at each costs a microsecond or two.

    Args:
        paths: what is there now.
        later: what may come into being later and must stay from then on.
        contents: small files that may be written anew and must hold the same.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "events.db"
        >>> _ = file.write_text("")
        >>> presence = Presence([file])
        >>> presence.lost()
        ''
        >>> file.unlink()
        >>> presence.lost().partition(":")[0]
        'events.db is no longer there'
        >>> folder.cleanup()
    """

    def __init__(
        self, paths: Sequence[Path], *, later: Sequence[Path] = (), contents: Sequence[Path] = ()
    ) -> None:
        found = {os.fspath(path): _identity(os.fspath(path)) for path in paths}
        self._known = {path: identity for path, identity in found.items() if identity is not None}
        # What is not there yet cannot be lost.
        self._later = [*map(os.fspath, later), *(path for path in found if path not in self._known)]
        self._contents = {path: _content(path) for path in contents}

    def lost(self) -> str:
        """Which file is another or no longer there, in words; empty when all is well."""
        for name in tuple(self._later):
            come = _identity(name)
            if come is not None:
                self._later.remove(name)
                self._known[name] = come
        for name, known in self._known.items():
            found = _identity(name)
            if found != known:
                return _words(Path(name), missing=found is None)
        for path, held in self._contents.items():
            content = _content(path)
            if content != held:
                return _words(path, missing=content is None)
        return ""

    def refuse(self) -> None:
        """Raise if a file is another or no longer there.

        Raises:
            FilesGoneError: what was written to it since is lost.
        """
        if words := self.lost():
            raise FilesGoneError(words)


class Watch:
    """Looks at files once a second, however often it is asked; what changes is logged."""

    def __init__(self, presence: Presence, clock: Clock) -> None:
        self._presence, self._clock = presence, clock
        self._looked_s = float("-inf")
        self._lost = ""

    def lost(self) -> str:
        """What was found at the last look, see `Presence.lost`."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s >= _EVERY_S:
            self._looked_s = now_s
            lost = self._presence.lost()
            if lost != self._lost:
                _log.error("%s", lost or "all files are there again")
            self._lost = lost
        return self._lost

    def refuse(self) -> None:
        """Raise if a file was another or no longer there.

        Raises:
            FilesGoneError: what was written to it since is lost.
        """
        if words := self.lost():
            raise FilesGoneError(words)


def _identity(path: str) -> _Identity | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a third of the time, at each commit of events
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _words(path: Path, *, missing: bool) -> str:
    what = "is no longer there" if missing else "was replaced by another file"
    return (
        f"{path.name} {what}: what is written now would be lost; put back what was there, or stop, "
        "restore a backup and start"
    )
