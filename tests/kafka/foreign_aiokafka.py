"""A program of somebody else, on aiokafka: written from docs/reference alone, no import of ours.

feed BOOTSTRAP PREFIX: writes an item and organic clicks on it, as an array; prints what it wrote.
read BOOTSTRAP PREFIX USER ITEM: waits for the rows of a user and an item; prints what stands in them.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import murmur2

__all__ = ["feed", "read"]

SCHEMA = [("schema", b"1")]


async def feed(bootstrap: str, prefix: str) -> dict[str, Any]:
    """One event by its key, and an array of the events of one user."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    topic, now = f"{prefix}events", time.time_ns() // 1_000_000  # noqa: TID251 - a stranger's clock
    await producer.start()
    try:
        item = json.dumps({"type": "item", "item_id": "async-tea", "ts": now}).encode()
        written = await producer.send_and_wait(topic, item, key=b"async-tea", headers=SCHEMA)
        clicks = [
            {
                "type": "click",
                "ts": now + n,
                "user_id": "async-ann",
                "item_id": "async-tea",
                "event_id": f"e{n}",
            }
            for n in range(3)
        ]
        n_partitions = len(await producer.partitions_for(topic))
        home = (murmur2(b"async-ann") & 0x7FFFFFFF) % n_partitions
        value = json.dumps(clicks).encode()
        await producer.send_and_wait(topic, value, key=b"async-ann", headers=SCHEMA, partition=home)
    finally:
        await producer.stop()
    return {"sent": [["async-tea", written.partition], *[["async-ann", home]] * len(clicks)]}


async def read(bootstrap: str, prefix: str, user: str, item: str) -> dict[str, Any]:
    """The newest rows of a user and an item, once they know of all clicks."""
    users, items = f"{prefix}user-vectors", f"{prefix}item-vectors"
    consumer = AIOKafkaConsumer(
        users,
        items,
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    rows: dict[str, dict[str, Any]] = {}
    try:
        ends = time.monotonic() + 600
        while time.monotonic() < ends and [row["clicks"] for row in rows.values()] != [3, 3]:
            batches: dict[TopicPartition, list[Any]] = await consumer.getmany(timeout_ms=500)
            for tp, batch in batches.items():
                for record in batch:
                    if (tp.topic, record.key) == (users, user.encode()) and record.value:
                        rows["user"] = _row(msgspec.msgpack.decode(record.value))
                    if (tp.topic, record.key) == (items, item.encode()) and record.value:
                        rows["item"] = _row(msgspec.msgpack.decode(record.value))
    finally:
        await consumer.stop()
    return rows


def _row(row: dict[str, Any]) -> dict[str, Any]:
    parts = row["parts"]  # what is missing is zero, or an empty list
    vector = parts["vectors"][""][:-8]  # behind it the number of its updates
    numbers = struct.unpack(f"<{len(vector) // 4}f", vector)
    clicks, impressions, _ = struct.unpack("<3q", parts.get("counts", {}).get("") or bytes(24))
    counts = {"clicks": clicks, "impressions": impressions}
    recent = parts.get("history", {}).get("items")
    return {"kind": row["kind"], **counts, "dimension": len(numbers), "moved": any(numbers), "recent": recent}


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    commands: dict[str, Callable[..., Any]] = {"feed": feed, "read": read}
    json.dump(asyncio.run(commands[command](*arguments)), sys.stdout)
