"""Rows of items in a process that learns users: read once, the same for every shard, whenever it asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from learners.part import Column, Columns
from learning.rows.codec import ItemRow, encode_row
from learning.rows.item_batches import ItemBatch, ItemReader
from learning.rows.part_columns import Arrays
from learning.shards.item_replica import FollowingStep, ItemReplica
from stream.engine.shard import Output, SourceRecord
from stream.frame import Frame
from stream.kafka.settings import KafkaSettings

SIDES = {
    "vectors": (Column("vector", "<f4", (2,)), Column("version", "<i8")),
    "counts": (Column("touched_at", "<i8"),),
    "near": (Column("items", "<i4", ("n",), ref="item"), Column("share", "<f4", ("n",))),
}


def value(name: str, version: int, near: Sequence[str] = ()) -> bytes:
    table = np.full(2, version, "<f4").tobytes() + np.int64(version).tobytes()
    lists: Any = {"items": [*near], "share": np.ones(len(near), "<f4").tobytes()} if near else {}
    return encode_row(ItemRow(item_id=name, entered_at=5, parts={"vectors": {"": table}, "near": lists}))


def versions(batches: Sequence[ItemBatch]) -> dict[str, int]:
    """What stands for each item when all batches have been taken over."""
    return {
        name: version
        for batch in batches
        for name, version in zip(batch.names, batch.arrays["vectors"]["version"].tolist(), strict=True)
    }


class Follower:
    """A step that only takes items over."""

    def __init__(self) -> None:
        self.batches: list[ItemBatch] = []

    def apply_items(self, items: ItemBatch) -> None:
        self.batches.append(items)

    def on_records(self, records: Sequence[SourceRecord]) -> None: ...

    def take(self) -> list[Output]:
        return []

    def apply_shares(self, shares: Mapping[str, Columns]) -> None:
        """Nothing is shared here."""

    def snapshot(self) -> Frame:
        return {}

    def restore(self, frame: Frame) -> None: ...


def whole() -> ItemReplica:
    """A replica that has read what stood in the topic at its start: nothing."""
    replica = ItemReplica(KafkaSettings(), SIDES)
    replica.mark_whole()
    return replica


def test_shards_of_a_process_get_the_same_arrays_and_one_that_comes_later_the_same_numbers() -> None:
    replica, steps = whole(), [Follower(), Follower()]
    following = [FollowingStep(step, replica) for step in steps]
    expected: dict[str, int] = {}
    for n in range(30):  # more than stays read
        names = [f"i{k % 1_500}" for k in range(n * 1_000, n * 1_000 + 1_000)]
        replica.put([name.encode() for name in names], [value(name, n + 1) for name in names])
        expected |= dict.fromkeys(names, n + 1)
        for one in following[: 2 if n < 5 else 1]:  # one of them asks for nothing any more
            one.on_records([])
    arrays: list[Arrays] = [step.batches[4].arrays["vectors"] for step in steps]
    assert arrays[0] is arrays[1]
    later = Follower()
    for one in (*following, FollowingStep(later, replica)):
        one.on_records([])
    assert versions(steps[0].batches) == versions(steps[1].batches) == versions(later.batches) == expected
    assert sum(len(batch.names) for batch in later.batches) == 1_500


def test_a_bad_row_leaves_the_one_before_and_a_deletion_none() -> None:
    replica = whole()
    replica.put([b"tea", b"mate", b"cocoa"], [value("tea", 1), value("mate", 1), value("cocoa", 1)])
    nan = encode_row(
        ItemRow(item_id="mate", parts={"vectors": {"": np.full(2, np.nan, "<f4").tobytes() + bytes(8)}})
    )
    wrong = replica.put(
        [b"tea", b"cocoa", b"\xff", b"mate", b"new", b"new"],
        [b"no row", None, value("x", 2), nan, value("new", 7), value("new", 8)],
    )
    assert sorted(wrong) == [0, 2, 3] and "no finite number" in str(wrong[3])
    late = list(replica.since(0)[0])
    assert versions(late) == {"tea": 1, "mate": 1, "new": 8}


@pytest.mark.parametrize("chosen", [None, [True, False, True]])
def test_lists_of_a_batch_refer_to_the_rows_of_whoever_takes_them(chosen: list[bool] | None) -> None:
    rows = {"a": ["b", "gone"], "b": ["a", "c"], "c": ["a"]}
    batch = ItemReader(SIDES).read_values({n.encode(): value(n, 1, near) for n, near in rows.items()})
    mine = {"a": 7, "b": 5, "c": 3}
    which = None if chosen is None else np.array(chosen)
    found = batch.columns("near", lambda _, ids: np.array([mine.get(n, -1) for n in ids], np.int32), which)
    all_rows = ([1, 2, 1], [5, 7, 3, 7])
    assert (found["n"].tolist(), found["items"].tolist()) == (
        all_rows if chosen is None else ([1, 1], [5, 7])
    )
    assert found["share"].tolist() == [1.0] * len(found["items"])
