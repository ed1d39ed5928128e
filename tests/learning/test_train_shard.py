"""TRAIN as a step of a shard: a ring of bytes, forgetting, and the take-over of the ranker."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from itertools import islice

import msgspec
import numpy as np

from learners import Ranker
from learning.rows.codec import decode_control
from learning.settings import LearningSettings
from learning.shards.train import TrainShard
from learning.shards.users import UsersShard
from stream.block_codec import decode_segment, encode_segment
from stream.blocks import CLICK, CLOSED, SHOWN, FeedbackBlock, Forgotten, Segment, Slate
from stream.engine.shard import Output, SourceRecord
from stream.frame import pack, unpack
from stream.item_blocks import Ticked
from stream.open_lists import OpenList, OpenLists
from stream.testing_shard import ShardStepContract
from stream.training import HandedOver, TrainingLists
from tests.harness.chain import Chain, batches, logged_world
from tests.learning.test_shard_steps import N_FEATURES, SETTINGS, give


class TestTrainShard(ShardStepContract):
    def make_step(self) -> TrainShard:
        return TrainShard(0, SETTINGS, 2)

    def records(self) -> list[SourceRecord]:
        chain = Chain(SETTINGS, 2)
        world = logged_world(5, n_users=60, n_items=40, n_features=N_FEATURES)
        for batch in batches(islice(world, 600), 20):
            chain.feed(batch)
        values = [record.value for record in chain.topics["training", 0]]
        user = next(
            s.users[0] for s in map(decode_segment, values) if isinstance(s, TrainingLists) and s.users
        )
        values.insert(len(values) // 2, encode_segment(Forgotten(user, 1_700_000_003_000)))
        return [SourceRecord(n, value) for n, value in enumerate(values)]

    def meaning(self, outputs: Sequence[Output]) -> object:
        return {(output.topic, output.key): output.value for output in outputs}


def slate(request: str, user: str = "ann", ts: int = 100) -> Slate:
    """A decided list of two items and one other, whose second item stands out."""
    features = np.zeros((3, N_FEATURES), "<f4")
    features[1] = 0.5
    return Slate(
        request_id=request, user_id=user, ts=ts, items=["tea", "mate"], others=["milk"], decided=True,
        policy="uniform", features=features.tobytes(),
    )  # fmt: skip


def block(*slates: Slate, kind: int) -> FeedbackBlock:
    """The same operation on each of them."""
    n, is_click = len(slates), kind == CLICK
    return FeedbackBlock(
        list(slates), [], [kind] * n, list(range(n)), [1 if is_click else -1] * n, [float(is_click)] * n,
        [is_click] * n, [one.ts for one in slates],
    )  # fmt: skip


def trained(*segments: Segment, mb: int = 512) -> tuple[UsersShard, TrainShard]:
    """A users' partition 0 that has learned these, and TRAIN behind it."""
    learn = msgspec.structs.replace(SETTINGS.learn, training_mb=mb)
    users, train = (
        UsersShard(0, lambda _: 0, SETTINGS, 1),
        TrainShard(0, msgspec.structs.replace(SETTINGS, learn=learn), 1),
    )
    pass_on(users, train, *segments)
    return users, train


def pass_on(users: UsersShard, train: TrainShard, *segments: Segment) -> None:
    give(users, *segments)
    train.on_records([SourceRecord(0, o.value or b"") for o in users.take() if o.topic == "training"])


def published(train: TrainShard) -> dict[str, object]:
    """The ranker's row, if there is one."""
    rows = [decode_control(output.value or b"")[1] for output in train.take() if output.topic == "control"]
    return rows[-1] if rows else {}


def test_a_click_refers_to_a_list_of_another_record_until_its_window_is_over() -> None:
    one = slate("r")
    users, train = trained(block(one, kind=SHOWN))
    pass_on(users, train, block(one, kind=CLICK), block(one, kind=CLOSED), block(one, kind=CLICK))
    assert (train.parts.ranker.steps, train.n_missed, len(train.lists)) == (1, 1, 0)
    assert published(train)["steps"] == 1


def test_the_ring_is_bounded_in_bytes_and_the_oldest_close_as_they_are() -> None:
    lists = OpenLists(1 << 20)
    for n in range(1_000):
        lists.put(f"r{n}", OpenList(f"u{n}", n, "", 10, 90, bytes(2_000)))
    assert 0.99 < lists.n_bytes / (1 << 20) <= 1
    assert len(lists) + lists.n_closed_early == 1_000
    assert lists.get("r999") is not None and lists.get("r0") is None


def test_a_click_on_a_list_that_closed_early_is_counted_and_teaches_nothing() -> None:
    wide, n_candidates = [slate(f"r{n}") for n in range(3)], 250_000 // N_FEATURES  # half a megabyte each
    for one in wide:
        one.others, one.features = ["x"] * (n_candidates - 2), bytes(4 * n_candidates * N_FEATURES)
    _, train = trained(block(*wide, kind=SHOWN), block(*wide, kind=CLICK), mb=1)
    assert train.counters == {"lists closed early": 1, "clicks missed": 1}


def test_a_forget_goes_into_the_topic_the_ring_and_the_snapshot_and_names_nobody() -> None:
    ann, bob = slate("r1", "zz-ann"), slate("r2", "bob")
    users, train = trained(block(ann, bob, kind=SHOWN))
    hashed = train.lists.get("r1").user.encode()  # type: ignore[union-attr]
    give(users, Forgotten("zz-ann", 100), block(ann, bob, kind=CLICK))
    topic = [output.value or b"" for output in users.take() if output.topic == "training"]
    assert Forgotten(hashed.decode(), 100) in map(decode_segment, topic)
    assert b"zz-ann" not in b"".join(topic)
    train.on_records([SourceRecord(0, value) for value in topic])
    assert (len(train.lists), train.parts.ranker.steps) == (1, 1)
    state = pack(train.snapshot())
    assert b"r2" in state and not any(what in state for what in (b"zz-ann", hashed, b"r1"))


def test_the_ring_takes_no_more_memory_than_its_bound_which_is_half_a_gigabyte_unless_told_otherwise() -> (
    None
):
    assert LearningSettings().learn.training_mb == 512
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    lists = OpenLists(4 << 20)
    for n in range(20_000):
        lists.put(f"request-{n}", OpenList(f"{n:032x}", 1_700_000_000_000 + n, "", 10, 0, bytes(100)))
        if not n % 5:
            lists.get(f"request-{n}").add(n % 10, 1.0)  # type: ignore[union-attr]
    took = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 2_000 < len(lists) == 20_000 - lists.n_closed_early and took <= 4 << 20


def test_nothing_is_published_until_the_owner_before_has_handed_the_ranker_over() -> None:
    one = slate("r")
    users = UsersShard(1, lambda _: 0, SETTINGS, 2)
    train = TrainShard(0, SETTINGS, 2)
    pass_on(users, train, block(one, kind=SHOWN), block(one, kind=CLICK))
    assert train.parts.ranker.steps == 1 and published(train) == {}
    fresh = UsersShard(0, lambda _: 0, SETTINGS, 2)
    pass_on(fresh, train, block(one, kind=CLOSED))
    assert published(train)["steps"] == 1


def test_what_an_older_program_had_learned_is_handed_over_once_though_a_take_over_emits_nothing() -> None:
    before = UsersShard(0, lambda _: 0, SETTINGS, 1)
    ranker = before.parts.ranker
    ranker.weights[:], ranker.steps = 7.5, 40
    old = unpack(pack(before.snapshot()))
    del old["handed_over"]
    users, train = UsersShard(0, lambda _: 0, SETTINGS, 1), TrainShard(0, SETTINGS, 2)
    users.restore(old)
    give(users, block(slate("r"), kind=SHOWN))
    users.take()  # run again at the take-over: it stands in the commits of the program before
    users._maintain(1)
    pass_on(users, train)
    assert (train.parts.ranker.weights.tolist(), train.parts.ranker.steps) == ([7.5] * N_FEATURES, 40)
    click(train.parts.ranker)
    users._maintain(2)
    pass_on(users, train)
    assert train.parts.ranker.steps == 41


def test_it_is_as_far_as_the_owner_of_users_that_is_farthest_behind_and_says_so_behind_the_weights() -> None:
    owners = [UsersShard(p, lambda _: 0, SETTINGS, 2) for p in (0, 1)]
    train, one = TrainShard(0, SETTINGS, 2), slate("r")
    pass_on(owners[0], train, block(one, kind=SHOWN), Ticked(0, 9_000, 8_000), Ticked(1, 9_000, 8_000))
    assert b"progress/train" not in [output.key for output in train.take()]
    pass_on(owners[1], train, Ticked(0, 7_000, 6_000), Ticked(1, 7_000, 6_000))
    pass_on(owners[0], train, block(one, kind=CLICK))
    weights, mark = train.take()
    assert (weights.key, decode_control(mark.value or b"")) == (
        b"ranker/train", ("progress", {"absorbed_at": 7_000, "watermark": 6_000}),
    )  # fmt: skip


def test_its_mark_falls_where_time_was_wrong_and_outlasts_a_restart() -> None:
    owner, before = UsersShard(0, lambda _: 0, SETTINGS, 1), TrainShard(0, SETTINGS, 1)
    pass_on(owner, before, Ticked(0, 9_000, 8_000))
    train = TrainShard(0, SETTINGS, 1)
    before.take()
    train.restore(unpack(pack(before.snapshot())))
    assert train.take() == []
    pass_on(owner, train, Ticked(0, 50, 40, rewinds=True))
    assert [decode_control(output.value or b"")[1] for output in train.take()] == [
        {"absorbed_at": 50, "watermark": 40}
    ]


def click(ranker: Ranker) -> None:
    """Learn one click."""
    ranker.steps += 1


def test_a_hand_over_that_cannot_be_read_is_a_dead_letter() -> None:
    train = TrainShard(0, SETTINGS, 2)
    before = pack(train.snapshot())
    give(train, HandedOver({"ranker": {"steps": 1, "names": ["taste"], "weights": np.full(1, np.nan)}}))
    assert [output.topic for output in train.take()] == ["dead-letters"]
    assert pack(train.snapshot()) == before


def test_what_measures_made_of_notes_here_outlasts_a_restart() -> None:
    before, after = (TrainShard(0, SETTINGS, 1) for _ in range(2))
    before.parts.measures["part_notes"].read({"mine": {"alarms": np.array(3)}})
    after.restore(unpack(pack(before.snapshot())))
    assert after.parts.measures["part_notes"].of("mine", "alarms") == {"value": 3.0}
