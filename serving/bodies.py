"""Bodies of requests: what they must be said to be, and how many bytes of them a worker holds at a time."""

from __future__ import annotations

from collections.abc import Sequence

from serving.asgi import Receive, Scope, header
from serving.errors import BusyError, RequestError, TooLargeError, UnsupportedTypeError

__all__ = ["FREE_BYTES", "BodyBudget", "media_type", "read_body"]

FREE_BYTES = 65_536
"""Of each body; only what is beyond it counts against the budget, so that small requests pass always."""

_HELD = "freshet.held"


class BodyBudget:
    """How many bytes of large bodies are held, from their arrival to their answer.

    Bounds: `max_bytes` over all requests of the worker, besides `FREE_BYTES` of each.

    Example:
        >>> budget, scope = BodyBudget(100), {}
        >>> budget.hold(scope, 80), budget.held_bytes, budget.release(scope), budget.held_bytes
        (None, 80, None, 0)
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0

    def hold(self, scope: Scope, n_bytes: int) -> None:
        """Count `n_bytes` more for the request of `scope`.

        Raises:
            BusyError: that would be over the bound.
        """
        if self.held_bytes + n_bytes > self.max_bytes:
            msg = (
                f"body: this worker holds {self.held_bytes} bytes of others, the bound is {self.max_bytes} "
                "(serve.max_receiving_bytes); send this again, or smaller batches"
            )
            raise BusyError(msg)
        self.held_bytes += n_bytes
        scope[_HELD] = scope.get(_HELD, 0) + n_bytes

    def release(self, scope: Scope) -> None:
        """Give back what the request of `scope` holds; it is answered."""
        held = scope.pop(_HELD, 0)
        if held:
            self.held_bytes -= held


def media_type(scope: Scope, expected: Sequence[bytes]) -> bytes:
    """What the body is said to be, one of `expected`, which are in lower case; the first, if nothing is said.

    A browser sends any other type to strangers' servers without asking them; so no page of others can write.
    It may send a body of no type, but then it says whose page it is: only programs say neither.

    Raises:
        UnsupportedTypeError: it is said to be something else, a page says nothing, or it is compressed.

    Example:
        >>> scope = {"headers": [(b"content-type", b"Application/JSON; charset=utf-8")]}
        >>> media_type(scope, [b"application/json"])
        b'application/json'
    """
    coding = header(scope, b"content-encoding")
    if coding is not None and coding.strip().lower() not in (b"", b"identity"):
        shown = coding.decode("latin-1")[:40]
        msg = f"content-encoding: expected the body as it is, got {shown!r}; send it uncompressed"
        raise UnsupportedTypeError(msg)
    came = header(scope, b"content-type")
    if came is None and header(scope, b"origin") is None:
        return expected[0]
    kind = (came or b"").partition(b";")[0].strip().lower()
    if kind not in expected:
        wanted = b" or ".join(expected).decode()
        shown = "none" if came is None else repr(came.decode("latin-1")[:80])
        msg = f"content-type: expected {wanted}, got {shown}"
        raise UnsupportedTypeError(msg)
    return kind


async def read_body(scope: Scope, receive: Receive, limit: int, budget: BodyBudget) -> bytes:
    """The whole body, of at most `limit` bytes.

    A declared length over the limit is refused before a byte is read, and a body that turns out longer as
    soon as it does: memory never holds more than the limit and one chunk.

    Raises:
        TooLargeError: the body is longer than `limit`.
        BusyError: the worker holds as much of other bodies as it may.
        RequestError: the caller went away in the middle.
    """
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        msg = f"body: at most {limit} bytes are taken, {int(declared)} were announced; send smaller batches"
        raise TooLargeError(msg)
    message = await receive()
    body: bytes = message.get("body", b"")
    whole = message["type"] == "http.request" and not message.get("more_body", False)
    if whole and len(body) <= min(limit, FREE_BYTES):
        return body
    chunks, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            msg = f"body: the connection ended after {size} bytes; send it again"
            raise RequestError(msg)
        chunk = message.get("body", b"")
        counted, size = max(size, FREE_BYTES), size + len(chunk)
        if size > limit:
            msg = f"body: at most {limit} bytes are taken, more than {size} came; send smaller batches"
            raise TooLargeError(msg)
        if size > counted:
            budget.hold(scope, size - counted)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()
