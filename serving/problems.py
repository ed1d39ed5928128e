"""Errors as ``application/problem+json``: which thing, what was expected, what came, what to try."""

from __future__ import annotations

import msgspec

from serving.asgi import Response
from serving.errors import (
    BusyError,
    ServingError,
    TooLargeError,
    UnauthorisedError,
    UnavailableError,
    UnreadableError,
)
from stream.envelope import TooManyEventsError
from stream.errors import EventError, FreshetError, LogError, OverloadedError

__all__ = ["PROBLEM_TYPE", "Problem", "problem_response"]

PROBLEM_TYPE = b"application/problem+json"


class Problem(msgspec.Struct, frozen=True):
    """The body of every error."""

    title: str
    status: int
    detail: str


_encoder = msgspec.json.Encoder()


def problem_response(error: FreshetError, *, retry_after_s: int) -> Response:
    """The answer that tells a caller about `error`.

    Example:
        >>> from serving.errors import FieldError
        >>> response = problem_response(FieldError("field 'k': expected 1 to 1000, got 0"), retry_after_s=1)
        >>> response.status, response.body.decode()[:32]
        (422, '{"title":"Field does not fit","s')
    """
    shown = _translate(error)
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(shown, BusyError | UnavailableError):
        headers.append((b"retry-after", str(retry_after_s).encode()))
    if isinstance(shown, UnauthorisedError):
        headers.append((b"www-authenticate", b"Bearer"))
    body = _encoder.encode(Problem(shown.title, shown.status, str(shown)))
    return Response(shown.status, body, PROBLEM_TYPE, headers)


def _translate(error: FreshetError) -> ServingError:
    if isinstance(error, ServingError):
        return error
    if isinstance(error, TooManyEventsError):
        return TooLargeError(str(error))
    if isinstance(error, EventError):
        return UnreadableError(str(error))
    if isinstance(error, OverloadedError):
        return BusyError(str(error))
    if isinstance(error, LogError):
        return UnavailableError(str(error))
    return ServingError(str(error))
