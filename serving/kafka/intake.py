"""Events of clients: accepted once the brokers have them."""

from __future__ import annotations

import asyncio
import queue
import threading
from concurrent.futures import Future
from math import ceil

from serving.errors import BusyError, TooLargeError, UnavailableError
from serving.kafka.link import Link
from stream.clock import Clock
from stream.codec import Decoded
from stream.errors import BrokerError, FreshetError
from stream.kafka.bundles import too_large

__all__ = ["BrokerIntake"]

_Entry = tuple[Decoded, "asyncio.Future[int]"]


class BrokerIntake:
    """An `EventIntake` that writes to the topic `events`; `take` is called from one event loop.

    A thread hands batches to the producer, so that nothing that waits for brokers does so on the loop.
    What was not acknowledged may or may not be there: the caller sends it again, the joiner drops what it
    has seen.

    Bounds: `max_bytes` and `max_requests` handed in and not yet acknowledged.
    """

    def __init__(self, link: Link, clock: Clock, *, max_bytes: int, max_requests: int) -> None:
        self._link, self._clock = link, clock
        self._max_bytes, self._max_requests = max_bytes, max_requests
        self._batches: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="intake", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: set[asyncio.Future[int]] = set()
        self._last_accepted_at = 0
        self.queued_bytes = 0
        self.queued_requests = 0

    def start(self) -> None:
        """Begin, for the running loop."""
        self._loop = asyncio.get_running_loop()
        self._link.on_away = self._give_up
        self._thread.start()

    def stop(self) -> None:
        """End, once nobody calls `take` any more."""
        self._batches.put(None)
        if self._thread.is_alive():
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether it goes on."""
        return self._thread.is_alive()

    async def take(self, decoded: Decoded) -> int:
        """Write one request's events; `accepted_at` (wall ms) once all are acknowledged.

        Raises:
            BusyError: a bound is reached. TooLargeError: an event is. Nothing was taken.
            UnavailableError: the brokers are away, or did not take all of it.
        """
        if self._link.away:
            msg = f"events: nothing was stored, for the brokers are away; send this again ({self._link.away})"
            raise UnavailableError(msg)
        size = sum(map(len, decoded.raw))
        self._refuse_what_is_too_much(decoded, size)
        assert self._loop is not None
        future: asyncio.Future[int] = self._loop.create_future()
        self.queued_bytes += size
        self.queued_requests += 1
        try:
            self._open.add(future)
            self._batches.put((decoded, future))
            return await future
        finally:
            self._open.discard(future)
            self.queued_bytes -= size
            self.queued_requests -= 1

    def _refuse_what_is_too_much(self, decoded: Decoded, size: int) -> None:
        if self.queued_bytes + size > self._max_bytes or self.queued_requests >= self._max_requests:
            msg = (
                f"worker: {self.queued_requests} requests, {self.queued_bytes} bytes, wait for the brokers; "
                f"the bounds are {self._max_requests} and {self._max_bytes}; send more slowly"
            )
            raise BusyError(msg)
        for text in decoded.raw:
            if (reason := too_large(text)) is not None:
                raise TooLargeError(reason)

    def _work(self) -> None:
        while (entry := self._batches.get()) is not None:
            decoded, future = entry
            try:
                producer = self._link.producer()
                sent = producer.submit(decoded.events, decoded.raw, backfill=decoded.backfill)
            except FreshetError as error:
                self._end(future, error)
            else:
                sent.add_done_callback(lambda sent, future=future: self._sent(sent, future))  # type: ignore[misc]

    def _sent(self, sent: Future[None], future: asyncio.Future[int]) -> None:
        error = sent.exception()
        if error is None:
            self._link.heard()
            # Read after the last acknowledgement: a tick of a later time stands behind these events.
            accepted_at = max(self._last_accepted_at, ceil(self._clock.now_ms()))
            self._last_accepted_at = accepted_at
            self._end(future, accepted_at)
        elif isinstance(error, FreshetError):
            self._end(future, error)
        else:
            self._end(future, BrokerError(f"events: {error!r}"))

    def _give_up(self, reason: str) -> None:
        """The brokers are away: whoever waits for them is told now, not when the client gives up."""

        def tell() -> None:
            for future in list(self._open):
                _settle(future, _unsure(reason))

        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(tell)

    def _end(self, future: asyncio.Future[int], outcome: int | FreshetError) -> None:
        if isinstance(outcome, BrokerError):
            self._link.failed(outcome)
            outcome = _unsure(str(outcome))
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_settle, future, outcome)


def _unsure(reason: str) -> UnavailableError:
    return UnavailableError(f"events: some may not have been stored; send this again ({reason})")


def _settle(future: asyncio.Future[int], outcome: int | FreshetError) -> None:
    if future.done():
        return  # the caller went away
    if isinstance(outcome, int):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)
