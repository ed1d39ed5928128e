"""Partitions are those that Kafka's own clients would choose."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as theirs

from stream.events import Click, Decision, Forget, Impression, ItemEvent, LoggedEvent, Tick
from stream.kafka.partitioning import murmur2, partition_of, routing_id

# From the tests of Kafka's Java client: bytes, and the hash as a signed number.
KNOWN = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("data", "signed"), KNOWN)
def test_the_hash_is_that_of_the_java_client(data: bytes, signed: int) -> None:
    assert murmur2(data) == signed % 2**32


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40))
def test_the_hash_is_that_of_kafka_python(data: bytes) -> None:
    assert murmur2(data) == theirs(data) % 2**32


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=12), st.integers(1, 64))
def test_an_id_goes_where_kafka_python_would_send_its_bytes(entity_id: str, n: int) -> None:
    assert partition_of(entity_id, n) == (theirs(entity_id.encode()) & 0x7FFFFFFF) % n


@pytest.mark.parametrize(
    ("event", "by"),
    [
        (Impression(request_id="r", ts=1, user_id="u", items=["i"]), "r"),
        (Decision(request_id="r", ts=1, user_id="u", items=["i"], propensities=[1.0], policy="p"), "r"),
        (Click(ts=1, item_id="i", user_id="u", request_id="r"), "r"),
        (Click(ts=1, item_id="i", request_id="r"), "r"),
        (Click(ts=1, item_id="i", user_id="u"), "u"),
        (ItemEvent(item_id="i", ts=1), "i"),
        (Forget(user_id="u", ts=1), "u"),
    ],
)
def test_whatever_belongs_to_one_slate_is_routed_by_its_request(event: LoggedEvent, by: str) -> None:
    assert routing_id(event) == by


def test_a_tick_has_no_place_of_its_own() -> None:
    with pytest.raises(TypeError, match="expected an event that somebody sent"):
        routing_id(Tick(ts=1))
