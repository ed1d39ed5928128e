"""What programs of before wrote into the topics is read, and says what it said then."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from freshet.config import load_settings
from learning.rows.codec import decode_item_row
from learning.shards.items import ItemsShard
from stream.engine.shard import Output, SourceRecord
from tests.harness.chain import Chain
from tests.harness.rows import RowPublisher, RowServer, assert_same_state, scripted

DATA = Path(__file__).parent / "data"


def stored(name: str) -> Any:
    """Records that were kept when rows and segments had version 1."""
    return msgspec.msgpack.decode(gzip.decompress((DATA / name).read_bytes()))


def test_rows_of_version_1_give_a_server_the_state_of_who_learned_it() -> None:
    publisher, server = RowPublisher(), RowServer()
    publisher.learn(scripted(4))
    stored_rows = stored("rows_version_1.msgpack.gz")
    rows = [Output(topic, at, value, key) for topic, at, key, value in stored_rows]
    items = [row.value for row in rows if row.topic == "item-vectors" and row.key and row.value]
    assert {decode_item_row(value).layout for value in items} == {1}
    server.follow(rows)
    assert_same_state(server.parts, publisher.parts, scripted(4)[-1].ts)


def test_samples_and_pairs_of_version_1_are_learned_as_parcels_are() -> None:
    settings = load_settings(environ={}, flags={"learn": {"embedding_dim": 8}, "policy": {"centroids": 6}})
    chain = Chain(settings, 2)
    chain.feed(scripted(5))
    for partition, now in enumerate(chain.items):
        before = ItemsShard(partition, chain.home, settings, 2)
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
