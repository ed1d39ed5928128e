"""What Freshet writes is for its own user: it tells who clicked what, and who was forgotten."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["mend_modes", "private_files"]

_OTHERS = 0o077
_log = logging.getLogger(__name__)


def private_files() -> None:
    """Let this process, and those that it starts, make files that only their owner may read."""
    os.umask(_OTHERS)


def mend_modes(folder: Path, paths: Iterable[Path]) -> int:
    """Take what others may do with these files away; how many there were, which is said once.

    The folder itself stays as readable as its owner made it; that others may write into it is taken away.

    Example:
        >>> import tempfile
        >>> parent = tempfile.TemporaryDirectory()
        >>> file = Path(parent.name) / "events-0.db"
        >>> file.touch(0o600); mend_modes(Path(parent.name), [file])
        0
        >>> parent.cleanup()
    """
    wanted = [(folder, 0o022), *((path, _OTHERS) for path in paths)]
    mended, refused = [], []
    for path, bits in wanted:
        try:
            mode = path.lstat().st_mode
            if path.is_symlink() or not mode & bits:
                continue
            path.chmod(mode & 0o7777 & ~bits)
        except FileNotFoundError:
            continue
        except OSError:
            refused.append(path.name)
        else:
            mended.append(path.name)
    if mended:
        _log.warning("%s: others could use %s; now only the owner can", folder, ", ".join(mended))
    if refused:
        _log.warning("%s: others can use %s, and that cannot be changed", folder, ", ".join(refused))
    return len(mended)
