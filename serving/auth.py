"""Bearer tokens: read, write and control apart."""

from __future__ import annotations

import hmac
import ipaddress
from typing import Literal

from serving.errors import ExposedError, ForbiddenError, UnauthorisedError
from serving.settings import AuthSettings

__all__ = ["Gate", "Right", "is_loopback", "refuse_exposure"]

Right = Literal["none", "read", "write"]
"""What a route asks for: nothing, reading (recommend, rows, metrics) or writing (events)."""


def is_loopback(host: str) -> bool:
    """Whether `host` is reachable from this machine only.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_exposure(host: str, auth: AuthSettings, *, insecure: bool) -> None:
    """Refuse to listen on an address that others reach, unless tokens are asked for.

    Raises:
        ExposedError: no token is configured and `insecure` is not set.
    """
    if is_loopback(host) or insecure or auth.configured:
        return
    msg = (
        f"host {host!r} can be reached from other machines and no token is configured; set read, write and "
        "control under [serve.auth], listen on 127.0.0.1, or pass --insecure if something in front guards it"
    )
    raise ExposedError(msg)


class Gate:
    """Lets a request through or says which token it lacks.

    Example:
        >>> gate = Gate(AuthSettings(read=("r",), write=("w",), control=("c",)))
        >>> gate.check("write", b"Bearer w"), gate.check("read", b"Bearer c"), gate.check("none", None)
        (None, None, None)
    """

    def __init__(self, auth: AuthSettings) -> None:
        self._configured = auth.configured
        self._opens = {
            "read": _encoded(auth.read + auth.control),
            "write": _encoded(auth.write + auth.control),
        }
        self._known = _encoded(auth.read + auth.write + auth.control)

    def check(self, right: Right, authorization: bytes | None) -> None:
        """Pass if the header `authorization` opens `right`.

        Raises:
            UnauthorisedError: there is no bearer token, or nobody knows it.
            ForbiddenError: the token is good for something else.
        """
        if right == "none" or not self._configured:
            return
        scheme, _, token = (authorization or b"").partition(b" ")
        token = token.strip()
        if scheme.lower() != b"bearer" or not _holds(self._known, token):
            msg = f"token: this needs a header 'Authorization: Bearer <{right} token>'; "
            msg += "an unknown token came" if authorization else "none came"
            raise UnauthorisedError(msg)
        if not _holds(self._opens[right], token):
            msg = f"token: a {right} or control token is needed here, one of another kind came"
            raise ForbiddenError(msg)


def _encoded(tokens: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(token.encode() for token in tokens if token)


def _holds(tokens: tuple[bytes, ...], token: bytes) -> bool:
    # Every token is compared, in constant time: how long a refusal takes says nothing about the tokens.
    found = False
    for known in tokens:
        found |= hmac.compare_digest(known, token)
    return found
