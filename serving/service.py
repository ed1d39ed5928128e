"""One serving worker, put together: parts, threads, routes; how they start and stop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from index import LiveIndex, Maintenance
from learning.measure import Figure, Labels
from learning.parts import Parts
from serving.app import Application, Lifespan
from serving.backend import Backend
from serving.chosen_sources import build_sources, source_entries
from serving.connections import Connections
from serving.decisions import DecisionMaker
from serving.failures import Failures
from serving.freshness import Freshness
from serving.gateway import Gateway
from serving.index_file import IndexFile
from serving.item_index import ItemIndex
from serving.letterbox import LetterBox
from serving.metrics import EventMetrics, FailureMetrics, HttpMetrics, LearnerMetrics, RecommendMetrics
from serving.recommend import RecommendEndpoint, RequestIds
from serving.replica import Replica
from serving.requests import MarksView, ReadyAnswer
from serving.routes import Status, build_routes
from serving.routing import Router
from serving.settings import ServeSettings
from serving.views import Views
from serving.writer import GroupWriter
from stream.clock import Clock
from stream.frame import Frame

__all__ = ["Service", "WorkerConfig"]

_SCANNED = 200_000
"""Items up to which a worker is ready before its first graph is built: scanning them takes 10 ms."""

_CATCH_UP_S = 0.1


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told besides the learned parts.

    `window_ms` is the attribution window; `dim` of vectors; `max_items` rows to reserve in the index;
    `epsilon` and `seed` of decisions; `version` of the product; `sources` of candidates as `[[sources]]` has
    them, none for those of `serve.sources`.
    """

    mode: Literal["wall", "event"] = "wall"
    dim: int = 64
    max_items: int = 4_000_000
    epsilon: float = 0.05
    seed: int = 0
    window_ms: int = 1_800_000
    version: str = "0"
    serve: ServeSettings = ServeSettings()
    sources: tuple[dict[str, Any], ...] = ()


class Service:
    """A worker over a backend; `app` answers once `start` has returned.

    Args:
        backend: where decisions and events go and rows come from; closed with the service.
        models: fresh learned parts of this process; the learner's changes are applied to them.
        config: everything else.
        clock: wall and monotonic time.
    """

    def __init__(self, backend: Backend, models: Parts, config: WorkerConfig, clock: Clock) -> None:
        self.config, self.clock, self.models = config, clock, models
        self.backend = backend
        self._join: Mapping[str, Any] = {}
        self._must_build = self._maintains = False
        serve = config.serve
        index = LiveIndex(config.dim, config.max_items, background=True, as_given=True)
        self.index = ItemIndex(index, models.items, models.catalogue)
        self.index.share_vectors()
        self.maintenance = Maintenance(index, clock=clock)
        self.index_file = IndexFile(index, backend.index_path, clock, writes=backend.writes_index)
        self.freshness = Freshness(backend.oldest_waiting)
        self._is_live = False
        self.replica = Replica(
            models.named(),
            reader=backend.deltas,
            snapshots=backend.snapshots,
            clock=clock,
            on_restored=self._restored,
            on_applied=self._applied,
            partition_of=backend.partition_of,
            slice_ms=serve.apply_slice_ms,
        )
        self.writer = GroupWriter(
            backend.log,
            clock,
            backend.notify,
            linger_ms=serve.linger_ms,
            max_bytes=serve.max_queued_bytes,
            max_requests=serve.max_queued_requests,
            lost=backend.lost,
        )
        self.connections = Connections(serve)
        self.letters = LetterBox(self.writer, backend.bury)
        self.failures = Failures()
        self.maker = DecisionMaker(
            models,
            self.index,
            serve,
            epsilon=config.epsilon,
            seed=config.seed,
            sources=build_sources(source_entries(config.sources, serve.sources), models, self.index),
            failed=self.failures.note,
        )
        self._age_timer: asyncio.TimerHandle | None = None
        self._catch_up_timer: asyncio.TimerHandle | None = None
        self.app = self._build_app()

    def _build_app(self) -> Application:
        config, registry = self.config, CollectorRegistry()
        name = self.backend.name
        run = f"{name}-{int(self.clock.now_ms()):x}-{os.getpid():x}"
        gateway = Gateway(
            self.backend.intake(self.writer),
            self.letters.put,
            self._pressure,
            config.serve,
            self.clock,
            EventMetrics(registry),
            gates=self.backend.late_gates(lambda: self.replica.watermark, self._history_watermark),
            name=run,
            dim=config.dim,
            mode=config.mode,
        )
        recommender = RecommendEndpoint(
            self.maker,
            self.replica,
            self.writer,
            self.backend.finders,
            self.backend.claims,
            config.serve,
            self.clock,
            RecommendMetrics(registry),
            RequestIds(run),
            lambda: gateway.latest_ts,
            self._pressure,
            name=name,
            mode=config.mode,
        )
        registry.register(LearnerMetrics(self.gauges, self._figures, self._fresh))
        registry.register(FailureMetrics(self.failures.counts))
        views = Views(self.models, self.index, self.replica, self.failures.note, self._figures)
        status = Status(registry, self.readiness, worker=name, version=config.version)
        routes = build_routes(gateway, recommender, views, status, config.version)
        lifespan = Lifespan(self.start, self.stop)
        return Application(Router(routes), config.serve, self.clock, HttpMetrics(registry), lifespan)

    # --- life ---

    def bootstrap(self) -> None:
        """Take over the newest snapshot and what followed it; before the event loop runs."""
        self.index_file.load()
        self.replica.bootstrap()

    async def start(self) -> None:
        """Start the threads and follow the learner."""
        self.writer.start()
        self.backend.start()
        self._maintain_once_caught_up()
        self._is_live = True
        self.replica.follow(self.backend.nudges)
        self._age_pending()

    async def stop(self) -> None:
        """Commit what was accepted, end the threads, close the files."""
        self.replica.stop()
        await self.replica.settle()
        for timer in (self._age_timer, self._catch_up_timer):
            if timer is not None:
                timer.cancel()
        self.letters.flush()
        await self.writer.stop()
        if self._maintains:
            self.maintenance.stop()
            await asyncio.to_thread(self.index_file.stop)
        await asyncio.to_thread(self.backend.stop)
        self.backend.close()

    def _maintain_once_caught_up(self) -> None:
        """Build the graph from all rows at once rather than again and again while they come in."""
        if self.backend.why_not_caught_up():
            self._catch_up_timer = asyncio.get_running_loop().call_later(
                _CATCH_UP_S, self._maintain_once_caught_up
            )
            return
        self._maintains = True
        self._must_build = self.index.index.size > _SCANNED
        self.maintenance.start()
        self.index_file.start()

    def _age_pending(self) -> None:
        for name, policy in self.models.policies.items():
            try:
                policy.age_pending()
            except Exception as error:  # noqa: BLE001  # whatever another author's policy raises
                self.failures.note(f"policy {name!r}", "aged what was never shown", error)
        loop = asyncio.get_running_loop()
        self._age_timer = loop.call_later(self.config.window_ms / 1e3, self._age_pending)

    # --- following ---

    def _restored(self, step: Frame) -> None:
        self._join = step.get("join", {})
        self.index.rebuild()
        self.maker.refresh()

    def _applied(self, frame: Frame) -> None:
        self.index.apply(frame)
        self.maker.refresh()
        self._join = frame.get("join") or self._join
        if self._is_live:  # what was learned before it was there is no measure of this worker
            self.freshness.served(frame.get("accepted") or {}, self.clock.now_ms())
        self.backend.applied(self.replica.seq)

    # --- what is seen from outside ---

    def readiness(self) -> ReadyAnswer:
        """Whether this worker is caught up, and why not."""
        replica = self.replica
        why = (
            # What cannot be stored cannot be learned either: the cause is told before what follows from it.
            self.writer.why_not_ready()
            or (self.clock.steady.trouble if self.clock.steady.lost else "")
            or self.backend.why_not_caught_up()
            or self.backend.why_not_ready()
            or replica.why_not_ready(self.backend.ready_lag_ms)
            or self._why_full()
            or self._why_not_indexed()
        )
        of_all = replica.marks
        marks = MarksView(replica.absorbed_at, of_all.items, of_all.policies, of_all.trained)
        return ReadyAnswer(
            not why,
            why or self.clock.steady.trouble or self.backend.degraded(),
            replica.seq,
            replica.absorbed_at,
            replica.lag_ms,
            marks,
        )

    def _why_not_indexed(self) -> str:
        building = self.maintenance.building if self._must_build else None
        if building is None:
            self._must_build = False
            return ""
        return f"building the index: {building[0]} of {building[1]} items; answers are right and slow"

    def _history_watermark(self) -> int:
        return int(self._join.get("history_watermark", -1))

    def _why_full(self) -> str:
        if self._pressure() < 1.0:
            return ""
        return (
            "the learner remembers as many slates and clicks as it may: until windows close, callers get 429 "
            "for all but forgets and deleted items; send more slowly, or raise max_pending, max_pending_mb "
            "or max_seen under [join]"
        )

    def _pressure(self) -> float:
        # On the event clock only further events let windows close: refusing them would last for ever.
        return 0.0 if self.config.mode == "event" else float(self._join.get("pressure", 0.0))

    def gauges(self) -> dict[str, float]:
        """Figures of this worker, read at each scrape."""
        replica, writer = self.replica, self.writer
        return {
            **{f"index_{name}": value for name, value in self.maintenance.figures().items()},
            **self.backend.figures(),
            "ready": float(self.readiness().ready),
            "clock_leap_ms": self.clock.steady.leap_ms,
            "replica_seq": replica.seq,
            "absorbed_at_ms": replica.absorbed_at,
            "watermark_ms": replica.watermark,
            "lag_ms": replica.lag_ms,
            "items_lag_ms": replica.lag_of(replica.marks.items),
            "policies_lag_ms": replica.lag_of(replica.marks.policies),
            "trained_lag_ms": replica.lag_of(replica.marks.trained),
            "commits_applied": replica.applied,
            "commits_applied_bytes": replica.applied_bytes,
            "snapshots_restored": replica.restored,
            "queued_requests": writer.queued_requests,
            "queued_bytes": writer.queued_bytes,
            "group_commits": writer.commits,
            "failed_group_commits": writer.failures,
            "dead_letters_dropped": self.letters.dropped,
            "requests_in_progress": self.app.in_progress,
            "connections": len(self.connections),
            "body_bytes_held": self.app.bodies.held_bytes,
            "join_pressure": float(self._join.get("pressure", 0.0)),
            "users": len(self.models.users),
            "items": len(self.models.items),
            "graph_edges": len(self.models.graph),
            "ranker_clicks_unread": self.models.ranker.unread,
            "ranker_steps": self.models.ranker.steps,
            "ranker_steps_cut": self.models.ranker.cut,
        }

    def _fresh(self) -> Iterator[Metric]:
        return self.freshness.families(self.clock.now_ms())

    def _figures(self) -> Iterator[Figure]:
        # Sums over half of what was learned would grow by the other half at once: so nothing at first.
        if self.backend.why_not_caught_up():
            return
        yield from self.models.figures(self.failures.note)
        if outcomes := self._join.get("counters"):
            values: dict[Labels, float] = {(outcome,): count for outcome, count in outcomes.items()}
            yield Figure(
                "learner_join", "Counted by the learner: join.", ("outcome",), values, is_counter=True
            )
