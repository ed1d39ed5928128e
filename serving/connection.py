"""One HTTP connection: uvicorn's protocol with bounds on what comes before, in and after a request.

The parser underneath joins what it is sent into fields without a limit, and waits for ever. Here bytes that
bring a request no further are counted, and a clock runs for every part of it.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple, Protocol

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.problems import PROBLEM_TYPE, Problem

__all__ = ["MAX_HEAD_BYTES", "MAX_PIPELINED", "Bounds", "Connection", "Keeper", "Reading"]

MAX_HEAD_BYTES = 65_536
"""URL and headers of one request, and whatever else comes without bringing a body further."""

MAX_PIPELINED = 128
"""Requests of one connection that may wait for the answer before theirs."""

_PATIENCE = 3
"""Silences of `Bounds.receive_s` that a caller has to take an answer off us."""


class Bounds(NamedTuple):
    """`receive_s`: longest time for a head, and between two looks at a body, which must bring
    `receive_bytes_s` bytes a second."""

    receive_s: float
    receive_bytes_s: int


class Reading(enum.IntEnum):
    """What is being read: nothing, a head, or a body."""

    NOTHING = 0
    HEAD = 1
    BODY = 2


class Keeper(Protocol):
    """Who knows all connections; `serving.connections.Connections` is one."""

    bounds: Bounds

    def entered(self, connection: Connection) -> None:
        """One more is open."""

    def left(self, connection: Connection) -> None:
        """One is closed."""


class _BoundError(Exception):
    """Raised within the parser, which stops it."""


class Connection(HttpToolsProtocol):
    """A connection of a worker; `look` is called about once a second and ends what takes too long.

    Bounds: `MAX_HEAD_BYTES` of a head, `MAX_PIPELINED` requests, and 64 KiB of a body that nobody reads.
    """

    def __init__(self, keeper: Keeper, **given: Any) -> None:
        super().__init__(**given)
        self._keeper = keeper
        self.reading = Reading.NOTHING
        self.since_s = 0.0
        self._head_bytes = self._idle_bytes = self._body_bytes = 0
        self._refusal: tuple[int, str, str] | None = None
        self._unsent = (0, 0.0)
        self._closing_s = 0.0

    @property
    def answering(self) -> bool:
        """Whether a request waits for its answer."""
        return self.cycle is not None and not self.cycle.response_complete

    # --- what the loop calls ---

    def connection_made(self, transport: Any) -> None:
        """Count it in; this may end another one."""
        super().connection_made(transport)
        self.since_s = self.loop.time()
        self._keeper.entered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it out."""
        self._keeper.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read some bytes of a request, or refuse it."""
        self._unset_keepalive_if_required()
        if self.reading is Reading.NOTHING:
            self.reading, self.since_s = Reading.HEAD, self.loop.time()
        self._idle_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # nothing is spoken here but HTTP; the request itself was answered
        except httptools.HttpParserError:
            self._refuse(*(self._refusal or (400, "Bad request", "request: this is no HTTP/1.1")))
            return
        if self._idle_bytes > MAX_HEAD_BYTES:
            self._refuse(*_too_long(self.reading, url_complete=bool(self.headers)))

    # --- what the parser calls ---

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head_bytes = 0
        self.reading, self.since_s = Reading.HEAD, self.loop.time()

    def on_url(self, url: bytes) -> None:
        """A piece of the URL."""
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer behind a body in chunks."""
        super().on_header(name, value)
        self._count_head(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        """The head is read."""
        super().on_headers_complete()
        self._idle_bytes = self._body_bytes = 0
        self.reading, self.since_s = Reading.BODY, self.loop.time()
        if len(self.pipeline) > MAX_PIPELINED:
            self._stop_with(400, "Too many requests at once", f"request: at most {MAX_PIPELINED} may wait")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        super().on_body(body)
        self._idle_bytes = 0
        self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        """The request is read."""
        super().on_message_complete()
        self.reading, self.since_s = Reading.NOTHING, self.loop.time()

    def _count_head(self, n_bytes: int) -> None:
        self._head_bytes += n_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            self._stop_with(*_too_long(Reading.HEAD, url_complete=bool(self.headers)))

    def _stop_with(self, status: int, title: str, detail: str) -> None:
        self._refusal = (status, title, detail)
        raise _BoundError

    # --- what ends it ---

    def look(self, now_s: float) -> None:
        """End what has taken longer than it may; `now_s` is the loop's time."""
        if self.transport.is_closing():
            self._closing_s = self._closing_s or now_s
            if now_s - self._closing_s > self._keeper.bounds.receive_s:
                self.transport.abort()
        elif not self._takes_answers(now_s):
            self.transport.abort()
        elif now_s - self.since_s > self._keeper.bounds.receive_s:
            self._look_at_reading(now_s)

    def _look_at_reading(self, now_s: float) -> None:
        receive_s, bytes_s = self._keeper.bounds
        if self.reading is Reading.NOTHING:
            if self.cycle is None:
                self.transport.close()  # never said a word; between two requests uvicorn's timer runs
        elif self.reading is Reading.HEAD:
            detail = f"request: expected URL and headers within {receive_s:g} s; send them at once"
            self._refuse(408, "Request too slow", detail)
        elif self.flow.read_paused or self._body_bytes >= receive_s * bytes_s:
            self.since_s, self._body_bytes = now_s, 0
        else:
            detail = f"body: expected {bytes_s} bytes a second, {self._body_bytes} came in {receive_s:g} s"
            self._refuse(408, "Request too slow", f"{detail}; send smaller batches, or faster")

    def _takes_answers(self, now_s: float) -> bool:
        """Whether the caller reads what it was sent."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent[0]:
            self._unsent = (unsent, now_s)
        return now_s - self._unsent[1] <= _PATIENCE * self._keeper.bounds.receive_s

    def _refuse(self, status: int, title: str, detail: str) -> None:
        """Answer what is being read, unless another answer comes before it, and hang up."""
        if self.transport.is_closing():
            return
        earlier = bool(self.pipeline) if self.reading is Reading.BODY else self.answering
        if not earlier and not (self.answering and self.cycle.response_started):
            body = msgspec.json.encode(Problem(title, status, detail))
            head = b"content-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head % (PROBLEM_TYPE, len(body)) + body)
        self.transport.close()


def _too_long(reading: Reading, *, url_complete: bool) -> tuple[int, str, str]:
    if reading is Reading.BODY:
        detail = f"body: {MAX_HEAD_BYTES} bytes came beside it, in trailers or extensions of chunks"
        return 400, "Bad request", detail
    what = "URL and headers" if url_complete else "the URL"
    detail = f"request: expected at most {MAX_HEAD_BYTES} bytes of {what}, more came"
    return (431, "Headers too long", detail) if url_complete else (414, "URL too long", detail)
