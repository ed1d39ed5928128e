"""``POST /v1/events``: read, check, log durably, answer."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Literal

import msgspec

from serving.asgi import Response, header, read_body
from serving.errors import BusyError
from serving.metrics import EventMetrics, Freshness
from serving.requests import AcceptedAnswer, RejectedView
from serving.routing import Request
from serving.settings import ServeSettings
from serving.writer import GroupWriter
from stream.clock import Clock
from stream.codec import Decoded, decode_events, record_bytes
from stream.dead_letters import MAX_ORIGINAL_BYTES, DeadLetter
from stream.errors import EventError
from stream.events import Click, Impression, ItemEvent
from stream.log import Record

__all__ = ["NDJSON_TYPE", "Gateway"]

NDJSON_TYPE = b"application/x-ndjson"

_MAX_LETTERS = 100  # of one request; the rest are counted
_encoder = msgspec.json.Encoder()


class Gateway:
    """Takes batches of events from clients.

    Args:
        writer: where accepted events go, synced.
        keep_letters: stores dead letters; called on the writer's thread.
        pressure: how full the learner's joiner is, 1 is its bound.
        name: of this run of the worker; dead letters are placed by it.
        dim: length that an item's vector must have.
        mode: `wall` refuses events too far ahead; on `event` the largest ts is the time.
    """

    def __init__(
        self,
        writer: GroupWriter,
        keep_letters: Callable[[list[DeadLetter]], None],
        pressure: Callable[[], float],
        settings: ServeSettings,
        clock: Clock,
        metrics: EventMetrics,
        freshness: Freshness,
        *,
        name: str,
        dim: int,
        mode: Literal["wall", "event"],
    ) -> None:
        self._writer, self._keep_letters, self._pressure = writer, keep_letters, pressure
        self._settings, self._clock, self._metrics, self._freshness = settings, clock, metrics, freshness
        self._name, self._dim, self._mode = name, dim, mode
        self._batches = 0
        self.latest_ts = 0

    async def post(self, request: Request) -> Response:
        """Answer one batch.

        Raises:
            TooLargeError: the body is over the limit.
            EventError: the body as a whole cannot be read.
            BusyError: the learner or the writer is at its bound.
            LogError: the events could not be stored (a full disk, say); none of them was.
        """
        if self._pressure() >= 1.0:
            msg = (
                "learner: as many impressions wait for their clicks as its memory may hold; send more slowly"
            )
            raise BusyError(msg)
        body = await read_body(request.scope, request.receive, self._settings.max_body_bytes)
        kind = (header(request.scope, b"content-type") or b"").partition(b";")[0].strip().lower()
        self._batches += 1
        place = f"{self._name}/{self._batches}"
        decoded = self._decode(body, place, ndjson=kind == NDJSON_TYPE)
        accepted_at = await self._log(decoded)
        rejected = [RejectedView(r.index, r.reason) for r in decoded.rejected]
        return Response(202, _encoder.encode(AcceptedAnswer(len(decoded.raw), accepted_at, rejected)))

    def _decode(self, body: bytes, place: str, *, ndjson: bool) -> Decoded:
        now = self._clock.now_ms()
        latest = int(now) + self._settings.max_ahead_ms if self._mode == "wall" else None
        try:
            decoded = decode_events(body, ndjson=ndjson, dimension=self._dim, latest_ts=latest)
        except EventError as error:
            self._metrics.rejected("body")
            self._bury([DeadLetter(int(now), str(error), place, body[:MAX_ORIGINAL_BYTES])])
            raise
        if decoded.rejected:
            for rejection in decoded.rejected:
                self._metrics.rejected(rejection.reason)
            refused = zip(decoded.rejected[:_MAX_LETTERS], decoded.refused, strict=False)
            self._bury([DeadLetter(int(now), r.reason, f"{place}/{r.index}", raw) for r, raw in refused])
        return decoded

    def _bury(self, letters: list[DeadLetter]) -> None:
        self._metrics.dead_letters.inc(len(letters))
        self._writer.between(lambda: self._keep_letters(letters))

    async def _log(self, decoded: Decoded) -> int:
        if not decoded.raw:
            return ceil(self._clock.now_ms())
        record = Record("events", record_bytes(decoded), accepted_at=0, backfill=decoded.backfill)
        accepted_at = await self._writer.submit(record, durable=True)
        self._metrics.accepted(len(decoded.raw))
        events = decoded.events
        if not decoded.backfill:
            self.latest_ts = max(self.latest_ts, max(event.ts for event in events))
        kinds = set(map(type, events))
        clicks = Click in kinds or Impression in kinds
        self._freshness.accepted(accepted_at, clicks=clicks, items=ItemEvent in kinds)
        return accepted_at
