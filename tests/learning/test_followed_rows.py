"""Rows that cannot be read, how far a follower is, and restarts of followers and publishers."""

from __future__ import annotations

import re
from typing import cast

import msgspec
import numpy as np
import pytest

from freshet.config import Settings, load_settings
from learning.pipeline import Pipeline
from learning.rows.codec import (
    Progress,
    UserRow,
    decode_item_row,
    encode_control,
    encode_row,
)
from learning.rows.follow import RowFollower
from learning.rows.marks import Marks
from learning.rows.packed_cells import Cells
from learning.rows.publish import ItemRows
from learning.testing_engines import shuffled_rows
from stream.block_codec import encode_item
from stream.engine.shard import Output
from stream.errors import FrameError, NewerFrameError
from stream.events import Click, Forget, ItemEvent, Tick
from stream.frame import pack, unpack
from stream.step import Step
from stream.testing import drive
from tests.harness.cells import bias, in_table, near, popular
from tests.harness.rows import (
    RowPublisher,
    RowServer,
    assert_same_answers,
    assert_same_state,
    item_row,
    make_settings,
    names_of,
    row_record,
    scripted,
    user_row,
)

NEAR = {"cooccurrence": near(5, [], [], 1.0)}
SHORT = encode_row(UserRow(user_id="ann", parts=in_table([1, 2, 3])))
ODD = encode_row(UserRow(user_id="ann", parts={"vectors": {"": b"1"}}))
UNEVEN = pack({"kind": "policy", "version": 2, "item_id": "tea", "serving": bytes(4)})
DAY_MS = 86_400_000
POPULAR = {"popularity": popular([5, 6], [0, 0], [1, 1], 1)}


@pytest.mark.parametrize(
    ("topic", "key", "value", "says"),
    [
        ("user-vectors", b"ann", b"\xc1", "not a frame"),
        ("user-vectors", b"ann", encode_row(item_row("ann")), "of kind 'user', got kind 'item'"),
        ("user-vectors", b"ann", encode_row(user_row("bob")), "the row is of 'bob'"),
        ("user-vectors", b"ann", SHORT, "vector of 8: expected 40 bytes, the row has 20"),
        ("user-vectors", b"ann", encode_row(user_row("ann", layout=9)), "version 9"),
        ("user-vectors", b"ann", ODD, "expected 40 bytes, the row has 1"),
        ("user-vectors", b"\xff", encode_row(user_row("ann")), "utf-8"),
        ("policy", b"tea", UNEVEN, "length"),
        ("catalogue", b"tea", encode_item(ItemEvent(item_id="mate", ts=1)), "the row is of 'mate'"),
        (
            "control",
            b"ranker",
            encode_control("ranker", {"names": ["a"], "weights": np.zeros(2), "steps": 1}),
            "weights of shape (2,) for 1 features",
        ),
        ("control", b"ranker", encode_control("ranker", {}), "lacks something"),
        ("control", b"centroids", encode_control("centroids", {"ids": 5}), "column 'ids': expected"),
        ("events", b"tea", b"", "expected one of the topics"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_and_the_rest_goes_on(topic: str, key: bytes, value: bytes, says: str) -> None:
    server = RowServer()
    server.follower.add("item-vectors", 0, b"good", encode_row(item_row("good")))
    with pytest.raises(FrameError, match="^" + re.escape(f"{topic}/3, key {key!r}: ")) as caught:
        server.follower.add(topic, 3, key, value)
    assert says in str(caught.value)
    assert isinstance(caught.value, NewerFrameError) == (says == "version 9")
    server.apply()
    assert "good" in server.parts.items


@pytest.mark.parametrize(
    ("part", "cells", "says"),
    [
        ("popularity", POPULAR["popularity"], "half_lives_ms: expected"),
        ("cooccurrence", NEAR["cooccurrence"], "half_life_ms: expected"),
        ("cooccurrence", {"neighbours": ["a"] * 5_000}, "neighbours: expected at most"),
        ("mf", {"": bytes(8)}, "bias: expected 4 bytes, the row has 8; give server and workers the same"),
    ],
)
def test_a_part_of_other_settings_costs_no_more_than_itself(part: str, cells: Cells, says: str) -> None:
    server = RowServer()
    tea = item_row("tea", clicks=3, parts={"mf": bias(0.5), part: cells})
    server.follow([row_record("item-vectors", tea)])
    again = RowFollower(make_settings())
    again.restore(unpack(pack(server.follower.snapshot())))
    for follower in (server.follower, again):
        assert follower.misfits.keys() == {part} and follower.misfits[part].startswith(says)
    (row,) = server.parts.items.find(["tea"])
    assert (server.parts.items.clicks[row], server.follower.refused) == (3, 1)
    assert server.parts.mf.item_bias(np.array([row])) == (0.0 if part == "mf" else 0.5)
    fits = {"mf": bias(0.1), "popularity": popular([DAY_MS, 4 * DAY_MS], [0, 0], [1, 1], 1)}
    fits["cooccurrence"] = near(180 * DAY_MS, ["mate"], [1.0], 1.0)
    server.follow([row_record("item-vectors", item_row("mate", parts={part: fits[part]}))])
    assert not server.follower.misfits  # what was written before stays in the topic, and is of no concern now


def test_a_map_of_other_width_leaves_items_served_and_is_named_until_the_newest_rows_fit() -> None:
    def settings(dim: int) -> Settings:
        return msgspec.structs.replace(
            make_settings(), learners=({"kind": "content_map", "dim": dim, "enough": 1},)
        )

    tea = ItemEvent(item_id="tea", ts=1, attributes={"taste": "bitter"})
    server = RowServer(settings(4))
    for dim, differs in ((8, {"content_map"}), (4, set())):
        came = RowPublisher(settings(dim)).learn(
            [tea, Click(ts=2, user_id="ann", item_id="tea"), Tick(ts=90_000)]
        )
        errors = server.follower.add_all([(o.topic, o.partition, o.key or b"", o.value) for o in came])
        server.apply()
        assert all("control/" in str(error) for error in errors) and bool(errors) == bool(differs)
        assert server.follower.misfits.keys() == differs
        (row,) = server.parts.items.find(["tea"])
        assert (
            server.parts.items.clicks[row] == 1 and server.parts.catalogue.servable(np.array([row]), 9).all()
        )


def test_more_ids_than_rows_are_refused_and_counted() -> None:
    server = RowServer(make_settings(max_items=8, max_users=8))
    server.follow([row_record("item-vectors", item_row(f"i{n}")) for n in range(12)])
    server.follow([row_record("user-vectors", user_row(f"u{n}", "i1", "i11", "i2")) for n in range(12)])
    parts = server.parts
    assert len(parts.items) == len(parts.users) == 8
    assert names_of(parts, parts.history.clicked(parts.users.row_of("u1"))) == ["i1", "i2"]
    assert server.follower.refused > 8


# --- how far it is, and restarts ---


def test_it_is_as_far_as_the_partition_that_is_farthest_behind() -> None:
    settings = load_settings(environ={}, flags={"kafka": {"partitions": 2}})
    follower = RowFollower(settings)
    follower.add("user-vectors", 0, b"", encode_row(Progress(absorbed_at=50, watermark=5)))
    follower.take()
    assert (follower.absorbed_at, follower.watermark) == (0, 0)
    follower.add("user-vectors", 1, b"", encode_row(Progress(absorbed_at=40, watermark=9)))
    assert follower.absorbed_at == 0  # not before the rows are given
    follower.take()
    assert (follower.marks, follower.watermark) == (Marks((50, 40), 0, 0, trained=50), 5)


def test_items_and_policies_have_marks_of_their_own() -> None:
    follower = RowFollower(load_settings(environ={}, flags={"kafka": {"partitions": 2}}))
    for topic, reached in (("user-vectors", 90), ("item-vectors", 70), ("policy", 60)):
        for partition in (0, 1):
            follower.add(topic, partition, b"", encode_row(Progress(absorbed_at=reached + partition)))
    follower.take()
    assert follower.marks == Marks((90, 91), items=70, policies=60, trained=90)
    again = RowFollower(load_settings(environ={}, flags={"kafka": {"partitions": 2}}))
    again.restore(unpack(pack(follower.snapshot())))
    assert again.marks == follower.marks


def test_what_train_has_learned_has_a_mark_of_its_own_where_all_owners_of_users_hand_lists_over() -> None:
    settings = load_settings(environ={}, flags={"kafka": {"partitions": 2}})
    follower, found = RowFollower(settings), []
    mark = encode_control("progress", {"absorbed_at": 60, "watermark": 5})
    for key, value in (
        (0, encode_row(Progress(absorbed_at=70))),  # workers of before learned the ranker with these users
        (1, encode_row(Progress(absorbed_at=71, trains=True))),
        (0, encode_row(Progress(absorbed_at=80, trains=True))),  # and nobody runs the step `train`
        (b"progress/train", mark),
    ):
        topic, partition, name = ("user-vectors", key, b"") if isinstance(key, int) else ("control", 0, key)
        follower.add(topic, partition, name, value)
        follower.take()
        found.append(follower.marks.trained)
    assert found == [70, 70, 0, 60]
    again = RowFollower(settings)
    again.restore(unpack(pack(follower.snapshot())))
    assert again.marks == follower.marks


@pytest.mark.parametrize("again", [False, True])
def test_an_older_worker_that_writes_the_ranker_once_more_is_not_heeded(again: bool) -> None:
    server = RowServer()
    names = list(server.parts.ranker.names)

    def row(weight: float) -> bytes:
        frame = {"names": names, "weights": np.full(len(names), weight), "steps": 1}
        return encode_control("ranker", frame)

    for key, weight in ((b"ranker", 1.0), (b"ranker/train", 2.0)):
        server.follower.add("control", 0, key, row(weight))
        assert server.follower.take()["ranker"]["weights"].tolist() == [weight] * len(names)
    follower = server.follower
    if again:
        follower = RowFollower(make_settings())
        follower.restore(unpack(pack(server.follower.snapshot())))
    follower.add("control", 0, b"ranker", row(3.0))
    assert "ranker" not in follower.take()


def test_a_copy_of_before_train_had_a_mark_is_read() -> None:
    settings = load_settings(environ={}, flags={"kafka": {"partitions": 1}})
    follower = RowFollower(settings)
    frame = unpack(pack(follower.snapshot()))
    frame["progress"] = {"user-vectors": [[0, 90, 5]], "item-vectors": [[0, 70, 5]]}
    del frame["control"]["trained"]
    follower.restore(frame)
    assert follower.marks == Marks((90,), 70, 70, trained=90)


def test_a_follower_and_a_publisher_go_on_where_their_snapshots_were_taken() -> None:
    events, rng = scripted(4), np.random.default_rng(4)
    publisher, server = RowPublisher(n_partitions=3), RowServer()
    half = len(events) // 2
    server.follow(shuffled_rows(publisher.learn(events[:half]), rng))
    frame = unpack(pack({"follower": server.follower.snapshot(), "parts": server.parts.snapshot()}))
    learned = unpack(
        pack(
            {"step": publisher.pipeline.snapshot(), "rows": [rows.snapshot() for rows in publisher.stateful]}
        )
    )
    again, revived = RowServer(), RowPublisher(n_partitions=3)
    again.parts.restore(frame["parts"])
    again.follower.restore(frame["follower"])
    revived.pipeline.restore(learned["step"])
    for rows, state in zip(revived.stateful, learned["rows"], strict=True):
        rows.restore(state)
    rest = revived.learn(events[half:])
    assert rest == publisher.learn(events[half:])
    again.follow(shuffled_rows(rest, rng), every=40)
    assert_same_state(again.parts, publisher.parts, events[-1].ts)
    assert_same_answers(again.parts, publisher.parts, events[-1].ts)


def test_ids_that_left_before_a_snapshot_and_were_not_taken_yet_are_still_deleted() -> None:
    publisher = RowPublisher()
    publisher.learn([Click(ts=1, user_id="ann", item_id="tea"), Click(ts=2, user_id="bob", item_id="tea")])
    publisher.pipeline.on_events([Forget(user_id="ann", ts=3)])
    frame = unpack(
        pack(
            {"step": publisher.pipeline.snapshot(), "rows": [rows.snapshot() for rows in publisher.stateful]}
        )
    )
    revived = RowPublisher()
    revived.pipeline.restore(frame["step"])
    for rows, state in zip(revived.stateful, frame["rows"], strict=True):
        rows.restore(state)
    assert Output("user-vectors", 0, None, b"ann") in revived.taken()


def test_a_shard_publishes_its_own_items_only() -> None:
    pipeline = Pipeline(make_settings(), b"a key for tests, no secret")
    rows = ItemRows(pipeline.parts, 1, lambda name: int(name in ("tea", "mate")))
    drive(
        cast(Step, pipeline),
        [
            ItemEvent(item_id="tea", ts=1),
            ItemEvent(item_id="cola", ts=1),
            Click(ts=2, user_id="ann", item_id="tea"),
            Click(ts=3, user_id="ann", item_id="cola"),
            Click(ts=4, user_id="ann", item_id="mate"),
        ],
    )
    outputs = rows.take()
    assert {(output.topic, output.key) for output in outputs} == {
        ("item-vectors", b"tea"), ("item-vectors", b"mate"), ("policy", b"tea"),
    }  # fmt: skip
    tea = next(output.value for output in outputs if output.key == b"tea")
    assert tea is not None
    assert set(decode_item_row(tea).parts["cooccurrence"]["neighbours"]) == {"cola", "mate"}


def test_a_server_with_another_list_of_scorers_follows_the_weights_that_it_knows() -> None:
    server, names = RowServer(), ["more", "taste", "popular_0"]
    before = server.parts.ranker.weights.tolist()
    row = {"names": names, "weights": np.array([9.0, 0.5, 7.0]), "steps": 3, "unread": 1}
    schemas = [["", names], ["0123456789abcdef", names]]
    server.follower.add("control", 0, b"ranker", encode_control("ranker", row | {"schemas": schemas}))
    server.apply()
    ranker = server.parts.ranker
    assert ranker.weights.tolist() == [7.0, *before[1:4], 0.5]
    assert (ranker.steps, ranker.unread) == (3, 1)
    assert ranker.schemas.read("0123456789abcdef", np.ones((1, 3), "<f4").tobytes(), 1) is not None
