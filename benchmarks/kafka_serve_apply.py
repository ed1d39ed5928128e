"""A serving worker on Kafka from nothing to ready: a million rows by id become parts that answer.

`kafka_serve_apply` is what the worker itself does, from the records of the compacted topics in
memory: reading them, giving ids their rows, and filling all parts, in frames of 20,000 records. Half a
million users with eight clicks and half a million items with eight neighbours, 64 dimensions; the items'
catalogue and policies, two more records each, are read on top and not counted as rows.
"""

from __future__ import annotations

import gc
from time import perf_counter
from typing import Any

from benchmarks._rows import row_records
from freshet.config import load_settings
from freshet.following import RowFollower
from freshet.parts import build_parts
from stream.engine.shard import Output

__all__ = ["run"]

_FRAME = 20_000


def _apply(records: list[Output]) -> tuple[float, int]:
    """Seconds from the first record to parts that hold all of them, and how many rows those have."""
    settings = load_settings(environ={}, flags={})
    follower, parts = RowFollower(settings), build_parts(settings)
    named = parts.named()
    # As in the product: what has been loaded is not searched for garbage again and again.
    gc.collect()
    gc.freeze()
    start = perf_counter()
    for low in range(0, len(records), _FRAME):
        for topic, partition, value, key, _ in records[low : low + _FRAME]:
            follower.add(topic, partition, key or b"", value)
        frame = follower.take()
        for name, part in named.items():
            if name in frame:
                part.apply(frame[name])
    seconds = perf_counter() - start
    gc.unfreeze()
    return seconds, len(parts.users) + len(parts.items)


def run(quick: bool) -> list[dict[str, Any]]:
    """All figures: some 5 s when `quick`, a minute else."""
    n_rows = 100_000 if quick else 1_000_000
    _apply(list(row_records(2_000)))
    records = list(row_records(n_rows))
    seconds, held = _apply(records)
    return [
        {
            "name": "kafka_serve_apply",
            "value": seconds,
            "unit": "s",
            "rows": held,
            "records": len(records),
            "records_per_s": round(len(records) / seconds),
        }
    ]
