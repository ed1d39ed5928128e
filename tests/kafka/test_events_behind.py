"""What waits in `events` is found for each kind of row, whichever of them stood still first."""

from __future__ import annotations

import pytest
from kafka import KafkaProducer

from learning.rows.marks import Marks
from serving.kafka.behind import EventsBehind
from stream.clock import ManualClock, WallClock
from stream.codec import encode_events
from stream.events import Click
from stream.kafka import KafkaSettings
from stream.kafka.bundles import headers_of
from stream.kafka.topics import create_topics
from tests.harness.live import wait_until

pytestmark = pytest.mark.kafka

PATIENCE_MS = 5_000


def test_users_that_stand_still_after_policies_wait_since_their_own_oldest_click(
    topics: KafkaSettings,
) -> None:
    create_topics(topics)
    producer = KafkaProducer(bootstrap_servers=topics.bootstrap)
    now = int(WallClock().now_ms()) - 60_000
    for at in (now, now + 1_000):
        click = Click(ts=at, user_id="ann", item_id="tea", request_id="r1")
        value, headers = encode_events([click]), headers_of(False)
        producer.send(topics.topic("events"), value, partition=0, timestamp_ms=at, headers=headers)
    producer.flush()
    clock = ManualClock(now + 2_000)
    marks = Marks((now + 500,) * topics.partitions, items=now + 2_000, policies=now - PATIENCE_MS)
    behind = EventsBehind(topics, clock, lambda: marks, PATIENCE_MS)
    behind.start()
    try:
        wait_until(lambda: behind.oldest() == {"policies": now})
        clock.advance_ms(PATIENCE_MS)
        wait_until(lambda: "users" in behind.oldest())
        assert behind.oldest() == {"policies": now, "users": now + 1_000}
    finally:
        behind.stop()
        producer.close()
