"""The port of a server, opened before anything else is done."""

from __future__ import annotations

import socket

from learning.errors import StartError

__all__ = ["listen"]

_BACKLOG = 1_024


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
