"""A worker on Kafka: JOIN for the partitions that its group assigns to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import faust
from prometheus_client import CollectorRegistry, start_http_server

from freshet.config import Settings
from freshet.shards.join import JoinShard
from freshet.shards.metrics import WorkerMetrics
from stream.clock import Clock
from stream.engine.faust_engine import FaustEngine
from stream.engine.shard import Shard
from stream.kafka.partitioning import partition_of
from stream.kafka.reader import PartitionReader, async_options
from stream.kafka.settings import KafkaSettings
from stream.kafka.shard_store import KafkaShardStore
from stream.kafka.ticks import TickWriter

__all__ = ["JoinWorker"]

APP = "join"


class JoinWorker:
    """Everything that one worker process consists of.

    Args:
        settings: of the whole system; `kafka`, `work`, `shard`, `join`, `clock` and `engine.tick_ms` count.
        clock: wall and monotonic time.
        end: ends the process for a reason.

    Example:
        See `tests/kafka/test_worker.py`.
    """

    def __init__(self, settings: Settings, clock: Clock, end: Callable[[str], None]) -> None:
        self._settings = settings
        self._clock = clock
        kafka = settings.kafka
        self._reader = PartitionReader(kafka, clock)
        self._ticks = TickWriter(kafka, "events") if settings.clock == "wall" else None
        self.steps: dict[int, JoinShard] = {}
        self.engine = FaustEngine(
            [address.strip() for address in kafka.bootstrap.split(",")],
            kafka.topic(APP),
            kafka.topic("events"),
            self._make_shard,
            clock=clock,
            end=end,
            settings=settings.work,
            credentials=_credentials(kafka),
            tick=None if self._ticks is None else self._ticks.write,
            tick_ms=settings.engine.tick_ms,
        )

    def _make_shard(self, partition: int) -> Shard:
        settings, n_partitions = self._settings, self._settings.kafka.partitions
        step = self.steps[partition] = JoinShard(
            partition,
            lambda entity_id: partition_of(entity_id, n_partitions),
            settings.join,
            mode=settings.clock,
            tick_ms=settings.engine.tick_ms,
            n_partitions=n_partitions,
        )
        store = KafkaShardStore(
            settings.kafka, self._reader, app=APP, source="events", state="state-join", partition=partition
        )
        return Shard(step, store, self._clock, settings.shard)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set.

        Raises:
            LogError: no broker answers.
        """
        registry = CollectorRegistry()
        registry.register(WorkerMetrics(lambda: self.engine.shards, lambda: self.steps))
        server: Any = None
        if self._settings.work.metrics_port:
            server, _ = start_http_server(self._settings.work.metrics_port, "127.0.0.1", registry)
        try:
            if self._ticks is not None:
                await self._ticks.start()
            await self.engine.run(stop)
        finally:
            if self._ticks is not None:
                await self._ticks.stop()
            await self._reader.close()
            if server is not None:
                server.shutdown()
                server.server_close()


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
