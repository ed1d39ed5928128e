"""A worker on Kafka: every step for the partitions that its groups assign to it, in one process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import faust
import msgspec
from prometheus_client import CollectorRegistry, start_http_server

from learning.errors import StartError
from learning.parts import build_parts
from learning.settings import LearningSettings
from learning.shards.followed_shares import FollowedShares
from learning.shards.item_replica import FollowingStep, ItemReplica, followed_sides
from learning.shards.items import ItemsShard
from learning.shards.join import JoinShard, join_shard
from learning.shards.metrics import Lag, Running, WorkerMetrics
from learning.shards.pacing import Pacing
from learning.shards.sources import SourceShard, deaf_sources
from learning.shards.train import TrainShard
from learning.shards.users import UsersShard
from stream.clock import Clock
from stream.engine.faust_engine import FaustEngine
from stream.engine.shard import Shard, ShardStep
from stream.engine.stopping import done_or_stopped
from stream.engine.sweeper import Sweeper
from stream.errors import FreshetError, LogError
from stream.kafka.partitioning import partition_of
from stream.kafka.reader import PartitionReader, async_options
from stream.kafka.settings import KafkaSettings
from stream.kafka.shard_store import KafkaShardStore
from stream.kafka.ticks import TickWriter
from stream.steady import AHEAD_MS, why_topics_ahead

__all__ = ["STEPS", "Worker"]

_log = logging.getLogger(__name__)

STEPS = ("join", "users", "items", "train")
"""What a worker runs unless told otherwise; topics of `[[kafka.sources]]` come with `join`."""

_SAMPLED = "train is %d records behind: of the lists without a click it gets a share of %.3g from now on"
_FEW = 4_096  # rows of tables that nothing is learned into
_SWEEP_S = 1.0
_LAGS_S = 2.0


class _Stage(NamedTuple):
    """One step: its name is that of the group and the transactions, with the prefix."""

    name: str
    source: str
    state: str
    make: Callable[[int], ShardStep]
    foreign: bool = False
    gathers: float = 1.0


class Worker:
    """Everything that one worker process consists of: a group, an assignment and shards for each step.

    Steps share nothing but the process and its clients: each has a group of its own, so that a worker may run
    some of them and another worker others, and a rebalance of one does not touch the rest.

    Args:
        settings: of the whole system; `kafka`, `work`, `shard`, `engine.tick_ms`, `clock` and what the steps
            need.
        clock: wall and monotonic time.
        end: ends the process for a reason.
        steps: some of `STEPS`.

    Example:
        See `tests/kafka/test_worker.py`.
    """

    def __init__(
        self,
        settings: LearningSettings,
        clock: Clock,
        end: Callable[[str], None],
        steps: Sequence[str] = STEPS,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._end = end
        kafka = settings.kafka
        self._reader = PartitionReader(kafka, clock)
        self._ticks = TickWriter(kafka, "events") if "join" in steps else None
        self._replica = self._make_replica() if "users" in steps else None
        is_paced = "join" in steps and settings.work.max_skew_ms > 0 and kafka.partitions > 1
        self._pacing = self._make_pacing() if is_paced else None
        self.lags: list[Lag] = []
        self._sources: dict[str, str] = {}
        self._deaf: set[str] = set()
        self._ahead: set[int] = set()
        self.engines = {stage.name: self._engine(stage) for stage in self._stages(steps)}

    def _make_replica(self) -> ItemReplica:
        # What shards will follow is known from parts alone, and these are thrown away.
        few = msgspec.structs.replace(self._settings.learn, max_items=_FEW, max_users=_FEW)
        parts = build_parts(msgspec.structs.replace(self._settings, learn=few))
        return ItemReplica(self._settings.kafka, followed_sides(parts), FollowedShares(parts))

    def _make_pacing(self) -> Pacing:
        settings, work = self._settings, self._settings.work
        max_ahead_ms = None if settings.clock == "event" else settings.max_ahead_ms
        return Pacing(
            settings.kafka, self._clock, work.max_skew_ms, work.session_s, max_ahead_ms,
            lambda: self.engines["join"].keep_pace(),
        )  # fmt: skip

    # What runs

    def _stages(self, steps: Sequence[str]) -> Iterator[_Stage]:
        if "join" in steps:
            yield _Stage("join", "events", "state-join", self._join)
            for topic in dict.fromkeys(source.topic for source in self._settings.kafka.sources):
                make: Callable[[int], ShardStep] = partial(self._source, topic)
                yield _Stage(f"source-{topic}", topic, "state-sources", make, foreign=True)
        if self._replica is not None:
            make = partial(self._users, self._replica)
            yield _Stage("users", "feedback", "state-users", make)
        if "items" in steps:
            yield _Stage("items", "item-feedback", "state-items", self._items, gathers=10.0)
        if "train" in steps:
            yield _Stage("train", "training", "state-train", self._train)

    def _join(self, partition: int) -> JoinShard:
        return join_shard(self._settings, partition)

    def _source(self, topic: str, partition: int) -> SourceShard:
        settings = self._settings
        dim = settings.learn.embedding_dim
        return SourceShard(topic, partition, settings.kafka.sources, settings.kafka.partitions, dimension=dim)

    def _users(self, replica: ItemReplica, partition: int) -> FollowingStep:
        settings = self._settings
        step = UsersShard(partition, self._partition_of, settings, settings.kafka.partitions)
        return FollowingStep(step, replica)

    def _items(self, partition: int) -> ItemsShard:
        settings = self._settings
        return ItemsShard(partition, self._partition_of, settings, settings.kafka.partitions)

    def _train(self, partition: int) -> TrainShard:
        return TrainShard(partition, self._settings, self._settings.kafka.partitions)

    def _partition_of(self, entity_id: str) -> int:
        return partition_of(entity_id, self._settings.kafka.partitions)

    # How it runs

    def _engine(self, stage: _Stage) -> FaustEngine:
        settings, kafka = self._settings, self._settings.kafka
        self._sources[stage.name] = stage.source if stage.foreign else kafka.topic(stage.source)
        tick = self._ticks.write if self._ticks is not None and stage.name == "join" else None
        return FaustEngine(
            [address.strip() for address in kafka.bootstrap.split(",")],
            kafka.topic(stage.name),
            self._sources[stage.name],
            partial(self._shard, stage),
            clock=self._clock,
            end=self._end,
            settings=settings.work,
            credentials=_credentials(kafka),
            tick=tick,
            tick_ms=settings.engine.tick_ms,
        )

    def _shard(self, stage: _Stage, partition: int) -> Shard:
        step = stage.make(partition)
        before = self._replica.whole if isinstance(step, FollowingStep) and self._replica else None
        store = KafkaShardStore(
            self._settings.kafka,
            self._reader,
            app=stage.name,
            source=stage.source,
            state=stage.state,
            partition=partition,
            foreign=stage.foreign,
        )
        settings = self._settings.shard
        # A row that all slates have in common is written once for many of them.
        settings = msgspec.structs.replace(settings, gather_s=stage.gathers * settings.gather_s)
        gate = self._pacing.gate(partition) if isinstance(step, JoinShard) and self._pacing else None
        return Shard(step, store, self._clock, settings, before, gate)

    def running(self) -> list[Running]:
        """The partitions that are open now, of every step."""
        return [
            Running(name, partition, shard)
            for name, engine in self.engines.items()
            for partition, shard in engine.shards.items()
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set.

        Raises:
            LogError: no broker answers.
            StartError: the port of the metrics is taken.
        """
        server = self._serve_metrics()
        chores = [asyncio.create_task(self._sweep()), asyncio.create_task(self._look_at_lags())]
        try:
            if self._ticks is not None and not await _done_before(stop, self._ticks.start()):
                return
            if self._replica is not None:
                chores.append(asyncio.create_task(self._follow(self._replica.follow, stop)))
            if self._pacing is not None:
                chores.append(asyncio.create_task(self._follow(self._pacing.run, stop)))
            await asyncio.gather(*(engine.run(stop) for engine in self.engines.values()))
        finally:
            for chore in chores:
                chore.cancel()
            # Each lets go of its brokers first.
            await asyncio.gather(*chores, return_exceptions=True)
            if self._ticks is not None:
                await self._ticks.stop()
            await self._reader.close()
            if server is not None:
                server.shutdown()
                server.server_close()

    async def _sweep(self) -> None:
        with Sweeper(self._clock).in_charge() as sweeper:
            while True:
                await asyncio.sleep(_SWEEP_S)
                sweeper.sweep()

    async def _look_at_lags(self) -> None:
        """See where the sources end, which a step that stands still does not ask."""
        while True:
            await asyncio.sleep(_LAGS_S)
            try:
                self.lags = [await self._lag(one) for one in self.running()]
            except LogError as error:
                _log.warning("how far the partitions are behind is not known: %s", error)
            self._sample()
            self._tell_of_wrong_times()
            for source in deaf_sources(one.shard.step for one in self.running()):
                if source not in self._deaf:
                    self._deaf.add(source)
                    _log.warning("source %s: none of the records so far is one; is `where` as meant?", source)

    def _sample(self) -> None:
        """Let TRAIN have as many of the lists that nobody clicks as it can carry."""
        left = {(lag.name, lag.partition): lag.records for lag in self.lags}
        for one in self.running():
            step = one.shard.step
            if isinstance(step, TrainShard):
                n = left.get((one.name, one.partition), 0)
                rate = step.keeps_up(self._clock.now_ms(), at_end=not n)
                if rate is not None:
                    _log.warning(_SAMPLED, n, rate)

    def _tell_of_wrong_times(self) -> None:
        now = int(self._clock.now_ms())
        for one in self.running():
            step = one.shard.step
            times = step.ahead(now + AHEAD_MS) if isinstance(step, JoinShard) else {}
            if times and one.partition not in self._ahead:
                self._ahead.add(one.partition)
                _log.error("%s", why_topics_ahead(f"events/{one.partition}", max(times.values()), now))

    async def _lag(self, one: Running) -> Lag:
        topic = self._sources[one.name]
        end = await self._reader.end_of(topic, one.partition)
        return Lag(one.name, topic, one.partition, max(0, end - one.shard.position))

    async def _follow(self, follow: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
        try:
            await follow()
        except FreshetError as error:
            self._end(str(error))
        except Exception as error:
            # Without it the shards would wait for ever, and nobody would know why.
            if stop.is_set():
                raise
            _log.exception("what others say is not followed any more")
            self._end(repr(error))

    def _serve_metrics(self) -> Any:
        work = self._settings.work
        if not work.metrics_port:
            return None
        registry = CollectorRegistry()
        registry.register(
            WorkerMetrics(
                self.running,
                lambda: 0 if self._replica is None else self._replica.size,
                lambda: self.lags,
                lambda: {} if self._pacing is None else dict(self._pacing.board.waits),
            )
        )
        try:
            server, _ = start_http_server(work.metrics_port, work.metrics_host, registry)
        except OSError as error:
            where = f"{work.metrics_host}:{work.metrics_port}"
            msg = f"metrics cannot be served at {where} ({error.strerror}); choose another metrics_port"
            raise StartError(msg) from error
        return server


async def _done_before(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether it was done before the stop, which ends it: where a broker went away it takes for ever."""
    task = asyncio.create_task(work)
    try:
        await done_or_stopped(task, stop)
        if task.done():
            await task
        return task.done()
    finally:
        task.cancel()


def _credentials(kafka: KafkaSettings) -> Any:
    """What Faust calls credentials: the same that the other clients use."""
    context = async_options(kafka).get("ssl_context")
    if kafka.protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=kafka.user,
            password=kafka.password,
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)
