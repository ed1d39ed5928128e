"""A new serving worker on Kafka: from a million rows in the compacted topics to an answer.

700,000 users with a history of five items, and 100,000 items, each with a row of its vector, popularity and
20 neighbours, one of its policies and one of the catalogue; vectors of 64. The clock runs from the start of
the process (interpreter, imports, compiled kernels from their cache) until ``/readyz`` says 200; the answer
of one `recommend` is checked. Beside it a restart from the copy on disk. Without the `kafka` extra or without
a broker there is no such row.

`kafka_serve_bootstrap_apply` is what the worker itself does, from the records in memory: reading them, giving
ids their rows, and filling all parts, in frames of 20,000 records. Half a million users with eight clicks and
half a million items with eight neighbours, 64 dimensions; the items' catalogue and policies, two more records
each, are read on top and not counted as rows.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks._rows import row_records
from freshet.config import load_settings
from learning.parts import build_parts
from learning.rows.follow import RowFollower
from stream.clock import WallClock
from stream.engine.shard import Output
from stream.errors import LogError

__all__ = ["run"]

_SHARES = {"users": 0.7, "items": 0.1}
_ROWS = {True: 50_000, False: 1_000_000}
_DIM, _RECENT, _NEIGHBOURS, _EDGES = 64, 5, 20, 6
_A_TRANSACTION = _FRAME = 20_000
_HALF_LIFE_MS = 180 * 86_400_000
_LONGEST_S = 900.0
_T0 = 1_700_000_000_000


def run(quick: bool) -> list[dict[str, Any]]:
    """Seconds from rows in topics to ready, and from the copy; what of them the parts take; fewer rows when
    `quick`."""
    return [*_from_topics(quick), _in_memory(quick)]


def _from_topics(quick: bool) -> list[dict[str, Any]]:
    try:
        from tests.harness.broker import NoBrokerError, running_broker
    except (ImportError, LogError):
        return []
    with tempfile.TemporaryDirectory(prefix="freshet-kafka-") as folder:
        broker_folder = Path(folder) / "broker"
        broker_folder.mkdir()
        try:
            with running_broker(broker_folder, os.environ.get("FRESHET_TEST_KAFKA")) as broker:
                return _measure(broker, Path(folder), quick)
        except NoBrokerError:
            return []


def _measure(broker: Any, folder: Path, quick: bool) -> list[dict[str, Any]]:
    from stream.kafka.topics import create_topics

    settings = broker.settings(prefix=f"boot-{os.getpid()}-", partitions=8)
    create_topics(settings)
    n_rows = _fill(settings, _ROWS[quick])
    first_s = _serve_once(settings, folder)  # also compiles what is not in the cache yet
    (folder / "data" / "rows.snapshot").unlink()
    (folder / "data" / "index.snapshot").unlink(missing_ok=True)
    ready_s, copy_s = _serve_once(settings, folder), _serve_once(settings, folder)
    return [
        {
            "name": f"kafka_serve_bootstrap{'_quick' if quick else ''}",
            "value": round(min(first_s, ready_s), 2),
            "unit": "s",
            "rows": n_rows,
            "rows_a_second": round(n_rows / min(first_s, ready_s)),
            "from_copy_s": round(copy_s, 2),
        }
    ]


def _serve_once(settings: Any, folder: Path) -> float:
    """Start a server, wait until it is ready and answers; the seconds until then. It is stopped politely."""
    from tests.harness.servers import ServeProcess

    clock = WallClock()
    began_s = clock.monotonic_s()
    more = {"FRESHET_SERVE_READY_LAG_MS": "100000000"}
    server = ServeProcess(settings, folder / "data", folder / "log", more)
    try:
        while not _is_ready(server):
            if clock.monotonic_s() - began_s > _LONGEST_S:
                msg = f"not ready after {_LONGEST_S} s:\n{server.said()}"
                raise TimeoutError(msg)
            clock.sleep_s(0.02)
        took_s = clock.monotonic_s() - began_s
        body = json.dumps({"user_id": "u7", "k": 10}).encode()
        asking = urllib.request.Request(
            f"{server.url}/v1/recommend", body, {"content-type": "application/json"}
        )
        answer = json.load(urllib.request.urlopen(asking))
        assert len(answer["items"]) == 10 and answer["fallback"] is None, answer
        return took_s
    finally:
        if server.process.poll() is None:
            server.stop()


def _is_ready(server: Any) -> bool:
    assert server.process.poll() is None, server.said()
    if not server.url:
        return False
    try:
        urllib.request.urlopen(f"{server.url}/readyz", timeout=5).read()
    except OSError:
        return False
    return True


# -- rows ----------------------------------------------------------------------------------------------------


def _fill(settings: Any, n_rows: int) -> int:
    """Write rows as workers do; how many there are."""
    from tests.harness.servers import RowWriter

    n_users, n_items = (int(n_rows * share) for share in _SHARES.values())
    writer, chunk, n = RowWriter(settings), [], 0
    for row in _rows(n_users, n_items, settings.partitions):
        chunk.append(row)
        if len(chunk) == _A_TRANSACTION:
            writer.write(chunk)
            n, chunk = n + len(chunk), []
    writer.write(chunk, absorbed_at=_T0)
    writer.close()
    return n + len(chunk)


def _rows(n_users: int, n_items: int, n_partitions: int) -> Iterator[Any]:
    from learning.rows.codec import PolicyRow, encode_row
    from stream.engine.shard import Output
    from tests.harness.cells import edges, near
    from tests.harness.servers import item_rows, user_row

    rng = np.random.default_rng(1)
    for number in range(n_items):
        name = f"i{number}"
        others = [f"i{other}" for other in rng.integers(0, n_items, _NEIGHBOURS)]
        together = near(_HALF_LIFE_MS, others, np.ones(_NEIGHBOURS), float(_NEIGHBOURS), _T0)
        vector = rng.standard_normal(_DIM, np.float32)
        pair = item_rows(name, vector, 1 + number % 50, n_partitions, _T0, neighbours=together)
        yield from pair
        clusters = np.sort(rng.choice(64, _EDGES, replace=False))
        sums = edges(clusters, np.ones(_EDGES), np.ones(_EDGES), shown=5)
        policy = PolicyRow(item_id=name, parts={"diag_lin_ucb": sums})
        yield Output("policy", pair[0].partition, encode_row(policy), name.encode())
    for number in range(n_users):
        recent = [f"i{item}" for item in dict.fromkeys(rng.integers(0, n_items, _RECENT).tolist())]
        yield user_row(f"u{number}", rng.standard_normal(_DIM, np.float32), recent, n_partitions, _T0)


# -- in memory -----------------------------------------------------------------------------------------------


def _in_memory(quick: bool) -> dict[str, Any]:
    _apply(list(row_records(2_000)))
    records = list(row_records(100_000 if quick else 1_000_000))
    seconds, held = _apply(records)
    return {
        "name": "kafka_serve_bootstrap_apply",
        "value": seconds,
        "unit": "s",
        "rows": held,
        "records": len(records),
        "records_per_s": round(len(records) / seconds),
    }


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
        came = records[low : low + _FRAME]
        follower.add_all((row.topic, row.partition, row.key or b"", row.value) for row in came)
        frame = follower.take()
        for name, part in named.items():
            if name in frame:
                part.apply(frame[name])
    seconds = perf_counter() - start
    gc.unfreeze()
    return seconds, len(parts.users) + len(parts.items)
