"""The broker that the tests run against."""

from __future__ import annotations

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from stream.kafka import KafkaSettings

pytestmark = pytest.mark.kafka


def test_what_is_written_can_be_read(topics: KafkaSettings) -> None:
    name = topics.topic("events")
    admin = KafkaAdminClient(bootstrap_servers=topics.bootstrap)
    admin.create_topics({name: {"num_partitions": 2, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    producer = KafkaProducer(bootstrap_servers=topics.bootstrap)
    sent = producer.send(name, b"value", partition=1).get(timeout=300)
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=topics.bootstrap)
    consumer.assign([TopicPartition(name, 1)])
    consumer.seek(TopicPartition(name, 1), sent.offset)
    assert [record.value for batch in consumer.poll(120_000).values() for record in batch] == [b"value"]
    consumer.close()
