"""Rows written as workers write them, and real serving processes to kill."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from learning.rows.codec import PROGRESS_KEY, ItemRow, Progress, UserRow, encode_row
from learning.rows.packed_cells import Cells
from stream.block_codec import encode_item
from stream.codec import decode_logged, encode_events
from stream.engine.shard import Output
from stream.events import ItemEvent, LoggedEvent
from stream.kafka import KafkaSettings
from stream.kafka.bundles import headers_of
from stream.kafka.connection import client_options, kafka
from stream.kafka.partitioning import partition_of, routing_id
from tests.harness.cells import history, in_table, popular

__all__ = ["RowWriter", "ServeProcess", "events_in", "item_rows", "send_events", "user_row"]

_HALF_LIVES_MS = [86_400_000, 4 * 86_400_000]


class RowWriter:
    """Writes rows in transactions, as the owners of partitions do."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer = kafka.KafkaProducer(
            **client_options(settings),
            transactional_id=f"{settings.prefix}rows",
            linger_ms=20,
            batch_size=256 << 10,
        )
        self._producer.init_transactions()

    def write(self, rows: Iterable[Output], absorbed_at: int = 0) -> None:
        """Write `rows`, and that every partition has come to `absorbed_at`, unless it is 0."""
        self._producer.begin_transaction()
        for row in rows:
            self._producer.send(self._settings.topic(row.topic), row.value, row.key, partition=row.partition)
        if absorbed_at:
            value = encode_row(Progress(absorbed_at=absorbed_at, watermark=absorbed_at))
            for topic in ("user-vectors", "item-vectors"):
                for number in range(self._settings.partitions):
                    self._producer.send(self._settings.topic(topic), value, PROGRESS_KEY, partition=number)
        self._producer.commit_transaction()

    def close(self) -> None:
        """Let go of the brokers."""
        self._producer.close()


def item_rows(
    item_id: str,
    vector: npt.ArrayLike,
    clicks: int,
    n_partitions: int,
    ts: int,
    neighbours: Cells | None = None,
) -> list[Output]:
    """An item of the catalogue with its vector, clicked so often, last at `ts` (ms)."""
    partition, key = partition_of(item_id, n_partitions), item_id.encode()
    row = ItemRow(
        item_id=item_id,
        entered_at=ts,
        parts={
            **in_table(vector, version=1, clicks=clicks, touched_at=ts),
            "popularity": popular(_HALF_LIVES_MS, [ts, ts], [clicks, clicks], clicks, ts),
            "cooccurrence": neighbours or {},
        },
    )
    return [
        Output("catalogue", partition, encode_item(ItemEvent(item_id=item_id, ts=ts)), key),
        Output("item-vectors", partition, encode_row(row), key),
    ]


def user_row(
    user_id: str, vector: npt.ArrayLike, recent: Sequence[str], n_partitions: int, ts: int
) -> Output:
    """A user with a vector who clicked `recent`, all at `ts` (ms)."""
    row = UserRow(
        user_id=user_id,
        parts={
            **in_table(vector, version=1, clicks=len(recent), touched_at=ts),
            "history": history(recent, np.full(len(recent), ts)),
        },
    )
    return Output("user-vectors", partition_of(user_id, n_partitions), encode_row(row), user_id.encode())


def events_in(settings: KafkaSettings) -> list[tuple[int, bytes, LoggedEvent]]:
    """All that is in `events` now: partition, the record's value, and each event of it."""
    name = settings.topic("events")
    consumer = kafka.KafkaConsumer(**client_options(settings), auto_offset_reset="earliest")
    try:
        places = [kafka.TopicPartition(name, number) for number in range(settings.partitions)]
        ends = {place: end for place, end in consumer.end_offsets(places).items() if end}
        consumer.assign(list(ends))
        records: list[Any] = []
        while any(consumer.position(place) < end for place, end in ends.items()):
            records += [record for batch in consumer.poll(1_000).values() for record in batch]
    finally:
        consumer.close()
    return [(r.partition, r.value, event) for r in records for event in decode_logged(r.value)]


def send_events(settings: KafkaSettings, events: Sequence[LoggedEvent]) -> None:
    """Write events where they belong, fifty in a record."""
    bundles: dict[int, list[LoggedEvent]] = {}
    for event in events:
        bundles.setdefault(partition_of(routing_id(event), settings.partitions), []).append(event)
    producer = kafka.KafkaProducer(bootstrap_servers=settings.bootstrap, acks="all")
    for partition, mine in bundles.items():
        for low in range(0, len(mine), 50):
            some = mine[low : low + 50]
            key = routing_id(some[0]).encode()
            producer.send(
                settings.topic("events"), encode_events(some), key=key, partition=partition,
                headers=headers_of(False),
            )  # fmt: skip
    producer.flush()
    producer.close()


class ServeProcess:
    """One `freshet serve` in a process of its own, on a free port of loopback.

    Args:
        settings: where the brokers are.
        data: its folder.
        log: file that gets what it says.
        more: further settings, by variable.
    """

    def __init__(
        self, settings: KafkaSettings, data: Path, log: Path, more: Mapping[str, str] | None = None
    ) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("FRESHET_")}
        environ |= {
            "FRESHET_KAFKA_PARTITIONS": str(settings.partitions),
            "FRESHET_KAFKA_REPLICATION": "1",
            "FRESHET_KAFKA_MIN_INSYNC": "1",
            "FRESHET_KAFKA_TIMEOUT_MS": str(settings.timeout_ms),
            "COLUMNS": "500",  # so that the address stands in one line
            **(more or {}),
        }
        command = [sys.executable, "-m", "freshet", "serve", "--kafka", settings.bootstrap, "--port", "0"]
        command += ["--prefix", settings.prefix, "--data", str(data)]
        self._log, self._begins = log, log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, env=environ, stdout=out, stderr=out)

    def said(self) -> str:
        """All that it has said."""
        return self._log.read_bytes()[self._begins :].decode("utf-8", "replace")

    @property
    def url(self) -> str:
        """Where it answers; empty until it says so."""
        found = re.search(r"serves on (http://\S+)", self.said())
        return found[1] if found else ""

    def kill(self) -> None:
        """End it by its own pid, as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it politely; its exit code."""
        self.process.terminate()
        return self.process.wait(300)
