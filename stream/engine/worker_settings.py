"""Settings of a worker on Kafka: its part in the group, and how its shards commit."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

__all__ = ["ShardSettings", "WorkerSettings"]

Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class ShardSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a partition's shard commits, looks at the tail of its source, and takes a snapshot."""

    gather_s: Annotated[float, Meta(ge=0, le=10)] = 0.05
    """Time for which outputs gather into one transaction while more records come: latency against the cost of
    transactions; 0 commits every batch. Ten times as long where items are learned: their rows change with
    every slate."""
    commit_s: Seconds = 5.0
    """Longest time for which a position without outputs waits for its commit."""
    tail_s: Seconds = 1.0
    """Time without delivery after which the end of the source is looked at."""
    snapshot_s: Seconds = 60.0
    """Time between snapshots while something is learned."""
    snapshot_records: Annotated[int, Meta(ge=1)] = 1_000_000
    """Records after which a snapshot is taken early: as many are run again at a take-over, at most."""


class WorkerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a worker takes part in its group."""

    session_s: Seconds = 15.0
    """Silence after which a worker counts as dead and its partitions go to others; brokers take 6 s and
    more unless told otherwise."""
    heartbeat_s: Seconds = 1.0
    """Time between heartbeats; at most a third of `session_s` is used."""
    take_records: Annotated[int, Meta(ge=1, le=100_000)] = 2_000
    """Records taken at once, at most."""
    take_s: Annotated[float, Meta(ge=0.001, le=10)] = 0.01
    """How long to wait for that many: all of it is latency whenever fewer come."""
    stall_s: Seconds = 60.0
    """Time that a partition may be busy with one thing; then it stands still, and the process ends."""
    max_skew_ms: Annotated[int, Meta(ge=0)] = 60_000
    """Time by which a partition of `events` may be ahead of the slowest: of the events while history is
    joined, of the log while partitions catch up after a stall; 0: any. The smaller, the longer history
    takes: it goes on by as much with every commit."""
    metrics_port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """Port of /metrics; 0: none."""
    metrics_host: str = "127.0.0.1"
    """Address of /metrics; it asks for no token, so beyond loopback let only Prometheus reach it."""
