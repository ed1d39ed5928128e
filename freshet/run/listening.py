"""The port of a server, opened before anything else is done, and how many files it may have open."""

from __future__ import annotations

import socket

from learning.errors import StartError
from stream.open_files import few_files_note, raise_file_limit

__all__ = ["listen", "require_files"]

_BACKLOG = 1_024
_FEWEST_FILES = 64  # what a process has open before its first connection, and some to spare


def require_files(fewest: int = _FEWEST_FILES, what: str = "") -> None:
    """Take all the open files that this process may have, and go on only if that are enough.

    Raises:
        StartError: it may have fewer; `what` says what needs them.

    Example:
        >>> require_files(1 << 40, "so many files are read at once with --backfill")
        Traceback (most recent call last):
        learning.errors.StartError: expected room for 1,099,511,627,776 files and connections, so many files \
are read at once with --backfill; this process may have ...
    """
    if raise_file_limit() < fewest:
        why = f", {what}" if what else ""
        msg = f"expected room for {fewest:,} files and connections{why}; {few_files_note()}"
        raise StartError(msg)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that children inherit; 0 takes a free port.

    Raises:
        StartError: the port is taken, or the address is not this machine's.

    Example:
        >>> with listen("127.0.0.1", 0) as listener:
        ...     listener.getsockname()[0]
        '127.0.0.1'
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        msg = f"cannot listen on {host}:{port}: {error.strerror or error}; choose another port with --port"
        raise StartError(msg) from error
    listener.set_inheritable(True)
    return listener
