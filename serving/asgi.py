"""The thinnest layer over ASGI: reading a bounded body, sending one response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from serving.errors import RequestError, TooLargeError

__all__ = [
    "JSON_TYPE",
    "Handler",
    "Receive",
    "Response",
    "Scope",
    "Send",
    "header",
    "read_body",
    "send_response",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON_TYPE = b"application/json"


class Response(NamedTuple):
    """Status, body and what the body is; `headers` are further ones, names in lower case."""

    status: int
    body: bytes
    content_type: bytes = JSON_TYPE
    headers: list[tuple[bytes, bytes]] = []  # noqa: RUF012 - a named tuple's default is never changed


Handler = Callable[[Scope, Receive], Awaitable[Response]]


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header called `name` (lower case), if it came."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body, of at most `limit` bytes.

    A declared length over the limit is refused before a byte is read, and a body that turns out longer as
    soon as it does: memory never holds more than the limit and one chunk.

    Raises:
        TooLargeError: the body is longer than `limit`.
        RequestError: the caller went away in the middle.
    """
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        msg = f"body: at most {limit} bytes are taken, {int(declared)} were announced; send smaller batches"
        raise TooLargeError(msg)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body", False) and len(body) <= limit:
        return body
    chunks, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            msg = f"body: the connection ended after {size} bytes; send it again"
            raise RequestError(msg)
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            msg = f"body: at most {limit} bytes are taken, more than {size} came; send smaller batches"
            raise TooLargeError(msg)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()


async def send_response(send: Send, response: Response, *, head: bool = False) -> None:
    """Send `response`; without its body when `head`."""
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", str(len(response.body)).encode()),
        *response.headers,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else response.body})
