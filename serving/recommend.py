"""``POST /v1/recommend``: wait if asked, decide, log, answer; the same id gets the same answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import msgspec

from serving.asgi import JSON_TYPE, Response
from serving.bodies import media_type, read_body
from serving.decisions import Circumstances, DecisionMaker
from serving.errors import BusyError, ConflictError, FieldError, UnavailableError
from serving.metrics import RecommendMetrics
from serving.replica import Replica
from serving.requests import (
    DroppedView,
    MarksView,
    RecommendAnswer,
    RecommendRequest,
    Shown,
    Versions,
    body_digest,
    decode_recommend,
)
from serving.routing import Request
from serving.settings import ServeSettings
from serving.writer import GroupWriter
from stream.clock import Clock
from stream.codec import decode_logged, encode_events
from stream.errors import FreshetError
from stream.events import Decision
from stream.log import Record

__all__ = ["ClaimBook", "DecisionFinder", "RecommendEndpoint", "RequestIds"]

_TYPES = (JSON_TYPE,)
_CLAIM_WAIT_S = 0.25
_CLAIM_POLL_S = 0.002

_encoder = msgspec.json.Encoder()


class DecisionFinder(Protocol):
    """One worker's log, as far as decisions are looked up in it; `stream.log.EventReader` is one."""

    def find_decision(self, request_id: str) -> bytes | None:
        """Body of the first decision logged for a request."""


class ClaimBook(Protocol):
    """Who answers a request id that a client chose; `stream.log.Claims` is one."""

    def claim(self, request_id: str, worker: str, *, at: int) -> str:
        """The worker that claimed it first."""


class RequestIds:
    """Ids for requests that come without one: `prefix` must be of this run of this worker alone.

    Example:
        >>> ids = RequestIds("w0-abc")
        >>> ids.next(), ids.next()
        ('w0-abc-1', 'w0-abc-2')
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._n = 0

    def next(self) -> str:
        """The next id."""
        self._n += 1
        return f"{self._prefix}-{self._n:x}"


class RecommendEndpoint:
    """Answers recommend requests.

    Args:
        maker: decides; `replica`: how fresh it is; `writer`: logs before the answer.
        finders: every worker's log by name, this worker's own under `name`.
        claims: settles who answers when there are several workers; None when there is one.
        latest_ts: the largest ts accepted here, for the event clock.
        pressure: how full the learner's joiner is, 1 is its bound.
    """

    def __init__(
        self,
        maker: DecisionMaker,
        replica: Replica,
        writer: GroupWriter,
        finders: Mapping[str, DecisionFinder],
        claims: ClaimBook | None,
        settings: ServeSettings,
        clock: Clock,
        metrics: RecommendMetrics,
        ids: RequestIds,
        latest_ts: Callable[[], int],
        pressure: Callable[[], float],
        *,
        name: str,
        mode: Literal["wall", "event"],
    ) -> None:
        self._pressure = pressure
        self._maker, self._replica, self._writer = maker, replica, writer
        self._finders, self._claims = finders, claims
        self._settings, self._clock, self._metrics = settings, clock, metrics
        self._ids, self._latest_ts, self._name, self._mode = ids, latest_ts, name, mode
        self._in_flight: dict[str, asyncio.Future[Decision]] = {}

    async def post(self, request: Request) -> Response:
        """Answer one request.

        Raises:
            FieldError: a field does not fit. ConflictError: the id was used with another body.
            BusyError: the learner or the writer is at its bound. LogError: the decision could not be logged.
        """
        if self._pressure() >= 1.0:
            msg = (
                "learner: as many slates wait for their clicks as its memory may hold; ask more slowly, or "
                "raise [join] max_pending"
            )
            raise BusyError(msg)
        media_type(request.scope, _TYPES)
        limit = self._settings.max_recommend_bytes
        body = await read_body(request.scope, request.receive, limit, request.budget)
        asked = decode_recommend(body, self._settings.max_object_bytes)
        self._maker.check(asked)
        self._check_ts(asked)
        digest = body_digest(asked)
        if asked.request_id is None:
            return _answer(await self._decide(asked, self._ids.next(), digest))
        return _answer(await self._once(asked, asked.request_id, digest))

    def _check_ts(self, asked: RecommendRequest) -> None:
        if asked.ts is None or self._mode == "event":
            return
        latest = int(self._clock.now_ms()) + self._settings.max_ahead_ms
        if asked.ts > latest:
            msg = (
                f"field 'ts': expected at most {latest}, {self._settings.max_ahead_ms} ms ahead of this "
                f"machine's clock, got {asked.ts}; leave it out to mean now"
            )
            raise FieldError(msg)

    async def _decide(self, asked: RecommendRequest, request_id: str, digest: str) -> Decision:
        """Decide and log."""
        stale = False
        if asked.after is not None:
            wait_s = self._settings.after_wait_ms / 1e3
            stale = not await self._replica.wait_absorbed(asked.user_id, asked.after, wait_s)
        decision = self._maker.decide(asked, self._circumstances(asked, request_id, digest, stale=stale))
        record = Record("decision", encode_events([decision]), accepted_at=0, request_id=request_id)
        await self._writer.submit(record, durable=False)
        self._count(decision, asked)
        return decision

    def _circumstances(
        self, asked: RecommendRequest, request_id: str, digest: str, *, stale: bool
    ) -> Circumstances:
        replica = self._replica
        return Circumstances(
            request_id,
            self._now_ms(asked),
            replica.absorbed_for(asked.user_id),
            stale or bool(replica.lagging(self._settings.ready_lag_ms)),
            digest,
            items_at=replica.marks.items,
            policies_at=replica.marks.policies,
            trained_at=replica.marks.trained,
        )

    def _now_ms(self, asked: RecommendRequest) -> int:
        if asked.ts is not None:
            return asked.ts
        if self._mode == "wall":
            return int(self._clock.now_ms())
        return max(self._latest_ts(), self._replica.watermark)

    def _count(self, decision: Decision, asked: RecommendRequest) -> None:
        self._metrics.shown(decision.sources, len(decision.explored), decision.fallback)
        if decision.stale:
            self._metrics.stale.inc()
        given = None if asked.candidates is None else len(asked.candidates)
        if len(decision.items) < (asked.k or (self._settings.k if given is None else given)):
            self._metrics.short.inc()

    # --- the same request again ---

    async def _once(self, asked: RecommendRequest, request_id: str, digest: str) -> Decision:
        """The logged decision of this id, or a new one; at most one is ever made at a time."""
        running = self._in_flight.get(request_id)
        if running is not None:
            return self._again(await asyncio.shield(running), digest)
        known = self._find(request_id)
        if known is not None:
            return self._again(known, digest)
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._in_flight[request_id] = future
        try:
            elsewhere = await self._elsewhere(request_id)
            decision = elsewhere or await self._decide(asked, request_id, digest)
            future.set_result(decision)
        except FreshetError as error:
            future.set_exception(error)
            future.exception()  # there may be nobody else who waits for it
            raise
        finally:
            del self._in_flight[request_id]
            if not future.done():
                future.cancel()
        return self._again(decision, digest) if elsewhere is not None else decision

    def _find(self, request_id: str) -> Decision | None:
        for finder in self._finders.values():
            body = finder.find_decision(request_id)
            if body is not None:
                return _logged(body)
        return None

    async def _elsewhere(self, request_id: str) -> Decision | None:
        """The decision of the worker that claimed this id first, unless that is this one."""
        if self._claims is None:
            return None
        claim, at = self._claims.claim, int(self._clock.now_ms())
        owner = await asyncio.to_thread(lambda: claim(request_id, self._name, at=at))
        if owner == self._name:
            return None
        deadline_s = self._clock.monotonic_s() + _CLAIM_WAIT_S
        while self._clock.monotonic_s() < deadline_s:
            found = self._find(request_id)
            if found is not None:
                return found
            await asyncio.sleep(_CLAIM_POLL_S)
        # The claimant died before it could decide; nobody was answered under this id.
        return None

    def _again(self, decision: Decision, digest: str) -> Decision:
        if decision.body_digest != digest:
            msg = (
                f"request_id {decision.request_id!r}: it was used with another body before (compared are all "
                "fields but ts and after); use a new id for a new question"
            )
            raise ConflictError(msg)
        self._metrics.repeated.inc()
        return decision


def _logged(body: bytes) -> Decision:
    for event in decode_logged(body):
        if isinstance(event, Decision):
            return event
    msg = "log: a record that should hold a decision holds none; run `freshet doctor`"
    raise UnavailableError(msg)


def _answer(decision: Decision) -> Response:
    explored = set(decision.explored)
    columns = zip(decision.items, decision.propensities, decision.scores, decision.sources, strict=True)
    answer = RecommendAnswer(
        request_id=decision.request_id,
        items=[Shown(i, p, s, source, n in explored) for n, (i, p, s, source) in enumerate(columns)],
        policy=decision.policy,
        versions=Versions(
            decision.index_version,
            decision.policy_version,
            decision.graph_version,
            MarksView(
                decision.absorbed_at,
                decision.items_absorbed_at,
                decision.policies_absorbed_at,
                decision.trained_absorbed_at,
            ),
        ),
        absorbed_at=decision.absorbed_at,
        stale=decision.stale,
        fallback=decision.fallback,
        dropped=[DroppedView(item, reason) for item, reason in decision.dropped.items()],
    )
    return Response(200, _encoder.encode(answer))
