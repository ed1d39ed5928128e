"""Whose browser asks: pages of others must not reach a Freshet that asks for no token.

A page can make a browser send a request to loopback, and, once its own name leads there, read the answer. It
cannot make up a `Host` or an `Origin`, and cannot send JSON to another origin unasked.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from serving.asgi import Scope, header
from serving.errors import ForbiddenError

__all__ = ["OriginGate", "is_own_name"]

# Names that nobody can register: of this machine, of its network, of a cluster.
_OWN = ("localhost", "local", "internal", "svc", "lan", "home.arpa")


def is_own_name(host: str) -> bool:
    """Whether no stranger can make `host` lead here: an address, one word, or a name kept for own networks.

    Example:
        >>> [is_own_name(host) for host in ("127.0.0.1", "::1", "freshet", "a.localhost", "evil.example")]
        [True, True, True, True, False]
    """
    try:
        ip_address(host)
    except ValueError:
        return "." not in host or any(host.endswith(f".{name}") for name in _OWN)
    return True


class OriginGate:
    """Lets a request through if its `Host` is ours and its `Origin`, if there is one, is that host.

    Args:
        allowed: further names that lead here, such as a proxy's; "*" takes any.
        asked_for_tokens: then nothing is checked: a browser sends no token by itself.

    Example:
        >>> gate = OriginGate(("shop.example",), asked_for_tokens=False)
        >>> gate.check({"method": "GET", "headers": [(b"host", b"shop.example:8080")]})
        >>> gate.check({"method": "GET", "headers": [(b"host", b"evil.example")]})
        Traceback (most recent call last):
            ...
        serving.errors.ForbiddenError: host: 'evil.example' is no name of this Freshet; if a proxy or a name \
of yours leads here, add it to serve.allowed_hosts, or ask for tokens
    """

    def __init__(self, allowed: Sequence[str], *, asked_for_tokens: bool) -> None:
        self._allowed = {_bare(name) for name in allowed}
        self._passes = asked_for_tokens or "*" in self._allowed
        self._known: set[bytes] = set()

    def check(self, scope: Scope) -> None:
        """Pass, or say what is foreign.

        Raises:
            ForbiddenError: the host is not ours, or the request comes from another's page.
        """
        if self._passes:
            return
        host = header(scope, b"host") or b""
        if sum(name == b"host" for name, _ in scope["headers"]) > 1:
            msg = "host: expected one, got several"
            raise ForbiddenError(msg)
        if host not in self._known:
            self._check_host(host)
        origin = None if scope["method"] in ("GET", "HEAD") else header(scope, b"origin")
        if origin is not None:
            self._check_origin(origin.decode("latin-1"), host.decode("latin-1"))

    def _check_host(self, host: bytes) -> None:
        name = _bare(host.decode("latin-1"))
        if not is_own_name(name) and name not in self._allowed:
            msg = (
                f"host: {name[:100]!r} is no name of this Freshet; if a proxy or a name of yours leads here, "
                "add it to serve.allowed_hosts, or ask for tokens"
            )
            raise ForbiddenError(msg)
        if len(self._known) < 64:
            self._known.add(host)

    def _check_origin(self, origin: str, host: str) -> None:
        netloc = urlsplit(origin).netloc.lower() if "://" in origin else ""
        if netloc and (netloc == host.lower() or _bare(netloc) in self._allowed):
            return
        msg = (
            f"origin: a page of {origin[:100]!r} may not write here, expected one of {host[:100]!r}; if it "
            "is yours, add its host to serve.allowed_hosts, or ask for tokens"
        )
        raise ForbiddenError(msg)


def _bare(host: str) -> str:
    """A host without its port and brackets, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        address, _, port = host[1:].partition("]")
        return address if not port or (port[1:].isdigit() and port[0] == ":") else host
    return host.rpartition(":")[0].rstrip(".") if host.count(":") == 1 else host.rstrip(".")
