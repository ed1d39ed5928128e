"""A worker's steps, run once in small, so that every kernel is compiled before a partition is taken over.

Compiling holds up the whole process for half a minute at its first start. In the middle of a take-over that
is long enough for brokers to give it up, and for its own requests to run out of time.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from learning.rows.item_batches import ItemReader
from learning.settings import LearningSettings
from learning.shards.item_replica import followed_sides
from learning.shards.items import ItemsShard
from learning.shards.join import JoinShard
from learning.shards.train import TrainShard
from learning.shards.users import UsersShard
from learning.warm_events import look_up_many, warm_events
from stream.codec import encode_events
from stream.engine.shard import Output, ShardStep, SourceRecord
from stream.events import Tick

__all__ = ["warm_shards"]


def warm_shards(settings: LearningSettings, *, trains: bool = True) -> list[Output]:
    """Let one partition of each step learn a few events of every kind; all that came out.

    Without TRAIN where that is not run: what trains a network is neither needed there nor loaded.

    Example:
        >>> " ".join(sorted({output.topic for output in warm_shards(LearningSettings())}))
        'catalogue control feedback item-feedback item-vectors policy training user-vectors'
    """
    # Small reservations: these parts are thrown away.
    small = msgspec.structs.replace(settings.learn, max_items=4_096, max_users=4_096)
    settings = msgspec.structs.replace(settings, learn=small)
    join = JoinShard(0, _home, settings.join, mode=settings.clock, tick_ms=settings.engine.tick_ms)
    users, items = UsersShard(0, _home, settings, 1), ItemsShard(0, _home, settings, 1)
    train = TrainShard(0, settings, 1) if trains else None
    reader = ItemReader(followed_sides(users.parts))
    look_up_many()
    written: list[Output] = []
    for now_ms, events in warm_events(settings, users.parts.ranker.n_features):
        record = SourceRecord(0, encode_events([*events, Tick(ts=now_ms)]))
        joined = _run(join, [record])
        learned = _run(users, _records(joined, "feedback"))
        trained = _run(train, _records(learned, "training")) if train else []
        arrived = _run(items, _records([*joined, *learned], "item-feedback"))
        rows = {
            row.key: row.value for row in arrived if row.topic == "item-vectors" and row.key and row.value
        }
        users.apply_items(reader.read_values(rows))
        written += [*joined, *learned, *trained, *arrived]
    return written


def _home(_: str) -> int:
    return 0


def _run(step: ShardStep, records: Sequence[SourceRecord]) -> list[Output]:
    step.on_records(records)
    return step.take()


def _records(outputs: Sequence[Output], topic: str) -> list[SourceRecord]:
    return [SourceRecord(0, output.value) for output in outputs if output.topic == topic and output.value]
