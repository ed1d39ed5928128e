"""Events become records of their partitions."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.codec import decode_logged
from stream.events import Click, LoggedEvent
from stream.kafka.bundles import MAX_EVENT_BYTES, bundled
from stream.kafka.layout import MAX_RECORD_BYTES
from stream.kafka.partitioning import partition_of, routing_id

users = st.sampled_from([f"user {number}" for number in range(20)])


def _clicks(names: list[str]) -> tuple[list[LoggedEvent], list[bytes]]:
    events: list[LoggedEvent] = [Click(ts=n, item_id="i", user_id=name) for n, name in enumerate(names)]
    return events, [msgspec.json.encode(event) for event in events]


@settings(max_examples=60, deadline=None)
@given(st.lists(users, max_size=50), st.integers(1, 9))
def test_every_event_is_in_its_partition_once_and_in_order(names: list[str], n: int) -> None:
    events, raw = _clicks(names)
    found = {bundle.partition: decode_logged(bundle.value) for bundle in bundled(events, raw, n)}
    wanted: dict[int, list[LoggedEvent]] = {}
    for event in events:
        wanted.setdefault(partition_of(routing_id(event), n), []).append(event)
    assert found == wanted


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, MAX_EVENT_BYTES), min_size=1, max_size=12))
def test_no_record_is_larger_than_brokers_take(sizes: list[int]) -> None:
    events, _ = _clicks(["ann"] * len(sizes))
    bundles = bundled(events, [b"x" * size for size in sizes], 4)
    assert max(len(bundle.value) for bundle in bundles) < MAX_RECORD_BYTES
    assert b"".join(bundle.value[1:-1] for bundle in bundles).count(b"x") == sum(sizes)


def test_an_event_that_no_record_can_hold_is_refused() -> None:
    events, _ = _clicks(["ann"])
    with pytest.raises(ValueError, match=f"expected at most {MAX_EVENT_BYTES} bytes"):
        bundled(events, [b"x" * (MAX_EVENT_BYTES + 1)], 4)
