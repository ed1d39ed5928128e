"""What an embedded learner knows, published as rows by id and followed in any order, answers as it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from freshet.config import load_settings
from learning.rows.codec import PolicyRow
from learning.testing_engines import shuffled_rows
from stream.block_codec import encode_item
from stream.engine.shard import Output
from stream.events import ItemEvent, LoggedEvent, Tick
from stream.frame import pack
from tests.harness.cells import bias, near, offered, popular
from tests.harness.rows import (
    DIM,
    RowPublisher,
    RowServer,
    assert_same_answers,
    assert_same_state,
    assert_same_tables,
    candidates,
    item_row,
    known_items,
    make_settings,
    names_of,
    row_record,
    scripted,
    user_row,
)


@pytest.mark.parametrize("n_partitions", [1, 3])
@pytest.mark.parametrize("seed", [1, 2])
def test_rows_followed_in_any_order_answer_as_the_learner_does(n_partitions: int, seed: int) -> None:
    publisher, server = RowPublisher(n_partitions=n_partitions), RowServer()
    events, rng = scripted(seed), np.random.default_rng(seed)
    outputs: list[Output] = []
    for low in range(0, len(events), 60):
        outputs += publisher.learn(events[low : low + 60])
    server.follow(shuffled_rows(outputs, rng), every=int(rng.integers(20, 400)))
    now, learned = events[-1].ts, publisher.parts
    assert_same_state(server.parts, learned, now)
    assert_same_answers(server.parts, learned, now)
    # There was something to compare.
    assert max(learned.history.length(row) for row in range(learned.users.size)) > 3
    assert any(output.value is None and output.topic == "user-vectors" for output in outputs)
    assert sum(len(found) for found in candidates(learned).values()) > 50
    assert learned.cooccurrence.neighbours(learned.items.row_of("i1"), 9)[0].size > 3


@pytest.mark.parametrize("every", [1, 7, 100])
def test_many_small_frames_are_the_same_as_one(every: int) -> None:
    publisher, small, whole = RowPublisher(n_partitions=3), RowServer(), RowServer()
    outputs, events = [], scripted(5)
    for low in range(0, len(events), 50):
        outputs += publisher.learn(events[low : low + 50])
    outputs = shuffled_rows(outputs, np.random.default_rng(every))
    small.follow(outputs, every)
    whole.follow(outputs)
    assert_same_state(small.parts, whole.parts, events[-1].ts)
    assert_same_state(small.parts, publisher.parts, events[-1].ts)
    assert_same_answers(small.parts, publisher.parts, events[-1].ts)


# --- rows come and go ---


@pytest.mark.parametrize("max_items", [64, 4_096])
def test_rows_that_are_used_again_belong_to_their_new_owners(max_items: int) -> None:
    settings = make_settings(max_items=40, max_users=10, ttl_ms=60_000)
    publisher = RowPublisher(settings, n_partitions=2)
    server = RowServer(make_settings(max_items=max_items, max_users=16))
    events = [event for seed in (1, 2, 3) for event in renamed(scripted(seed), f"{seed % 2}-")]
    start = 1_700_000_000_000
    outputs: list[Output] = []
    for n, low in enumerate(range(0, len(events), 25)):
        late = [moved(event, start + n * 20_000) for event in events[low : low + 25]]
        outputs += publisher.learn([*late, Tick(ts=start + n * 20_000 + 19_000)])
    assert sum(output.topic == "item-vectors" and output.value is None for output in outputs) > 20
    assert sum(output.topic == "user-vectors" and output.value is None for output in outputs) > 20
    server.follow(shuffled_rows(outputs, np.random.default_rng(0)), every=30)
    mine, theirs = server.parts, publisher.parts
    names = known_items(theirs)
    users = [user for user in theirs.users.ids_of(theirs.users.live) if user is not None]
    assert known_items(mine) == names
    assert sorted(u for u in mine.users.ids_of(mine.users.live) if u is not None) == sorted(users)
    assert_same_tables(mine, theirs, names, users)
    for user in users:
        a, b = mine.users.row_of(user), theirs.users.row_of(user)
        still = set(names)
        ours = [name for name in names_of(mine, mine.history.clicked(a)) if name in still]
        told = [name for name in names_of(theirs, theirs.history.clicked(b)) if name in still]
        # With little room, items that were gone for a while are gone from histories, too.
        assert ours == [name for name in told if name in ours or max_items > 64]
    assert any("removed" in frame.get("history", {}) for frame in server.frames) == (max_items == 64)
    assert candidates(mine) == candidates(theirs)
    everywhere = mine.catalogue.servable(np.arange(mine.catalogue.size, dtype=np.int32), events[-1].ts)
    assert set(np.flatnonzero(everywhere).tolist()) <= set(mine.items.live.tolist())


def renamed(events: Sequence[LoggedEvent], prefix: str) -> list[LoggedEvent]:
    made: list[LoggedEvent] = []
    for event in events:
        if isinstance(event, Tick):
            continue
        changes: dict[str, Any] = {}
        for field in ("user_id", "item_id", "request_id"):
            if getattr(event, field, None) is not None:
                changes[field] = prefix + getattr(event, field)
        for field in ("items", "others"):
            if getattr(event, field, None) is not None:
                changes[field] = [prefix + name for name in getattr(event, field)]
        made.append(msgspec.structs.replace(event, **changes))
    return made


def moved(event: LoggedEvent, ts: int) -> LoggedEvent:
    return msgspec.structs.replace(event, ts=ts)


def test_a_removed_user_leaves_nothing_and_may_come_back() -> None:
    server = RowServer()
    server.follow([row_record("user-vectors", user_row("ann", "tea", clicks=3, more=bias(0.5)))])
    row = server.parts.users.row_of("ann")
    server.follow([Output("user-vectors", 0, None, b"ann")])
    parts = server.parts
    assert "ann" not in parts.users
    assert not parts.users.data[row].any()
    assert parts.history.length(row) == 0
    assert parts.mf.user_bias(np.array([row], np.int32)) == 0
    assert b"ann" not in pack(server.follower.snapshot())
    server.follow([Output("user-vectors", 0, None, b"bob"), row_record("user-vectors", user_row("bob"))])
    server.follow([row_record("user-vectors", user_row("ann", "mate"))])
    assert names_of(parts, parts.history.clicked(parts.users.row_of("ann"))) == [None]  # not in the table yet
    server.follow([row_record("item-vectors", item_row("mate"))])
    assert names_of(parts, parts.history.clicked(parts.users.row_of("ann"))) == ["mate"]
    assert parts.users.clicks[parts.users.row_of("ann")] == 0


@pytest.mark.parametrize("deletion", [None, encode_item(ItemEvent(item_id="tea", ts=9, deleted=True))])
@pytest.mark.parametrize("order", ["item first", "item last", "at once"])
def test_a_deleted_item_is_never_served(deletion: bytes | None, order: str) -> None:
    sent = Output("catalogue", 0, encode_item(ItemEvent(item_id="tea", ts=5)), b"tea")
    deleted, row = Output("catalogue", 0, deletion, b"tea"), row_record("item-vectors", item_row("tea"))
    outputs = {"item first": [row, sent, deleted], "item last": [sent, deleted, row], "at once": [sent, row]}
    server = RowServer()
    server.follow(outputs[order], every=9 if order == "at once" else 1)
    if order == "at once":
        assert is_served(server, "tea")
        server.follow([deleted])
    assert not is_served(server, "tea")
    server.follow([row_record("item-vectors", item_row("tea", clicks=7))])
    assert not is_served(server, "tea")


def is_served(server: RowServer, name: str) -> bool:
    parts = server.parts
    row = parts.items.row_of(name)
    return row >= 0 and bool(parts.catalogue.servable(np.array([row], np.int32), 1_000)[0])


def test_an_item_is_served_when_both_its_row_and_the_catalogue_have_it() -> None:
    server = RowServer()
    sent = Output("catalogue", 0, encode_item(ItemEvent(item_id="tea", ts=5, group="hot")), b"tea")
    server.follow([sent])
    assert not is_served(server, "tea")
    server.follow([row_record("item-vectors", item_row("tea", entered_at=3))])
    assert is_served(server, "tea")
    parts = server.parts
    assert parts.catalogue.entered_ms[parts.items.row_of("tea")] == 3
    server.follow([Output("item-vectors", 0, None, b"tea")])
    assert not parts.catalogue.known[: parts.catalogue.size].any()
    server.follow([row_record("item-vectors", item_row("tea", entered_at=8))])
    assert is_served(server, "tea")
    assert parts.catalogue.group_name(parts.items.row_of("tea")) == "hot"


def test_a_cluster_with_members_in_many_shards_keeps_the_new_and_the_best() -> None:
    settings = load_settings(
        environ={}, flags={"learn": {"embedding_dim": DIM}, "policy": {"edges_per_cluster": 4}}
    )
    server = RowServer(settings)
    rows = [
        PolicyRow(
            item_id=f"i{n}",
            parts={"graph": offered([0], [n], explored=n > 2)},
        )
        for n in range(8)
    ]
    server.follow([row_record("policy", row) for row in rows])
    graph = server.parts.graph
    server.follow([row_record("item-vectors", item_row(row.item_id)) for row in rows])
    assert sorted(map(str, names_of(server.parts, graph.candidates(np.zeros(1, np.int32))))) == [
        "i1", "i2", "i6", "i7",
    ]  # fmt: skip
    server.follow([Output("policy", 0, None, b"i7")])
    assert "i5" in names_of(server.parts, graph.candidates(np.zeros(1, np.int32)))


def test_edges_to_a_cluster_wait_until_its_centroid_is_there() -> None:
    publisher, server = RowPublisher(), RowServer()
    outputs = publisher.learn(scripted(1))
    control = [output for output in outputs if output.topic == "control"]
    server.follow([output for output in outputs if output.topic != "control"])
    assert candidates(server.parts).keys() == {0}
    server.follow(control)
    assert candidates(server.parts) == candidates(publisher.parts)
    assert len(candidates(server.parts)) > 1


def test_counts_of_rows_written_long_apart_are_compared_at_one_time() -> None:
    server, settings = RowServer(), make_settings()
    half_lives = list(settings.learn.half_lives_ms)
    day, pairs = half_lives[0], server.parts.cooccurrence.half_life_ms
    ages = {"old": 0, "middle": 70, "new": 200}
    rows = [
        item_row(
            name,
            parts={
                "popularity": popular(half_lives, [age * h for h in half_lives], [3.0, 5.0], clicks=9),
                "cooccurrence": near(pairs, ["tea"], [2.0], 8.0, reference=age * pairs),
            },
        )
        for name, age in ages.items()
    ]
    for order in (rows, rows[::-1]):
        server.follow([row_record("item-vectors", row) for row in order], every=1)
        at = server.parts.items.find(list(ages))
        now = 201 * day
        expected = [3.0 * 2.0 ** (age - 201) for age in ages.values()]
        np.testing.assert_allclose(server.parts.popularity.scores(now, 0, at), expected)
        assert names_of(server.parts, server.parts.popularity.top(3, 0)) == ["new", "middle", "old"]
        # The share of its pairs that a neighbour has does not fade.
        assert server.parts.cooccurrence.neighbours(int(at[2]), 5)[1].tolist() == [0.25]
