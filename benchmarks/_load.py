"""An open-loop HTTP client: requests leave when they are due, whether or not earlier ones were answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import uvloop
from numpy.typing import NDArray

from stream.clock import WallClock

__all__ = ["Outcome", "http_post", "offer", "run_load", "saturate"]

_CLOCK = WallClock()


@dataclass
class Outcome:
    """Latencies in ms from the moment a request was due, statuses by number, and the seconds it took."""

    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    received: int = 0

    def percentile(self, q: float) -> float:
        """The q-th percentile of the latencies."""
        return float(np.percentile(self.latencies, q)) if self.latencies else float("nan")


def http_post(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    """One request as bytes."""
    lines = (
        f"POST {path} HTTP/1.1",
        "host: x",
        f"content-type: {content_type}",
        f"content-length: {len(body)}",
    )
    return "\r\n".join((*lines, "\r\n")).encode() + body


class _Connection(asyncio.Protocol):
    """One kept-alive connection with at most one request under way."""

    def __init__(self, pool: _Pool) -> None:
        self._pool, self._buffer, self.due_s = pool, b"", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no class of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
        if len(rest) >= length:
            self._buffer = b""
            self._pool.answered(self, int(head[9:12]))


class _Pool:
    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.idle: deque[_Connection] = deque()  # in turn: one left alone for seconds is closed by the server
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.under_way = 0

    def send(self, due_s: float, request: bytes) -> None:
        if not self.idle:
            self.waiting.append((due_s, request))
            return
        self._write(self.idle.popleft(), due_s, request)

    def _write(self, connection: _Connection, due_s: float, request: bytes) -> None:
        connection.due_s = due_s
        self.under_way += 1
        connection.transport.write(request)

    def answered(self, connection: _Connection, status: int) -> None:
        outcome = self.outcome
        outcome.latencies.append((_CLOCK.monotonic_s() - connection.due_s) * 1e3)
        outcome.statuses[status] = outcome.statuses.get(status, 0) + 1
        self.under_way -= 1
        if self.waiting:
            self._write(connection, *self.waiting.popleft())
        else:
            self.idle.append(connection)


def run_load(load: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run a client on a loop that costs half as much as Python's own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load)


async def offer(
    port: int,
    make: Callable[[int], bytes],
    *,
    rate: float,
    seconds: float,
    connections: int = 64,
    rng: np.random.Generator | None = None,
) -> Outcome:
    """Send request `make(n)` at Poisson times of `rate` a second; every wait counts, also that for a free
    connection.

    Requests are sent on ticks of a millisecond; a request is due at the tick that sends it, since a client
    that spins for microseconds would take the processor from what it measures.
    """
    outcome = Outcome()
    pool = _Pool(outcome)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        _, connection = await loop.create_connection(lambda: _Connection(pool), "127.0.0.1", port)
        pool.idle.append(connection)
    draws = rng or np.random.default_rng(0)
    times: NDArray[np.float64] = np.cumsum(draws.exponential(1.0 / rate, int(rate * seconds)))
    began_s = _CLOCK.monotonic_s()
    n = 0
    while n < times.size:
        now_s = _CLOCK.monotonic_s() - began_s
        while n < times.size and times[n] <= now_s:
            pool.send(began_s + now_s, make(n))
            n += 1
        await asyncio.sleep(0.001)
    while pool.under_way or pool.waiting:
        await asyncio.sleep(0.005)
    outcome.seconds = _CLOCK.monotonic_s() - began_s
    for connection in pool.idle:
        connection.transport.close()
    return outcome


async def saturate(port: int, make: Callable[[int], bytes], *, seconds: float, connections: int) -> Outcome:
    """Keep `connections` requests under way for so many seconds: a closed loop, for what can be taken in."""
    outcome = Outcome()
    pool = _Pool(outcome)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        _, connection = await loop.create_connection(lambda: _Connection(pool), "127.0.0.1", port)
        pool.idle.append(connection)
    began_s = _CLOCK.monotonic_s()
    n = 0
    while _CLOCK.monotonic_s() - began_s < seconds:
        while pool.idle:
            pool.send(_CLOCK.monotonic_s(), make(n))
            n += 1
        await asyncio.sleep(0.0005)
    while pool.under_way:
        await asyncio.sleep(0.001)
    outcome.seconds = _CLOCK.monotonic_s() - began_s
    for connection in pool.idle:
        connection.transport.close()
    return outcome
