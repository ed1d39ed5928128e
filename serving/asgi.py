"""The thinnest layer over ASGI: one response, and how it is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

__all__ = [
    "JSON_TYPE",
    "Receive",
    "Response",
    "Scope",
    "Send",
    "header",
    "send_response",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON_TYPE = b"application/json"

# A browser must neither guess what an answer is, nor let pages of others have it.
_ALWAYS = [(b"x-content-type-options", b"nosniff"), (b"cross-origin-resource-policy", b"same-origin")]


class Response(NamedTuple):
    """Status, body and what the body is; `headers` are further ones, names in lower case."""

    status: int
    body: bytes
    content_type: bytes = JSON_TYPE
    headers: list[tuple[bytes, bytes]] = []  # noqa: RUF012 - a named tuple's default is never changed


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header called `name` (lower case), if it came."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


async def send_response(send: Send, response: Response, *, head: bool = False) -> None:
    """Send `response`; without its body when `head`."""
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", str(len(response.body)).encode()),
        *_ALWAYS,
        *response.headers,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else response.body})
