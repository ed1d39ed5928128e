"""What an embedded learner knows, published as rows by id and followed in any order, answers as it does."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from bandits import BetaThompson, Context, DiagLinUcb
from freshet.config import Settings, load_settings
from freshet.following import RowFollower
from freshet.parts import Parts, build_parts
from freshet.pipeline import Pipeline
from freshet.shards.publish import ControlRows, ItemRows, UserRows
from freshet.shards.rows import (
    ItemRow,
    Neighbours,
    PolicyRow,
    Popular,
    Progress,
    UserRow,
    decode_item_row,
    encode_control,
    encode_row,
)
from index import LiveIndex
from serving.decisions import Circumstances, DecisionMaker
from serving.item_index import ItemIndex
from serving.requests import RecommendRequest
from serving.settings import ServeSettings
from stream.block_codec import encode_item
from stream.engine.shard import Output
from stream.errors import FrameError
from stream.events import Click, Decision, Forget, ItemEvent, LoggedEvent, Tick
from stream.frame import Frame, pack, unpack
from stream.kafka.partitioning import partition_of
from stream.step import Step
from stream.testing import ScriptedEvents, drive

KEY = b"a key for tests, no secret"
DIM = 8


def make_settings(**learn: Any) -> Settings:
    return load_settings(
        environ={},
        flags={
            "learn": {
                "embedding_dim": DIM,
                "maintain_ms": 2_000,
                "max_items": 4_096,
                "max_users": 4_096,
                **learn,
            },
            "policy": {"centroids": 6, "others": ["uniform", "thompson", "epsilon_greedy"]},
        },
    )


SETTINGS = make_settings()


class Publisher:
    """An embedded learner whose parts are published as those of shards would be."""

    def __init__(self, settings: Settings = SETTINGS, n_partitions: int = 1) -> None:
        self.pipeline = Pipeline(settings, KEY)
        self.n_partitions = n_partitions
        parts = self.pipeline.parts
        self.rows = (UserRows(parts, 0), ItemRows(parts, 0, lambda _: 0), ControlRows(parts, 0))

    @property
    def parts(self) -> Parts:
        return self.pipeline.parts

    def learn(self, events: Sequence[LoggedEvent]) -> list[Output]:
        """What is written while these events are learned: the catalogue by JOIN, the rest by shards."""
        outputs = []
        for event in events:
            if isinstance(event, ItemEvent):
                value = None if event.deleted else encode_item(event)
                outputs.append(Output("catalogue", 0, value, event.item_id.encode()))
        drive(cast(Step, self.pipeline), events)
        return [self._placed(output) for output in [*outputs, *self.taken()]]

    def taken(self) -> list[Output]:
        return [self._placed(output) for rows in self.rows for output in rows.take()]

    def _placed(self, output: Output) -> Output:
        if output.topic == "control":
            return output
        return output._replace(partition=partition_of((output.key or b"").decode(), self.n_partitions))


def shuffled(outputs: Iterable[Output], rng: np.random.Generator) -> list[Output]:
    """In order within each partition of a topic, in any order otherwise."""
    queues: dict[tuple[str, int], deque[Output]] = {}
    for output in outputs:
        queues.setdefault((output.topic, output.partition), deque()).append(output)
    mixed = []
    while queues:
        names = sorted(queues)
        name = names[rng.integers(len(names))]
        mixed.append(queues[name].popleft())
        if not queues[name]:
            del queues[name]
    return mixed


class Server:
    """A serving worker's parts and what keeps them up to date."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.follower, self.parts = RowFollower(settings), build_parts(settings)
        self.frames: list[Frame] = []

    def follow(self, outputs: Sequence[Output], every: int = 0) -> None:
        every = every or max(1, len(outputs))
        for low in range(0, len(outputs), every):
            for output in outputs[low : low + every]:
                assert output.key is not None
                self.follower.add(output.topic, output.partition, output.key, output.value)
            self.apply()

    def apply(self) -> None:
        frame = unpack(pack(self.follower.take()))
        assert not frame.keys() - self.parts.named().keys()
        for name, part in self.parts.named().items():
            if frame.get(name):
                part.apply(frame[name])
        self.frames.append(frame)


def script(seed: int, n: int = 500) -> list[LoggedEvent]:
    n_features = build_parts(SETTINGS).ranker.n_features
    events = ScriptedEvents(seed, n_features=n_features).take(n)
    first = next(event for event in events if isinstance(event, ItemEvent))
    gone = [ItemEvent(item_id=f"i{item}", ts=events[-1].ts, deleted=True) for item in (3, 7)]
    late = [
        ItemEvent(
            item_id="late", ts=events[-1].ts, group="c", attributes={"title": "new"}, available_from=first.ts
        ),
        Click(ts=events[-1].ts, user_id="u1", item_id="never sent"),
    ]
    return [*events, *gone, *late, Tick(ts=events[-1].ts + 45 * 60_000)]


# --- what is compared, by id ---


def known(parts: Parts) -> list[str]:
    return sorted(name for name in parts.items.ids_of(parts.items.live) if name is not None)


def named(parts: Parts, rows: NDArray[np.int32]) -> list[str | None]:
    return parts.items.ids_of(rows)


def assert_same_state(mine: Parts, theirs: Parts, now: int) -> None:
    names, users = known(theirs), [u for u in theirs.users.ids_of(theirs.users.live) if u is not None]
    assert known(mine) == names
    assert sorted(mine.users.ids_of(mine.users.live), key=str) == sorted(users)
    assert_same_tables(mine, theirs, names, users)
    for name in names:
        assert_same_item(mine, theirs, name)
    for user in users:
        a, b = mine.users.row_of(user), theirs.users.row_of(user)
        assert named(mine, mine.history.clicked(a)) == named(theirs, theirs.history.clicked(b))
        np.testing.assert_array_equal(mine.history.recent_ts(a, 99), theirs.history.recent_ts(b, 99))
    at, them = mine.items.find(names), theirs.items.find(names)
    for h in range(2):
        np.testing.assert_allclose(mine.popularity.scores(now, h, at), theirs.popularity.scores(now, h, them))
    np.testing.assert_array_equal(mine.catalogue.servable(at, now), theirs.catalogue.servable(them, now))
    np.testing.assert_array_equal(mine.ranker.weights, theirs.ranker.weights)
    np.testing.assert_array_equal(mine.centroids.vectors, theirs.centroids.vectors)
    assert mine.measures.snapshot() == theirs.measures.snapshot()


def assert_same_tables(mine: Parts, theirs: Parts, names: list[str], users: list[str]) -> None:
    for table, other, ids in ((mine.items, theirs.items, names), (mine.users, theirs.users, users)):
        a, b = table.find(ids), other.find(ids)
        for column in ("data", "clicks", "impressions", "version", "touched_at"):
            np.testing.assert_array_equal(getattr(table, column)[a], getattr(other, column)[b])
    np.testing.assert_array_equal(
        mine.mf.item_bias(mine.items.find(names)), theirs.mf.item_bias(theirs.items.find(names))
    )
    np.testing.assert_array_equal(
        mine.mf.user_bias(mine.users.find(users)), theirs.mf.user_bias(theirs.users.find(users))
    )


def assert_same_item(mine: Parts, theirs: Parts, name: str) -> None:
    a, b = mine.items.row_of(name), theirs.items.row_of(name)
    rows, shares = mine.cooccurrence.neighbours(a, 100)
    other_rows, other_shares = theirs.cooccurrence.neighbours(b, 100)
    ours = dict(zip(named(mine, rows), shares.tolist(), strict=True))
    others = dict(zip(named(theirs, other_rows), other_shares.tolist(), strict=True))
    assert ours == pytest.approx(others)
    for x, y in zip(diag(mine).edges(a), diag(theirs).edges(b), strict=True):
        np.testing.assert_array_equal(x, y)
    assert diag(mine).shown(np.array([a])) == diag(theirs).shown(np.array([b]))
    np.testing.assert_array_equal(mine.graph.clusters_of(a), theirs.graph.clusters_of(b))
    for policy in ("thompson", "epsilon_greedy"):
        arms, other_arms = (
            cast(BetaThompson, mine.policies[policy]),
            cast(BetaThompson, theirs.policies[policy]),
        )
        assert arms.of(np.array([a], np.int32)) == other_arms.of(np.array([b], np.int32))
    if theirs.catalogue.known[b] and not theirs.catalogue.deleted[b]:
        assert mine.catalogue.attributes(a) == theirs.catalogue.attributes(b)
        assert mine.catalogue.group_name(a) == theirs.catalogue.group_name(b)
        assert mine.catalogue.entered_ms[a] == theirs.catalogue.entered_ms[b]


def diag(parts: Parts) -> DiagLinUcb:
    policy = parts.policies["diag_lin_ucb"]
    assert isinstance(policy, DiagLinUcb)
    return policy


def candidates(parts: Parts) -> dict[int, dict[str | None, float]]:
    """Scores by item of what the policy may choose in each cluster."""
    found = {}
    for cluster in [0, *parts.centroids.ids.tolist()]:
        context = Context(np.array([cluster], np.int32), np.ones(1, np.float32))
        rows = parts.graph.candidates(context.clusters)
        scores = diag(parts).ucb(context, rows)
        found[cluster] = dict(zip(named(parts, rows), scores.tolist(), strict=True))
    return found


def decisions(parts: Parts, now: int) -> list[Decision]:
    index = ItemIndex(LiveIndex(DIM, 4_096), parts.items, parts.catalogue)
    index.rebuild()
    # The ranker decides everything: a draw among equals would depend on row numbers.
    maker = DecisionMaker(parts, index, ServeSettings(), epsilon=0.0, seed=1)
    return [
        maker.decide(
            RecommendRequest(user_id=f"u{user}", k=12), Circumstances(f"r{user}", now, now, False, "")
        )
        for user in range(14)
    ]


def assert_same_answers(mine: Parts, theirs: Parts, now: int) -> None:
    assert candidates(mine) == candidates(theirs)
    for ours, other in zip(decisions(mine, now), decisions(theirs, now), strict=True):
        assert len(ours.items) == len(other.items) > 0
        assert ours.scores == pytest.approx(other.scores, abs=1e-6)
        assert ours.clusters == other.clusters
        # Of equal scores the lower row comes first, and rows are numbered otherwise.
        assert distinct(ours) == distinct(other)


def distinct(decision: Decision) -> dict[str, float]:
    """Items whose score no other has, and which a tie at the end could therefore not push out."""
    scores = [round(score, 6) for score in decision.scores or []]
    pairs = zip(decision.items, scores, strict=True)
    return {item: score for item, score in pairs if scores.count(score) == 1 and score != scores[-1]}


@pytest.mark.parametrize("n_partitions", [1, 3])
@pytest.mark.parametrize("seed", [1, 2])
def test_rows_followed_in_any_order_answer_as_the_learner_does(n_partitions: int, seed: int) -> None:
    publisher, server = Publisher(n_partitions=n_partitions), Server()
    events, rng = script(seed), np.random.default_rng(seed)
    outputs: list[Output] = []
    for low in range(0, len(events), 60):
        outputs += publisher.learn(events[low : low + 60])
    server.follow(shuffled(outputs, rng), every=int(rng.integers(20, 400)))
    now = events[-1].ts
    assert_same_state(server.parts, publisher.parts, now)
    assert_same_answers(server.parts, publisher.parts, now)


@pytest.mark.parametrize("every", [1, 7, 100])
def test_many_small_frames_are_the_same_as_one(every: int) -> None:
    publisher, small, whole = Publisher(n_partitions=3), Server(), Server()
    outputs, events = [], script(5)
    for low in range(0, len(events), 50):
        outputs += publisher.learn(events[low : low + 50])
    outputs = shuffled(outputs, np.random.default_rng(every))
    small.follow(outputs, every)
    whole.follow(outputs)
    assert_same_state(small.parts, whole.parts, events[-1].ts)
    assert_same_state(small.parts, publisher.parts, events[-1].ts)
    assert_same_answers(small.parts, publisher.parts, events[-1].ts)


# --- rows come and go ---


@pytest.mark.parametrize("max_items", [64, 4_096])
def test_rows_that_are_used_again_belong_to_their_new_owners(max_items: int) -> None:
    settings = make_settings(max_items=40, max_users=10, ttl_ms=60_000)
    publisher = Publisher(settings, n_partitions=2)
    server = Server(make_settings(max_items=max_items, max_users=16))
    events = [event for seed in (1, 2, 3) for event in renamed(script(seed), f"{seed % 2}-")]
    start = 1_700_000_000_000
    outputs: list[Output] = []
    for n, low in enumerate(range(0, len(events), 25)):
        late = [moved(event, start + n * 20_000) for event in events[low : low + 25]]
        outputs += publisher.learn([*late, Tick(ts=start + n * 20_000 + 19_000)])
    assert sum(output.topic == "item-vectors" and output.value is None for output in outputs) > 20
    assert sum(output.topic == "user-vectors" and output.value is None for output in outputs) > 20
    server.follow(shuffled(outputs, np.random.default_rng(0)), every=30)
    mine, theirs = server.parts, publisher.parts
    names = known(theirs)
    users = [user for user in theirs.users.ids_of(theirs.users.live) if user is not None]
    assert known(mine) == names
    assert sorted(u for u in mine.users.ids_of(mine.users.live) if u is not None) == sorted(users)
    assert_same_tables(mine, theirs, names, users)
    for user in users:
        a, b = mine.users.row_of(user), theirs.users.row_of(user)
        still = set(names)
        ours = [name for name in named(mine, mine.history.clicked(a)) if name in still]
        told = [name for name in named(theirs, theirs.history.clicked(b)) if name in still]
        # With little room, items that were gone for a while are gone from histories, too.
        assert ours == [name for name in told if name in ours or max_items > 64]
    assert any("gone" in frame.get("history", {}) for frame in server.frames) == (max_items == 64)
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


def user(name: str, *clicked: str, **more: Any) -> UserRow:
    vector = np.full(DIM, float(len(clicked)), "<f4").tobytes()
    times = np.arange(len(clicked)).astype("<i8").tobytes()
    return UserRow(user_id=name, vector=vector, recent=list(clicked), recent_at=times, **more)


def item(name: str, **more: Any) -> ItemRow:
    return ItemRow(item_id=name, vector=np.ones(DIM, "<f4").tobytes(), **more)


POPULAR = Popular(half_lives_ms=[5], reference=bytes(8), weights=bytes(8))


def record(topic: str, row: UserRow | ItemRow | PolicyRow, partition: int = 0) -> Output:
    key = row.user_id if isinstance(row, UserRow) else row.item_id
    return Output(topic, partition, encode_row(row), key.encode())


def test_a_removed_user_leaves_nothing_and_may_come_back() -> None:
    server = Server()
    server.follow([record("user-vectors", user("ann", "tea", clicks=3, bias=0.5))])
    row = server.parts.users.row_of("ann")
    server.follow([Output("user-vectors", 0, None, b"ann")])
    parts = server.parts
    assert "ann" not in parts.users
    assert not parts.users.data[row].any()
    assert parts.history.length(row) == 0
    assert parts.mf.user_bias(np.array([row], np.int32)) == 0
    assert b"ann" not in pack(server.follower.snapshot())
    server.follow([Output("user-vectors", 0, None, b"bob"), record("user-vectors", user("bob"))])
    server.follow([record("user-vectors", user("ann", "mate"))])
    assert named(parts, parts.history.clicked(parts.users.row_of("ann"))) == [None]  # not in the table yet
    server.follow([record("item-vectors", item("mate"))])
    assert named(parts, parts.history.clicked(parts.users.row_of("ann"))) == ["mate"]
    assert parts.users.clicks[parts.users.row_of("ann")] == 0


@pytest.mark.parametrize("deletion", [None, encode_item(ItemEvent(item_id="tea", ts=9, deleted=True))])
@pytest.mark.parametrize("order", ["item first", "item last", "at once"])
def test_a_deleted_item_is_never_served(deletion: bytes | None, order: str) -> None:
    sent = Output("catalogue", 0, encode_item(ItemEvent(item_id="tea", ts=5)), b"tea")
    deleted, row = Output("catalogue", 0, deletion, b"tea"), record("item-vectors", item("tea"))
    outputs = {"item first": [row, sent, deleted], "item last": [sent, deleted, row], "at once": [sent, row]}
    server = Server()
    server.follow(outputs[order], every=9 if order == "at once" else 1)
    if order == "at once":
        assert is_served(server, "tea")
        server.follow([deleted])
    assert not is_served(server, "tea")
    server.follow([record("item-vectors", item("tea", clicks=7))])
    assert not is_served(server, "tea")


def is_served(server: Server, name: str) -> bool:
    parts = server.parts
    row = parts.items.row_of(name)
    return row >= 0 and bool(parts.catalogue.servable(np.array([row], np.int32), 1_000)[0])


def test_an_item_is_served_when_both_its_row_and_the_catalogue_have_it() -> None:
    server = Server()
    sent = Output("catalogue", 0, encode_item(ItemEvent(item_id="tea", ts=5, group="hot")), b"tea")
    server.follow([sent])
    assert not is_served(server, "tea")
    server.follow([record("item-vectors", item("tea", entered_at=3))])
    assert is_served(server, "tea")
    parts = server.parts
    assert parts.catalogue.entered_ms[parts.items.row_of("tea")] == 3
    server.follow([Output("item-vectors", 0, None, b"tea")])
    assert not parts.catalogue.known[: parts.catalogue.size].any()
    server.follow([record("item-vectors", item("tea", entered_at=8))])
    assert is_served(server, "tea")
    assert parts.catalogue.group_name(parts.items.row_of("tea")) == "hot"


def test_a_cluster_with_members_in_many_shards_keeps_the_new_and_the_best() -> None:
    settings = load_settings(
        environ={}, flags={"learn": {"embedding_dim": DIM}, "policy": {"edges_per_cluster": 4}}
    )
    server = Server(settings)
    rows = [
        PolicyRow(
            item_id=f"i{n}",
            shown=0 if n in (0, 1, 2) else 5,
            serving=np.zeros(1, "<i4").tobytes(),
            affinities=np.array([n], "<f4").tobytes(),
        )
        for n in range(8)
    ]
    server.follow([record("policy", row) for row in rows])
    graph = server.parts.graph
    server.follow([record("item-vectors", item(row.item_id)) for row in rows])
    assert sorted(map(str, named(server.parts, graph.candidates(np.zeros(1, np.int32))))) == [
        "i1", "i2", "i6", "i7",
    ]  # fmt: skip
    server.follow([Output("policy", 0, None, b"i7")])
    assert "i5" in named(server.parts, graph.candidates(np.zeros(1, np.int32)))


def test_edges_to_a_cluster_wait_until_its_centroid_is_there() -> None:
    publisher, server = Publisher(), Server()
    outputs = publisher.learn(script(1))
    control = [output for output in outputs if output.topic == "control"]
    server.follow([output for output in outputs if output.topic != "control"])
    assert candidates(server.parts).keys() == {0}
    server.follow(control)
    assert candidates(server.parts) == candidates(publisher.parts)
    assert len(candidates(server.parts)) > 1


# --- what cannot be read ---


@pytest.mark.parametrize(
    ("topic", "key", "value", "says"),
    [
        ("user-vectors", b"ann", b"\xc1", "not a frame"),
        ("user-vectors", b"ann", encode_row(item("ann")), "expected a row of kind 'user', got kind 'item'"),
        ("user-vectors", b"ann", encode_row(user("bob")), "the row is of 'bob'"),
        ("user-vectors", b"ann", encode_row(UserRow(user_id="ann", vector=bytes(12))), "dim: expected 8"),
        ("user-vectors", b"ann", encode_row(user("ann", layout=9)), "version 9"),
        ("user-vectors", b"ann", encode_row(UserRow(user_id="ann", vector=b"", recent=["a"])), "length"),
        ("user-vectors", b"\xff", encode_row(user("ann")), "utf-8"),
        (
            "item-vectors",
            b"tea",
            encode_row(item("tea", popularity=POPULAR)),
            "half_lives_ms: expected",
        ),
        ("item-vectors", b"tea", encode_row(item("tea", neighbours=Neighbours(half_life_ms=5))), "half-life"),
        ("policy", b"tea", encode_row(PolicyRow(item_id="tea", clusters=bytes(4))), "length"),
        ("catalogue", b"tea", encode_item(ItemEvent(item_id="mate", ts=1)), "the row is of 'mate'"),
        ("control", b"ranker", encode_control("ranker", {"names": ["a"]}), "features of the ranker"),
        ("control", b"ranker", encode_control("ranker", {}), "lacks something"),
        ("control", b"centroids", encode_control("centroids", {"ids": 5}), "lacks something"),
        ("events", b"tea", b"", "expected one of the topics"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_and_the_rest_goes_on(topic: str, key: bytes, value: bytes, says: str) -> None:
    server = Server()
    server.follower.add("item-vectors", 0, b"good", encode_row(item("good")))
    with pytest.raises(FrameError, match="^" + re.escape(f"{topic}/3, key {key!r}: ")) as caught:
        server.follower.add(topic, 3, key, value)
    assert says in str(caught.value)
    server.apply()
    assert "good" in server.parts.items


def test_more_ids_than_rows_are_refused_and_counted() -> None:
    server = Server(make_settings(max_items=8, max_users=8))
    server.follow([record("item-vectors", item(f"i{n}")) for n in range(12)])
    server.follow([record("user-vectors", user(f"u{n}", "i1", "i11", "i2")) for n in range(12)])
    parts = server.parts
    assert len(parts.items) == len(parts.users) == 8
    assert named(parts, parts.history.clicked(parts.users.row_of("u1"))) == ["i1", "i2"]
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
    assert (follower.absorbed_at, follower.watermark, follower.items_absorbed_at) == (40, 5, 0)


def test_a_follower_and_a_publisher_go_on_where_their_snapshots_were_taken() -> None:
    events, rng = script(4), np.random.default_rng(4)
    publisher, server = Publisher(n_partitions=3), Server()
    half = len(events) // 2
    server.follow(shuffled(publisher.learn(events[:half]), rng))
    frame = unpack(pack({"follower": server.follower.snapshot(), "parts": server.parts.snapshot()}))
    learned = unpack(
        pack(
            {"step": publisher.pipeline.snapshot(), "rows": [rows.snapshot() for rows in publisher.rows[:2]]}
        )
    )
    again, revived = Server(), Publisher(n_partitions=3)
    again.parts.restore(frame["parts"])
    again.follower.restore(frame["follower"])
    revived.pipeline.restore(learned["step"])
    for rows, state in zip(revived.rows[:2], learned["rows"], strict=True):
        rows.restore(state)
    rest = revived.learn(events[half:])
    assert rest == publisher.learn(events[half:])
    again.follow(shuffled(rest, rng), every=40)
    assert_same_state(again.parts, publisher.parts, events[-1].ts)
    assert_same_answers(again.parts, publisher.parts, events[-1].ts)


def test_ids_that_left_before_a_snapshot_and_were_not_taken_yet_are_still_deleted() -> None:
    publisher = Publisher()
    publisher.learn([Click(ts=1, user_id="ann", item_id="tea"), Click(ts=2, user_id="bob", item_id="tea")])
    publisher.pipeline.on_events([Forget(user_id="ann", ts=3)])
    frame = unpack(
        pack(
            {"step": publisher.pipeline.snapshot(), "rows": [rows.snapshot() for rows in publisher.rows[:2]]}
        )
    )
    revived = Publisher()
    revived.pipeline.restore(frame["step"])
    for rows, state in zip(revived.rows[:2], frame["rows"], strict=True):
        rows.restore(state)
    assert Output("user-vectors", 0, None, b"ann") in revived.taken()


def test_a_shard_publishes_its_own_items_only() -> None:
    pipeline = Pipeline(SETTINGS, KEY)
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
    near = decode_item_row(tea).neighbours
    assert near is not None
    assert set(near.ids) == {"cola", "mate"}
