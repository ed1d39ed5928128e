"""What a worker tells Prometheus is what this worker has done: a partition's past is another's."""

from __future__ import annotations

import asyncio

from learning.shards.join import JoinShard
from learning.shards.metrics import Running, WorkerMetrics
from stream.clock import ManualClock
from stream.codec import encode_events
from stream.engine.shard import Shard
from stream.engine.shard_memory import MemoryPartition, MemoryShardStore
from stream.events import Click

T0 = 1_700_000_000_000


def organic(shard: Shard) -> float:
    """The counter of organic clicks."""
    metrics = WorkerMetrics(lambda: [Running("join", 0, shard)], lambda: 0)
    (found,) = (
        sample.value
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == "freshet_shard_outcomes_total" and sample.labels["outcome"] == "organic"
    )
    return float(found)


async def taken_over() -> tuple[float, float, float]:
    partition = MemoryPartition()
    for n in range(7):
        partition.append(encode_events([Click(ts=T0 + n, user_id="ann", item_id=f"i{n}")]))
    first, second = (
        Shard(JoinShard(0, lambda name: 0), MemoryShardStore(partition), ManualClock()) for _ in range(2)
    )
    await first.open()
    await first.deliver(partition.records)
    await second.open()
    before = organic(second)
    await second.deliver([partition.append(encode_events([Click(ts=T0 + 9, user_id="bob", item_id="x")]))])
    return organic(first), before, organic(second)


def test_outcomes_that_another_worker_has_counted_are_not_counted_again() -> None:
    assert asyncio.run(taken_over()) == (7.0, 0.0, 1.0)
