"""A program of somebody else, on kafka-python: written from docs/reference alone, no import of ours.

feed BOOTSTRAP PREFIX: writes items, a slate with a click, and organic clicks; prints what it wrote.
read BOOTSTRAP PREFIX USER ITEM: waits for the rows of a user and an item; prints what stands in them.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.partitioner.default import murmur2

__all__ = ["feed", "read"]

SCHEMA = [("schema", b"1")]


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def feed(bootstrap: str, prefix: str) -> dict[str, Any]:
    """Single events by their key, and an array of events of one partition."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    topic, now = f"{prefix}events", time.time_ns() // 1_000_000  # noqa: TID251 - a stranger's clock
    sent = []
    events: list[tuple[str, dict[str, Any]]]
    events = [(item, {"type": "item", "item_id": item, "ts": now}) for item in ("plain-tea", "plain-cocoa")]
    slate: dict[str, Any] = {"request_id": "plain-r1", "ts": now + 1, "user_id": "plain-ann"}
    events.append(("plain-r1", {"type": "impression", **slate, "items": ["plain-tea", "plain-cocoa"]}))
    events.append(("plain-r1", {"type": "click", **slate, "ts": now + 2, "item_id": "plain-tea"}))
    for key, event in events:
        # The client's own partitioner takes the partition from the key, as the page asks for.
        written = producer.send(topic, _json(event), key=key.encode(), headers=SCHEMA).get(300)
        sent.append([key, written.partition])
    n = len(producer.partitions_for(topic))
    organic: dict[int, list[dict[str, Any]]] = {}
    for number in range(20):
        user = f"plain-u{number}"
        click = {"type": "click", "ts": now + number, "user_id": user, "item_id": "plain-cocoa"}
        organic.setdefault((murmur2(user.encode()) & 0x7FFFFFFF) % n, []).append(click)
    for partition, clicks in organic.items():
        key = clicks[0]["user_id"].encode()
        producer.send(topic, _json(clicks), key=key, headers=SCHEMA, partition=partition).get(300)
        sent += [[click["user_id"], partition] for click in clicks]
    producer.close()
    return {"sent": sent}


def read(bootstrap: str, prefix: str, user: str, item: str) -> dict[str, Any]:
    """The newest rows of a user and an item, once all have come."""
    topics = [f"{prefix}{name}" for name in ("user-vectors", "item-vectors", "policy")]
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    consumer.assign([TopicPartition(t, p) for t in topics for p in consumer.partitions_for_topic(t)])
    wanted = {(topics[0], user), (topics[1], item), (topics[2], item)}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    ends = time.monotonic() + 600
    while time.monotonic() < ends and not _complete(found, wanted, topics[:2]):
        for batch in consumer.poll(timeout_ms=500).values():
            for record in batch:
                place = (record.topic, (record.key or b"").decode())
                if record.value is None:
                    found.pop(place, None)
                elif place in wanted:
                    found[place] = msgspec.msgpack.decode(record.value)
    consumer.close()
    return {
        "user": _row(found[topics[0], user]),
        "item": _row(found[topics[1], item]),
        "policy": _policy(found[topics[2], item]),
    }


def _complete(
    found: dict[tuple[str, str], dict[str, Any]], wanted: set[tuple[str, str]], with_clicks: list[str]
) -> bool:
    """Whether all rows are there, and the user's and the item's know of clicks."""
    return set(found) == wanted and all(
        any(row["parts"].get("counts", {}).get("", b"")[:8])
        for (topic, _), row in found.items()
        if topic in with_clicks
    )


def _row(row: dict[str, Any]) -> dict[str, Any]:
    parts = row["parts"]  # what is missing is zero, or an empty list
    vector = parts["vectors"][""][:-8]  # behind it the number of its updates
    numbers = struct.unpack(f"<{len(vector) // 4}f", vector)
    clicks, impressions, _ = struct.unpack("<3q", parts.get("counts", {}).get("") or bytes(24))
    counts = {"clicks": clicks, "impressions": impressions}
    recent = parts.get("history", {}).get("items")
    return {"kind": row["kind"], **counts, "dimension": len(numbers), "moved": any(numbers), "recent": recent}


def _policy(row: dict[str, Any]) -> dict[str, Any]:
    edges = row["parts"].get("diag_lin_ucb", {})  # what is missing is zero, or an empty list
    clusters = edges.get("clusters", b"")
    (shown,) = struct.unpack("<q", edges.get("", bytes(8)))
    found = struct.unpack(f"<{len(clusters) // 4}i", clusters)
    return {"kind": row["kind"], "clusters": list(found), "shown": shown}


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    commands: dict[str, Callable[..., Any]] = {"feed": feed, "read": read}
    json.dump(commands[command](*arguments), sys.stdout)
