"""Whether a folder's disk has room."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from stream.errors import LogError, storage_error

__all__ = ["has_free", "has_room", "require_room"]


def require_room(folder: Path, n_bytes: int, what: str) -> None:
    """Refuse if so many bytes more find no room beside `what`.

    Found out by taking them and giving them back: free space, quota and mode all count.

    Raises:
        LogError: they do not; `StorageError` if that may pass.
    """
    try:
        # A file without a name: nobody sees it, and it is gone whatever happens here.
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, n_bytes)
    except OSError as error:
        msg = f"no room for more of {what}: {error.strerror or error}; free space, or mend the disk"
        raise storage_error(msg, error) from error


def has_room(folder: Path, n_bytes: int) -> bool:
    """Whether `require_room` would pass.

    Example:
        >>> has_room(Path(tempfile.gettempdir()), 1), has_room(Path("/proc"), 1)
        (True, False)
    """
    try:
        require_room(folder, n_bytes, "a file")
    except LogError:
        return False
    return True


def has_free(folder: Path, n_bytes: int) -> bool:
    """Whether the disk says that so much is free; nothing is tried, so a quota is not seen.

    Example:
        >>> has_free(Path("/"), 0), has_free(Path("/"), 1 << 62)
        (True, False)
    """
    try:
        found = os.statvfs(folder)
    except OSError:
        return True  # not for want of room
    return found.f_bavail * found.f_frsize >= n_bytes
