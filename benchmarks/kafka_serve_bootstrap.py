"""A new serving worker on Kafka: from a million rows in the compacted topics to an answer.

700,000 users with a history of five items, and 100,000 items, each with a row of its vector, popularity and
20 neighbours, one of its policies and one of the catalogue; vectors of 64. The clock runs from the start of
the process (interpreter, imports, compiled kernels from their cache) until ``/readyz`` says 200; the answer
of one `recommend` is checked. Beside it a restart from the copy on disk. Without the `kafka` extra or without
a broker there are no rows.
"""

from __future__ import annotations

import json
import os
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stream.clock import WallClock
from stream.errors import LogError

__all__ = ["run"]

_SHARES = {"users": 0.7, "items": 0.1}
_ROWS = {True: 50_000, False: 1_000_000}
_DIM, _RECENT, _NEIGHBOURS, _EDGES = 64, 5, 20, 6
_A_TRANSACTION = 20_000
_HALF_LIFE_MS = 180 * 86_400_000
_LONGEST_S = 900.0
_T0 = 1_700_000_000_000


def run(quick: bool) -> list[dict[str, Any]]:
    """Seconds from rows in topics to ready, and from the copy; fewer rows when `quick`."""
    try:
        from stream.testing_kafka import NoBrokerError, running_broker
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
    from freshet.testing_serve import ServeProcess

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
        answer = json.load(urllib.request.urlopen(f"{server.url}/v1/recommend", body))
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
    from freshet.testing_serve import RowWriter

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
    from freshet.shards.rows import Neighbours, PolicyRow, encode_row
    from freshet.testing_serve import item_rows, user_row
    from stream.engine.shard import Output

    rng = np.random.default_rng(1)
    for number in range(n_items):
        name = f"i{number}"
        near = Neighbours(
            half_life_ms=_HALF_LIFE_MS,
            reference=_T0,
            degree=float(_NEIGHBOURS),
            ids=[f"i{other}" for other in rng.integers(0, n_items, _NEIGHBOURS)],
            weights=np.ones(_NEIGHBOURS, "<f4").tobytes(),
        )
        vector = rng.standard_normal(_DIM, np.float32)
        pair = item_rows(name, vector, 1 + number % 50, n_partitions, _T0, neighbours=near)
        yield from pair
        clusters = np.sort(rng.choice(64, _EDGES, replace=False)).astype("<i4").tobytes()
        sums = np.ones(_EDGES, "<f8").tobytes()
        policy = PolicyRow(item_id=name, shown=5, clusters=clusters, b=sums, d=sums)
        yield Output("policy", pair[0].partition, encode_row(policy), name.encode())
    for number in range(n_users):
        recent = [f"i{item}" for item in dict.fromkeys(rng.integers(0, n_items, _RECENT).tolist())]
        yield user_row(f"u{number}", rng.standard_normal(_DIM, np.float32), recent, n_partitions, _T0)
