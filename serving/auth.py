"""Bearer tokens: read, write and control apart."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
from typing import Literal

from serving.errors import ExposedError, ForbiddenError, UnauthorisedError
from serving.settings import AuthSettings

__all__ = ["Right", "TokenGate", "is_loopback", "refuse_exposure", "weak_tokens"]

Right = Literal["none", "read", "write"]
"""What a route asks for: nothing, reading (recommend, rows, metrics) or writing (events)."""

_SHORTEST, _FEWEST = 16, 5
_PUBLISHED = re.compile(r"change.?me|replace.?me|your.?token|example|placeholder|password|^0123456789")
_MAKE = "`openssl rand -hex 24`"
_log = logging.getLogger(__name__)


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


def weak_tokens(auth: AuthSettings) -> list[str]:
    """What is wrong with tokens that could be guessed, each by its setting and place; none is shown.

    Example:
        >>> weak_tokens(AuthSettings(read=("change-me-read-token",), control=("c",)))[1]
        'serve.auth.control[0] has 1 characters, expected 16 at least'
    """
    found = []
    for right in ("read", "write", "control"):
        for place, token in enumerate(getattr(auth, right)):
            plain = token.strip().lower()
            if len(plain) < _SHORTEST:
                why = f"has {len(plain)} characters, expected {_SHORTEST} at least"
            elif _PUBLISHED.search(plain):
                why = "is a published example"
            elif len(set(plain)) < _FEWEST:
                why = f"repeats {len(set(plain))} characters, expected {_FEWEST} different ones at least"
            else:
                continue
            found.append(f"serve.auth.{right}[{place}] {why}")
    return found


def refuse_exposure(host: str, auth: AuthSettings, *, insecure: bool) -> None:
    """Refuse to listen on an address that others reach, unless tokens are asked for that nobody guesses.

    On loopback tokens that could be guessed are warned of.

    Raises:
        ExposedError: no token is configured, or one could be guessed, and `insecure` is not set.
    """
    weak = "; ".join(weak_tokens(auth))
    if is_loopback(host) or insecure:
        if weak:
            _log.warning("weak tokens: %s; %s makes a better one", weak, _MAKE)
        return
    if not auth.configured:
        msg = (
            f"host {host!r} can be reached from other machines and no token is configured; set read, write "
            "and control under [serve.auth], listen on 127.0.0.1, or pass --insecure if something in front "
            "guards it"
        )
        raise ExposedError(msg)
    if weak:
        msg = (
            f"host {host!r} can be reached from other machines and a token can be guessed: {weak}; "
            f"{_MAKE} makes a better one"
        )
        raise ExposedError(msg)


class TokenGate:
    """Lets a request through or says which token it lacks.

    Example:
        >>> gate = TokenGate(AuthSettings(read=("r",), write=("w",), control=("c",)))
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
