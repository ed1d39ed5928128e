"""What can go wrong while serving, and the status that a caller sees.

ServingError
├── RequestError           the request cannot be served as it is
│   ├── UnreadableError       400  the body is no JSON
│   ├── UnauthorisedError     401  no token, or an unknown one
│   ├── ForbiddenError        403  the token opens something else, or the host or origin is foreign
│   ├── MissingError          404  no such user, item or page
│   ├── ConflictError         409  the request id was used with another body
│   ├── TooLargeError         413  the body is over the limit
│   ├── UnsupportedTypeError  415  the body is not said to be JSON, or is compressed
│   └── FieldError            422  a field does not fit; it is named
├── BusyError              429  a bound is reached; try again later
├── UnavailableError       503  cannot be done now (full disk, stopping, not caught up)
└── ExposedError           refused to listen on a public address without tokens, or with weak ones
"""

from __future__ import annotations

from stream.errors import FreshetError

__all__ = [
    "BusyError",
    "ConflictError",
    "ExposedError",
    "FieldError",
    "ForbiddenError",
    "MissingError",
    "RequestError",
    "ServingError",
    "TooLargeError",
    "UnauthorisedError",
    "UnavailableError",
    "UnreadableError",
    "UnsupportedTypeError",
]


class ServingError(FreshetError):
    """Root of the errors of a serving worker; `status` and `title` are what a caller sees."""

    status = 500
    title = "Internal error"


class RequestError(ServingError):
    """The request cannot be served as it is; sending it again changes nothing."""

    status = 400
    title = "Bad request"


class UnreadableError(RequestError):
    """The body cannot be read as JSON."""

    title = "Unreadable body"


class UnauthorisedError(RequestError):
    """No bearer token came, or one that nobody issued."""

    status = 401
    title = "Token needed"


class ForbiddenError(RequestError):
    """The token is good for something else, or without tokens the host or origin is foreign."""

    status = 403
    title = "Not allowed"


class MissingError(RequestError):
    """There is no such user, item or page."""

    status = 404
    title = "Not found"


class ConflictError(RequestError):
    """The request id was used before, with another body."""

    status = 409
    title = "Request id already used"


class TooLargeError(RequestError):
    """The body is over the limit; it was not read to its end."""

    status = 413
    title = "Body too large"


class UnsupportedTypeError(RequestError):
    """The body is not said to be what is read here; it was not read."""

    status = 415
    title = "Unsupported type of body"


class FieldError(RequestError):
    """A field of the body does not fit; the message names it."""

    status = 422
    title = "Field does not fit"


class BusyError(ServingError):
    """A stated bound is reached; nothing was taken, try again later."""

    status = 429
    title = "Too many requests"


class UnavailableError(ServingError):
    """This cannot be done right now; nothing was taken, try again later."""

    status = 503
    title = "Not available now"


class ExposedError(ServingError):
    """The worker was told to listen on a public address without tokens, or with some that can be guessed."""
