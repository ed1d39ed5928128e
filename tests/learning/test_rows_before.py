"""What programs of before wrote into the topics is read, and says what it said then."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from freshet.config import load_settings
from learning.parts import Parts
from learning.rows.codec import decode_control, encode_control
from learning.rows.shared import SharedRows
from learning.shards.items import ItemsShard
from stream.engine.shard import Output, ShardStep, SourceRecord
from stream.frame import unpack
from tests.harness.chain import Chain
from tests.harness.rows import SCORERS_BEFORE, RowPublisher, RowServer, assert_same_state, scripted

DATA = Path(__file__).parent / "data"
SETTINGS = load_settings(
    environ={}, flags={"learn": {"embedding_dim": 8}, "policy": {"centroids": 6}, "scorers": SCORERS_BEFORE}
)


def stored(name: str) -> Any:
    """Records and snapshots that were kept when rows and segments had an older version."""
    return msgspec.msgpack.decode(gzip.decompress((DATA / name).read_bytes()))


@pytest.mark.parametrize("version", [1, 2])
def test_rows_of_before_give_a_server_the_state_of_who_learned_it(version: int) -> None:
    publisher, server, events = RowPublisher(), RowServer(), scripted(4)
    del events[350]  # a click on an erased list, out of its window: it was dropped then and is organic now
    publisher.learn(events)
    stored_rows = stored(f"rows_version_{version}.msgpack.gz")
    rows = [Output(topic, at, value, key) for topic, at, key, value in stored_rows]
    items = [row.value for row in rows if row.topic == "item-vectors" and row.key and row.value]
    assert {unpack(value)["version"] for value in items} == {version}
    server.follow(rows)
    # What the ranker learned then, one linear order from decided lists alone, it does not learn now.
    (_, then), *_ = [decode_control(row.value) for row in rows if row.key == b"ranker" and row.value]
    ranker = server.parts.ranker
    assert (dict(zip(ranker.names, ranker.weights.tolist(), strict=True)), ranker.steps) == (
        dict(zip(then["names"], then["weights"].tolist(), strict=True)), then["steps"],
    )  # fmt: skip
    publisher.pipeline.parts.ranker.apply(then)
    assert_same_state(server.parts, publisher.parts, scripted(4)[-1].ts)


def test_what_users_owners_of_version_2_told_is_learned_as_that_of_now_is() -> None:
    chain = Chain(SETTINGS, 2)
    chain.feed(scripted(5))
    for partition, now in enumerate(chain.items):
        before = ItemsShard(partition, chain.home, SETTINGS, 2)
        values = [value for _, at, value in stored("item_feedback_version_2.msgpack.gz") if at == partition]
        before.on_records([SourceRecord(n, value) for n, value in enumerate(values)])
        assert not [output for output in before.take() if output.topic == "dead-letters"]
        assert_same_items(before.parts, now.parts)


def test_shards_go_on_from_snapshots_of_version_2() -> None:
    frames, ends, records = stored("shards_version_2.msgpack.gz")
    before, now, low = Chain(SETTINGS, 2), Chain(SETTINGS, 2), {(topic, at): n for topic, at, n in ends}
    now.feed(scripted(5)[:250])
    now.feed(scripted(5)[250:])
    restored: list[tuple[str, Sequence[ShardStep], int]] = [
        ("feedback", before.users, 2), ("item-feedback", before.items, 4),
    ]  # fmt: skip
    for name, shards, first in restored:
        for at, shard in enumerate(shards):
            shard.restore(unpack(frames[first + at]))
            values = [value for topic, p, value, _ in records if (topic, p) == (name, at)]
            begin = low.get((name, at), 0)
            shard.on_records([SourceRecord(begin + n, value) for n, value in enumerate(values[begin:])])
            assert not [output for output in shard.take() if output.topic == "dead-letters"]
    for shard, other in zip(before.items, now.items, strict=True):
        assert_same_items(shard.parts, other.parts)
    np.testing.assert_array_equal(before.users[0].parts.centroids.ids, now.users[0].parts.centroids.ids)
    for mine, theirs in zip(before.users, now.users, strict=True):
        for name in ("policy_counts", "organic_clicks"):
            found = mine.parts.measures[name].by_labels()
            assert found and found == theirs.parts.measures[name].by_labels()


def test_of_a_partitions_measures_in_the_form_of_before_and_of_now_the_later_counts() -> None:
    publisher, server = RowPublisher(), RowServer()
    publisher.learn(scripted(4)[:100])
    state = {"organic": 2, "policies": {"uniform": {"shown": 3, "reward": -1.5}}}
    before = Output("control", 0, encode_control("measures", state), b"measures/0")
    counts = publisher.parts.measures["policy_counts"]
    counts.at("thompson")[:] = [7.0] * len(counts.sums)
    shares = SharedRows({"policy_counts": counts}, "users", 0).take()
    server.follow([before])
    assert server.parts.measures["organic_clicks"].of() == {"organic": 2}
    known = server.parts.measures["policy_counts"].of("uniform")
    assert (known["shown"], known["reward"], known["gained"], known["lost"]) == (3, -1.5, 0, 1.5)
    server.follow(shares)
    assert server.parts.measures["policy_counts"].by_labels() == counts.by_labels()
    server.follow([before])
    assert list(server.parts.measures["policy_counts"].by_labels()) == [("uniform",)]


def assert_same_items(ours: Parts, theirs: Parts) -> None:
    """That two hold the same vectors, clusters and centroids, by id."""
    names = [name for name in theirs.items.ids_of(theirs.items.live) if name is not None]
    a, b = ours.items.find(names), theirs.items.find(names)
    np.testing.assert_array_equal(ours.items.data[a], theirs.items.data[b])
    np.testing.assert_array_equal(ours.centroids.vectors, theirs.centroids.vectors)
    for row, other in zip(a.tolist(), b.tolist(), strict=True):
        np.testing.assert_array_equal(ours.graph.clusters_of(row), theirs.graph.clusters_of(other))


def test_samples_and_pairs_of_version_1_are_learned_as_parcels_are() -> None:
    chain = Chain(SETTINGS, 2)
    chain.feed(scripted(5))
    for partition, now in enumerate(chain.items):
        before = ItemsShard(partition, chain.home, SETTINGS, 2)
        values = [value for _, at, value in stored("item_feedback_version_1.msgpack.gz") if at == partition]
        before.on_records([SourceRecord(n, value) for n, value in enumerate(values)])
        assert not [output for output in before.take() if output.topic == "dead-letters"]
        names = [name for name in now.parts.items.ids_of(now.parts.items.live) if name is not None]
        a, b = before.parts.items.find(names), now.parts.items.find(names)
        np.testing.assert_array_equal(before.parts.items.data[a], now.parts.items.data[b])
        for row, other in zip(a.tolist(), b.tolist(), strict=True):
            np.testing.assert_array_equal(
                np.sort(before.parts.cooccurrence.neighbours(row, 99)[1]),
                np.sort(now.parts.cooccurrence.neighbours(other, 99)[1]),
            )
