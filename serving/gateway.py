"""``POST /v1/events``: read, check, log durably, answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from math import ceil
from typing import Literal

import msgspec

from serving.asgi import JSON_TYPE, Response
from serving.backend import EventIntake
from serving.bodies import media_type, read_body
from serving.errors import BusyError, UnavailableError
from serving.metrics import EventMetrics
from serving.requests import AcceptedAnswer, RejectedView
from serving.routing import Request
from serving.settings import ServeSettings
from stream.clock import Clock
from stream.codec import MAX_REASONS, Decoded, decode_events
from stream.dead_letters import DeadLetter, kept_original
from stream.errors import EventError
from stream.events import Event, Forget, ItemEvent
from stream.lateness import LateGate, without_late

__all__ = ["NDJSON_TYPE", "Gateway"]

NDJSON_TYPE = b"application/x-ndjson"

_TYPES = (JSON_TYPE, NDJSON_TYPE)
_AT_ONCE_BYTES = 16_384
_MAX_LETTERS = 100  # of one request; the rest are counted
_encoder = msgspec.json.Encoder()


class Gateway:
    """Takes batches of events from clients.

    Args:
        intake: where accepted events go.
        bury: stores dead letters, soon and without waiting.
        pressure: how full the learner's joiner is, 1 is its bound.
        name: of this run of the worker; dead letters are placed by it.
        dim: length that an item's vector must have.
        gates: what refuses events that would be late, by whether they are history.
        mode: `wall` refuses events too far ahead; on `event` the largest ts is the time.
    """

    def __init__(
        self,
        intake: EventIntake,
        bury: Callable[[list[DeadLetter]], None],
        pressure: Callable[[], float],
        settings: ServeSettings,
        clock: Clock,
        metrics: EventMetrics,
        *,
        gates: Mapping[bool, LateGate],
        name: str,
        dim: int,
        mode: Literal["wall", "event"],
    ) -> None:
        self._intake, self._keep_letters, self._pressure = intake, bury, pressure
        self._settings, self._clock, self._metrics = settings, clock, metrics
        self._name, self._dim, self._mode, self._gates = name, dim, mode, gates
        self._batches = 0
        self._large = asyncio.Lock()
        self.latest_ts = 0

    async def post(self, request: Request) -> Response:
        """Answer one batch.

        Raises:
            TooLargeError: the body is over the limit.
            UnsupportedTypeError: it is not said to be JSON.
            EventError: the body as a whole cannot be read.
            BusyError: the learner or the intake is at its bound.
            LogError: the events could not be stored (a full disk, say); none of them was.
        """
        if self._mode == "wall" and self._clock.steady.lost:
            msg = f"worker: nothing is taken, for {self._clock.steady.trouble}"
            raise UnavailableError(msg)
        ndjson = media_type(request.scope, _TYPES) == NDJSON_TYPE
        limit = self._settings.max_body_bytes
        body = await read_body(request.scope, request.receive, limit, request.budget)
        self._batches += 1
        place = f"{self._name}/{self._batches}"
        decoded = await self._open(body, ndjson=ndjson, place=place)
        del body
        self._require_room(decoded)
        gate = self._gates[decoded.backfill]
        passage = gate.enter(decoded.events)
        stored = False
        try:
            decoded = without_late(decoded, passage.late)
            self._refuse(decoded, place)
            accepted_at = await self._log(decoded)
            stored = True
        finally:
            gate.leave(passage, stored=stored)
        n_rejected = len(decoded.rejected)
        told = [RejectedView(r.index, r.reason) for r in decoded.rejected[:MAX_REASONS]]
        answer = AcceptedAnswer(len(decoded.raw), accepted_at, told, n_rejected)
        return Response(202, _encoder.encode(answer))

    def _require_room(self, decoded: Decoded) -> None:
        if self._pressure() >= 1.0 and not all(map(_relieves, decoded.events)):
            msg = (
                "learner: as many impressions wait for their clicks as its memory may hold; send more slowly "
                "(forgets and deleted items are taken, in a request of their own)"
            )
            raise BusyError(msg)

    async def _open(self, body: bytes, *, ndjson: bool, place: str) -> Decoded:
        now = self._clock.now_ms()
        decode = partial(
            decode_events,
            body,
            ndjson=ndjson,
            dimension=self._dim,
            latest_ts=int(now) + self._settings.max_ahead_ms if self._mode == "wall" else None,
            object_bytes=self._settings.max_object_bytes,
            max_events=self._settings.max_events,
        )
        try:
            if len(body) <= _AT_ONCE_BYTES:
                return decode()
            # Beside the loop, so that others are answered, and one at a time, so that one's memory is enough.
            async with self._large:
                return await asyncio.to_thread(decode)
        except EventError as error:
            self._metrics.rejected("body")
            self._bury([DeadLetter(int(now), str(error), place, kept_original(body))])
            raise

    def _refuse(self, decoded: Decoded, place: str) -> None:
        """Count and keep what was refused."""
        if decoded.rejected:
            now = self._clock.now_ms()
            # What stands before the colon is the field: few, where reasons may be many.
            fields = Counter(rejection.reason.partition(":")[0] for rejection in decoded.rejected)
            for field, n in fields.items():
                self._metrics.rejected(field, n)
            refused = zip(decoded.rejected[:_MAX_LETTERS], decoded.refused, strict=False)
            self._bury([DeadLetter(int(now), r.reason, f"{place}/{r.index}", raw) for r, raw in refused])

    def _bury(self, letters: list[DeadLetter]) -> None:
        self._metrics.dead_letters.inc(len(letters))
        self._keep_letters(letters)

    async def _log(self, decoded: Decoded) -> int:
        if not decoded.raw:
            return ceil(self._clock.now_ms())
        accepted_at = await self._intake.take(decoded)
        self._metrics.accepted(len(decoded.raw))
        events = decoded.events
        if not decoded.backfill:
            self.latest_ts = max(self.latest_ts, max(event.ts for event in events))
        return accepted_at


def _relieves(event: Event) -> bool:
    """Whether an event takes no memory of the joiner, and must not wait: an erasure or a withdrawal."""
    return type(event) is Forget or (type(event) is ItemEvent and bool(event.deleted))
