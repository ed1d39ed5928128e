"""LEARN USERS and LEARN ITEMS as steps of a shard: cutting, resuming, forgetting, bad records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import pytest

from freshet.config import Settings, load_settings
from learning.errors import SettingsError
from learning.parts import build_parts
from learning.rows.codec import (
    ItemRow,
    Progress,
    decode_item_row,
    decode_progress,
    decode_user_row,
    encode_row,
)
from learning.rows.item_batches import ItemBatch, ItemReader
from learning.shards.item_replica import followed_sides
from learning.shards.items import ItemsShard
from learning.shards.letters import Letter
from learning.shards.users import UsersShard
from stream.block_codec import decode_segment, encode_segment
from stream.blocks import CLICK, CLOSED, ORGANIC, SHOWN, FeedbackBlock, Forgotten, ItemsBlock, Segment, Slate
from stream.engine.shard import Output, ShardStep, SourceRecord
from stream.errors import LogError
from stream.events import ItemEvent
from stream.frame import pack, unpack
from stream.item_blocks import Ticked
from stream.parcels import ITEM, Parcel
from stream.testing_shard import ShardStepContract
from tests.harness.blocks import told
from tests.harness.cells import bias, counts, in_table, vector
from tests.harness.chain import Chain, batches, logged_world

SETTINGS: Settings = load_settings(
    environ={},
    flags={
        "join": {"window_ms": 5_000, "lateness_ms": 2_000},
        "learn": {"embedding_dim": 8, "maintain_ms": 2_000, "ttl_ms": 30_000},
        "policy": {"centroids": 6, "others": ["uniform", "thompson"], "context_clusters": 3},
    },
)
N_FEATURES = build_parts(SETTINGS).ranker.n_features
N = 2


def topics() -> Chain:
    """What a chain of two partitions has read and written, forgets among it."""
    chain = Chain(SETTINGS, N)
    for batch in batches(islice(logged_world(5, n_users=60, n_items=40, n_features=N_FEATURES), 1_200), 100):
        chain.feed(batch)
    return chain


def meaning(outputs: Sequence[Output]) -> object:
    """Newest rows by key, and what each partition is told of outcomes, samples, pairs and time."""
    rows: dict[Any, Any] = {}
    said: dict[Any, list[Any]] = {}
    for output in outputs:
        if output.topic not in ("item-feedback", "training"):
            rows[output.topic, output.key] = output.value
            continue
        segment = decode_segment(output.value or b"")
        what = segment.part if isinstance(segment, Parcel) else type(segment).__name__
        said.setdefault((output.topic, output.partition, what), []).extend(told(segment))
    return rows, said


class TestUsersShard(ShardStepContract):
    def make_step(self) -> UsersShard:
        return UsersShard(0, Chain(SETTINGS, N).home, SETTINGS, N)

    def records(self) -> list[SourceRecord]:
        records = topics().topics["feedback", 0]
        forget = encode_segment(Forgotten("u3", 15_000))
        values = [record.value for record in records]
        values.insert(len(values) // 2, forget)
        return [SourceRecord(n, value) for n, value in enumerate(values)]

    def meaning(self, outputs: Sequence[Output]) -> object:
        return meaning(outputs)


class TestItemsShard(ShardStepContract):
    def make_step(self) -> ItemsShard:
        return ItemsShard(0, Chain(SETTINGS, N).home, SETTINGS, N)

    def records(self) -> list[SourceRecord]:
        return topics().topics["item-feedback", 0]

    def meaning(self, outputs: Sequence[Output]) -> object:
        return meaning(outputs)


# -- forgetting ----------------------------------------------------------------------------


def shown(user: str, ts: int, item: str = "tea") -> Slate:
    return Slate(
        request_id=f"r-{user}-{ts}", user_id=user, ts=ts, items=[item, "mate"], decided=True,
        policy="diag_lin_ucb", clusters=[0], weights=[1.0],
    )  # fmt: skip


def outcomes(user: str, ts: int) -> FeedbackBlock:
    """A slate of `user` shown at `ts`, clicked and closed, and an organic click a little later."""
    return FeedbackBlock(
        slates=[shown(user, ts)], organic=[(user, "cocoa")], kind=[SHOWN, CLICK, CLOSED, ORGANIC],
        ref=[0, 0, 0, 0], place=[-1, 0, -1, -1], reward=[0.0, 1.0, 0.0, 1.0],
        first=[False, True, False, True], ts=[ts, ts + 5, ts + 9, ts + 7],
    )  # fmt: skip


def users(*segments: Segment, n: int = 1) -> UsersShard:
    shard = UsersShard(0, lambda name: 0, SETTINGS, n)
    give(shard, *segments)
    return shard


def give(shard: ShardStep, *segments: Segment, offset: int = 0) -> None:
    shard.on_records([SourceRecord(offset + n, encode_segment(s)) for n, s in enumerate(segments)])


def test_a_forget_takes_row_and_history_and_leaves_the_id_nowhere() -> None:
    shard = users(outcomes("zz-secret", 100), outcomes("ann", 100))
    shard.take()
    give(shard, Forgotten("zz-secret", 500), offset=2)
    rows = {output.key: output.value for output in shard.take() if output.topic == "user-vectors"}
    assert rows == {b"zz-secret": None}
    assert "zz-secret" not in shard.parts.users and "ann" in shard.parts.users
    assert b"zz-secret" not in pack(shard.snapshot())


def test_a_block_of_nobody_but_the_forgotten_leaves_nothing_to_learn() -> None:
    shard = users(Forgotten("ann", 500), outcomes("ann", 100))
    assert [output.topic for output in shard.take() if output.topic == "item-feedback"] == []


def test_what_is_not_newer_than_a_forget_is_dropped_whenever_it_comes() -> None:
    shard = users(Forgotten("ann", 500), outcomes("ann", 100), outcomes("bob", 100))
    shard.take()
    assert "ann" not in shard.parts.users and "bob" in shard.parts.users
    resumed = users()
    resumed.restore(unpack(pack(shard.snapshot())))
    give(resumed, outcomes("ann", 499), outcomes("ann", 501), offset=3)
    resumed.take()
    (row,) = resumed.parts.users.find(["ann"]).tolist()
    # Of the older slate only the organic click is newer than the forget.
    assert (resumed.parts.users.impressions[row], resumed.parts.users.clicks[row]) == (1, 3)
    assert resumed.parts.history.length(row) == 2


def test_items_never_hear_of_a_user() -> None:
    shard = users(outcomes("zz-secret", 100), Ticked(0, 9_000, 9_000))
    told_to_items = [output for output in shard.take() if output.topic == "item-feedback"]
    assert told_to_items and all(b"zz-secret" not in (output.value or b"") for output in told_to_items)


# -- time ----------------------------------------------------------------------------


def progress(shard: ShardStep) -> list[Progress]:
    return [decode_progress(output.value or b"") for output in shard.take() if output.key == b""]


def test_absorbed_is_what_every_source_has_passed() -> None:
    shard = users(Ticked(0, 7_000, 6_000), n=2)
    assert progress(shard) == []
    give(shard, Ticked(1, 9_000, 9_000), offset=1)
    assert progress(shard) == [Progress(absorbed_at=7_000, watermark=6_000, trains=True)]
    give(shard, Ticked(1, 9_500, 9_500), Ticked(1, 8_000, 8_000), offset=2)
    assert progress(shard) == []


def passed_on(shard: ShardStep) -> list[tuple[int, Segment]]:
    return [
        (output.partition, decode_segment(output.value or b""))
        for output in shard.take()
        if output.topic == "item-feedback"
    ]


def test_time_is_passed_on_to_all_partitions_of_items_at_once() -> None:
    shard = users(Ticked(0, 7_000, 6_000), Ticked(1, 7_500, 6_500), Ticked(0, 7_600, 6_600), n=2)
    told = passed_on(shard)
    assert [tick for partition, tick in told if partition == 1] == [
        Ticked(0, 7_000, 6_000),
        Ticked(0, 7_500, 6_500),
    ]
    assert sorted(partition for partition, _ in told) == [0, 0, 1, 1]


def test_items_are_as_far_as_the_owner_of_users_that_is_farthest_behind() -> None:
    items = ItemsShard(0, lambda name: 0, SETTINGS, 2)
    give(items, Ticked(0, 9_100, 8_100))
    assert progress(items) == []
    give(items, Ticked(1, 7_000, 6_000), offset=1)
    # One row in each topic: a server may have read one of them and not yet the other.
    assert progress(items) == [Progress(absorbed_at=7_000, watermark=6_000)] * 2
    again = ItemsShard(0, lambda name: 0, SETTINGS, 2)
    again.restore(unpack(pack(items.snapshot())))
    give(again, Ticked(1, 9_000, 9_000), offset=2)
    assert progress(again) == [Progress(absorbed_at=9_000, watermark=8_100)] * 2


def test_what_is_kept_and_what_starts_afresh_is_said_by_one_partition_for_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before, now = (
        msgspec.structs.replace(SETTINGS, policies=({"kind": "uniform"}, {"kind": other}))
        for other in ("thompson", "epsilon_greedy")
    )
    for partition in range(N):
        for shard in (UsersShard, ItemsShard):
            frame = shard(partition, Chain(SETTINGS, N).home, before, N).snapshot()
            shard(partition, Chain(SETTINGS, N).home, now, N).restore(unpack(pack(frame)))
    assert caplog.messages == [
        "nothing was learned of these yet, so they start afresh: epsilon_greedy",
        "kept, for they are not configured now: thompson",
    ]


def test_centroids_are_learned_by_one_and_followed_by_all() -> None:
    first = [outcomes(f"u{n}", 100) for n in range(9)]
    shards = [UsersShard(p, lambda name: 0, SETTINGS, 2) for p in range(2)]
    for shard in shards:
        give(shard, *first, Ticked(0, 9_000, 9_000), Ticked(1, 9_000, 9_000))
    moved = {
        (n, partition): parcel
        for n, shard in enumerate(shards)
        for partition, parcel in passed_on(shard)
        if isinstance(parcel, Parcel) and parcel.part == "centroids"
    }
    assert set(moved) == {(0, 0), (0, 1)}
    items = ItemsShard(1, lambda name: 0, SETTINGS, 2)
    give(items, moved[0, 1])
    np.testing.assert_array_equal(items.parts.centroids.ids, shards[0].parts.centroids.ids)


# -- the replica of items ----------------------------------------------------------------------------


def batch(shard: UsersShard, rows: Sequence[ItemRow]) -> ItemBatch:
    """Those rows as a process reads them."""
    values = {row.item_id.encode(): encode_row(row) for row in rows}
    return ItemReader(followed_sides(shard.parts)).read_values(values)


def test_only_a_newer_row_of_an_item_replaces_the_replica() -> None:
    chain = Chain(SETTINGS, 1)
    chain.feed(list(islice(logged_world(1, n_items=5, n_features=N_FEATURES), 60)))
    shard, parts = chain.users[0], chain.items[0].parts
    before = shard.parts.items.vectors(["i0", "i1"])
    values = {name: chain.rows["item-vectors", name.encode()] for name in ("i0", "i1")}
    version = {name: vector(decode_item_row(value or b"").parts)[1] for name, value in values.items()}
    old = ItemRow(item_id="i0", entered_at=1, parts=in_table(np.ones(8), version=version["i0"]))
    told = {**in_table(np.ones(8), version=version["i1"] + 1), "mf": bias(0.25)}
    new = ItemRow(item_id="i1", entered_at=1, parts=told)
    stranger = msgspec.structs.replace(new, item_id="stranger")
    shard.apply_items(batch(shard, [old, new, stranger]))
    np.testing.assert_array_equal(
        shard.parts.items.vectors(["i0", "i1", "stranger"]), [before[0], np.ones(8), np.ones(8)]
    )
    at = shard.parts.items.find(["i1"])
    assert shard.parts.mf.item_bias(at).tolist() == [0.25]
    assert parts.items.version[parts.items.find(["i0"])] == version["i0"]


def test_ids_outside_the_catalogue_neither_evict_the_replica_of_it_nor_keep_it_out() -> None:
    shard = UsersShard(0, lambda name: 0, with_few_items(), 1)
    item = ItemRow(item_id="tea", entered_at=1, parts=in_table(np.ones(8), version=1, touched_at=1))
    later = in_table(np.ones(8), version=1, touched_at=9)
    stranger = msgspec.structs.replace(item, entered_at=0, parts=later)
    shard.apply_items(batch(shard, [msgspec.structs.replace(item, item_id=f"i{n}") for n in range(20)]))
    shard.apply_items(batch(shard, [msgspec.structs.replace(stranger, item_id=f"x{n}") for n in range(60)]))
    shard.apply_items(batch(shard, [msgspec.structs.replace(item, item_id=f"late{n}") for n in range(4)]))
    again = UsersShard(0, lambda name: 0, with_few_items(), 1)
    again.restore(unpack(pack(shard.snapshot())))
    give(again, Ticked(0, 90_000, 90_000))
    table, names = again.parts.items, [*(f"i{n}" for n in range(20)), *(f"late{n}" for n in range(4))]
    assert (table.find(names) >= 0).all() and len(table) == 56


def test_neighbours_of_other_partitions_take_none_of_the_rows_kept_for_the_catalogue() -> None:
    items = ItemsShard(0, lambda name: int(name.startswith("x")), with_few_items(), 2)
    tea, strangers, ts = np.full(99, 99, np.int32), np.arange(99, dtype=np.int32), np.zeros(99, np.int64)
    table: dict[str, Any] = {"item": tea, "other": strangers, "ts": ts, "other_ts": ts}
    refs = {"pairs": {"item": ITEM, "other": ITEM}}
    to: dict[str, tuple[str, ...]] = {"pairs": ("item", "other")}
    names = [*(f"x{n}" for n in range(99)), "tea"]
    pairs = Parcel("cooccurrence", names, {"pairs": table}, refs, to)
    give(items, ItemsBlock([ItemEvent(item_id="tea", ts=5)]), pairs)
    give(items, ItemsBlock([ItemEvent(item_id=f"i{n}", ts=5) for n in range(4)]), offset=2)
    assert (items.parts.items.find([f"i{n}" for n in range(4)]) >= 0).all()


def with_few_items() -> Settings:
    learn = msgspec.structs.replace(SETTINGS.learn, max_items=64, ttl_ms=0)
    return msgspec.structs.replace(SETTINGS, learn=learn)


def test_a_user_row_tells_what_was_clicked() -> None:
    shard = users(outcomes("ann", 100))
    (row,) = (decode_user_row(o.value or b"") for o in shard.take() if o.topic == "user-vectors")
    assert counts(row.parts)[:2] == [2, 1]
    assert row.parts["history"]["items"] == ["tea", "cocoa"]


# -- bad records ----------------------------------------------------------------------------


def letters(shard: ShardStep) -> list[Letter]:
    outputs = [output for output in shard.take() if output.topic == "dead-letters"]
    return [msgspec.json.decode(output.value or b"", type=Letter) for output in outputs]


CENTROIDS = Parcel(
    "centroids",
    [],
    {
        "centroids": {
            "ids": np.array([2, 1], np.int32), "parents": np.zeros(2, np.int32),
            "vectors": np.zeros((2, SETTINGS.learn.embedding_dim), np.float32),
            "counts": np.zeros((2, 3), np.int64), "spread": np.zeros(2),
        },
        "counters": {"version": np.array([5]), "structure": np.array([2]), "next_id": np.array([3])},
    },
)  # fmt: skip
"""Their ids do not ascend."""


@pytest.mark.parametrize(
    ("topic", "value", "says"),
    [
        ("feedback", b"\xc1", "not a frame"),
        ("feedback", b"", "not a frame"),
        ("feedback", pack({"kind": "dance", "version": 1}), "dance"),
        ("feedback", pack({"kind": "outcomes", "version": 1}), "lacks"),
        ("feedback", encode_segment(ItemsBlock([])), "does not belong here"),
        ("feedback", encode_segment(Ticked(1, 5, 5)), "tick of source 1"),
        ("item-feedback", b"\xff" * 9, "not a frame"),
        ("item-feedback", pack({"kind": "samples", "version": 1}), "names"),
        ("item-feedback", encode_segment(Forgotten("ann", 5)), "does not belong here"),
        ("item-feedback", pack({"kind": "centroids", "version": 1, "centroids": {"ids": 5}}), "centroids"),
        ("item-feedback", encode_segment(CENTROIDS), "do not fit each other"),
    ],
)
def test_a_poisoned_record_is_a_dead_letter_and_the_rest_goes_on(topic: str, value: bytes, says: str) -> None:
    made = UsersShard if topic == "feedback" else ItemsShard
    shard = made(0, lambda name: 0, SETTINGS, 1)
    good = encode_segment(Ticked(0, 9_000, 9_000))
    shard.on_records([SourceRecord(41, value, None, 99), SourceRecord(42, good)])
    outputs = shard.take()
    (letter,) = [
        msgspec.json.decode(output.value or b"", type=Letter)
        for output in outputs
        if output.topic == "dead-letters"
    ]
    assert says in letter.reason
    assert (letter.topic, letter.partition, letter.offset, letter.at) == (topic, 0, 41, 99)
    assert any(output.key == b"" for output in outputs)


def test_samples_of_vectors_of_another_length_are_a_dead_letter() -> None:
    learn = msgspec.structs.replace(SETTINGS.learn, embedding_dim=4)
    other = UsersShard(0, lambda name: 0, msgspec.structs.replace(SETTINGS, learn=learn), 1)
    give(other, outcomes("ann", 100))
    values = [output.value or b"" for output in other.take() if output.topic == "item-feedback"]
    items = ItemsShard(0, lambda name: 0, SETTINGS, 1)
    items.on_records([SourceRecord(n, value) for n, value in enumerate(values)])
    assert ["'vector': expected float32 of shape" in letter.reason for letter in letters(items)] == [True]
    assert items.parts.items.clicks.sum() == 2


@pytest.mark.parametrize("topic", ["feedback", "item-feedback"])
def test_a_newer_record_stops_the_shard_and_says_where(topic: str) -> None:
    made = UsersShard if topic == "feedback" else ItemsShard
    with pytest.raises(LogError, match=f"{topic}/3/17: tick of version 3"):
        made(3, lambda name: 0, SETTINGS, 4).on_records(
            [SourceRecord(17, pack({"kind": "tick", "version": 3}))]
        )


def test_centroids_that_no_record_can_hold_are_refused_at_once() -> None:
    policy = msgspec.structs.replace(SETTINGS.policy, centroids=60_000)
    with pytest.raises(SettingsError, match=r"60000 centroids .* policy.centroids"):
        UsersShard(0, lambda name: 0, msgspec.structs.replace(SETTINGS, policy=policy), 1)
