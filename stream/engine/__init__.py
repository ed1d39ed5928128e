"""Engines drive steps: the embedded one on one machine, shards for partitions of a log elsewhere.

The Faust engine needs the `kafka` extra and is imported where it is used: `stream.engine.faust_engine`.
"""

from __future__ import annotations

from stream.engine.driver import ClockMode, Driver
from stream.engine.local import LocalEngine
from stream.engine.nudge import Notifier, Nudge, NudgeSocket, NullNotifier, SocketNotifier
from stream.engine.settings import EngineSettings
from stream.engine.shard import Output, Shard, ShardStep, ShardStore, SourceRecord
from stream.engine.shard_memory import MemoryPartition, MemoryShardStore
from stream.engine.snapshots import LEARNER_KIND, SnapshotStore
from stream.engine.ticker import Ticker
from stream.engine.worker_settings import ShardSettings, WorkerSettings

__all__ = [
    "LEARNER_KIND",
    "ClockMode",
    "Driver",
    "EngineSettings",
    "LocalEngine",
    "MemoryPartition",
    "MemoryShardStore",
    "Notifier",
    "Nudge",
    "NudgeSocket",
    "NullNotifier",
    "Output",
    "Shard",
    "ShardSettings",
    "ShardStep",
    "ShardStore",
    "SnapshotStore",
    "SocketNotifier",
    "SourceRecord",
    "Ticker",
    "WorkerSettings",
]
