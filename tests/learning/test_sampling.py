"""TRAIN is given a share of the lists without a click where it cannot keep up, and learns the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest

from learners import Part, RowBlock
from learning.shards.metrics import Running, WorkerMetrics
from learning.shards.sampling import MOST_BEHIND_MS, SamplingRate, drawn
from learning.shards.train import TrainShard
from learning.shards.users import UsersShard
from stream.block_codec import decode_segment, encode_segment
from stream.blocks import CLICK, CLOSED, SHOWN, FeedbackBlock, Slate
from stream.clock import ManualClock
from stream.engine.shard import Output, Shard, SourceRecord
from stream.engine.shard_memory import MemoryPartition, MemoryShardStore
from stream.errors import FrameError
from stream.frame import pack, unpack
from stream.training import Sampled, TrainingLists
from tests.harness.blocks import told
from tests.harness.chain import Chain, batches, logged_world
from tests.learning.test_shard_steps import N_FEATURES, SETTINGS, TestUsersShard, give
from tests.learning.test_train_shard import TestTrainShard, block, pass_on, slate

RATE = 0.25
PLANTED = 5  # features that carry something


def sample(chain: Chain, rate: float) -> None:
    """Tell all owners of users."""
    for partition in range(chain.n):
        records = chain.topics["feedback", partition]
        records.append(SourceRecord(len(records), encode_segment(Sampled(rate))))


def played(rate: float) -> Chain:
    """600 events, of which the middle half is passed on at that rate."""
    chain = Chain(SETTINGS, 2)
    world = batches(islice(logged_world(5, n_users=60, n_items=40, n_features=N_FEATURES), 600), 20)
    for number, batch in enumerate(world):
        if number in (6, 24):
            sample(chain, rate if number == 6 else 1.0)
        chain.feed(batch)
    return chain


class TestSampledUsersShard(TestUsersShard):
    def records(self) -> list[SourceRecord]:
        values = [record.value for record in super().records()]
        for share, rate in ((0.25, 0.5), (0.5, RATE), (0.75, 1.0)):
            values.insert(int(share * len(values)), encode_segment(Sampled(rate)))
        return [SourceRecord(n, value) for n, value in enumerate(values)]


class TestSampledTrainShard(TestTrainShard):
    def records(self) -> list[SourceRecord]:
        return played(RATE).topics["training", 0]


def lists_in(outputs: Sequence[Output]) -> list[TrainingLists]:
    segments = [decode_segment(output.value or b"") for output in outputs if output.topic == "training"]
    return [segment for segment in segments if isinstance(segment, TrainingLists)]


# -- the writer ----------------------------------------------------------------------------


def test_which_lists_are_kept_depends_on_their_requests_alone() -> None:
    requests = [f"r{n}" for n in range(2_000)]
    shard = UsersShard(0, lambda _: 0, SETTINGS, 1)
    give(shard, Sampled(RATE), *[block(slate(request), kind=SHOWN) for request in requests])
    kept = [row[0] for lists in lists_in(shard.take()) for row in told(lists)]
    assert kept == [one for one, draw in zip(requests, drawn(requests), strict=True) if draw < RATE]
    assert len(kept) / 2_000 == pytest.approx(RATE, abs=0.03)


def test_a_click_on_a_list_that_was_left_out_brings_it_whole_also_after_the_rate_has_risen() -> None:
    left_out = slate(next(f"r{n}" for n in range(99) if drawn([f"r{n}"])[0] >= RATE))
    users, train = UsersShard(0, lambda _: 0, SETTINGS, 1), TrainShard(0, SETTINGS, 1)
    pass_on(users, train, Sampled(RATE), block(left_out, kind=SHOWN), Sampled(1.0))
    assert len(train.lists) == 0
    again = UsersShard(0, lambda _: 0, SETTINGS, 1)
    again.restore(unpack(pack(users.snapshot())))
    pass_on(again, train, block(left_out, left_out, kind=CLICK))
    assert (train.parts.ranker.steps, train.n_missed, len(train.lists)) == (2, 0, 1)
    half = np.frombuffer(left_out.features, "<f4").astype("<f2").tobytes()
    assert train.lists.get(left_out.request_id).half == half  # type: ignore[union-attr]


def test_where_nothing_is_left_out_the_bytes_are_those_of_before_there_was_a_rate() -> None:
    shard = UsersShard(0, lambda _: 0, SETTINGS, 1)
    frame = shard.snapshot()
    del frame["training"]
    shard.restore(frame)
    give(shard, block(slate("r"), kind=SHOWN))
    values = [output.value or b"" for output in shard.take() if output.topic == "training"]
    assert "rates" not in unpack(values[-1])["columns"]
    assert decode_segment(values[-1]).rates.tolist() == [1.0]  # type: ignore[union-attr]


# -- what is learned -----------------------------------------------------------------------


def test_the_ranker_has_the_same_bits_at_a_quarter_and_a_fraction_of_the_lists() -> None:
    whole, part = played(1.0), played(RATE)
    ours, theirs = part.train.parts.ranker, whole.train.parts.ranker
    assert ours.steps == theirs.steps > 0 and ours.weights.tobytes() == theirs.weights.tobytes()
    n_shown = [
        sum(row[1] == SHOWN for record in chain.topics["training", 0] for row in _rows(record))
        for chain in (whole, part)
    ]
    assert n_shown[1] < 0.9 * n_shown[0]


def _rows(record: SourceRecord) -> list[Any]:
    segment = decode_segment(record.value)
    return told(segment) if isinstance(segment, TrainingLists) else []


class Odds(Part):
    """Log-odds of a click by feature: the logistic model over one-hot features, in closed form."""

    def __init__(self) -> None:
        self.clicked, self.weighed, self.plain = (np.zeros(PLANTED) for _ in range(3))

    def learn_lists(self, block: RowBlock) -> None:
        for o in np.flatnonzero(block.kind == CLOSED).tolist():
            place = block.start[block.slate[o]]
            seen = block.rank_features[place, :PLANTED]
            if block.rewards[place]:
                self.clicked += seen
            else:
                self.weighed += seen * block.stands_for[o]
                self.plain += seen


def test_log_odds_that_are_learned_at_a_quarter_are_those_that_were_planted() -> None:
    rng, n = np.random.default_rng(1), 40_000
    planted = np.linspace(-3.5, -1.5, PLANTED)
    which = rng.integers(PLANTED, size=n)
    is_clicked = rng.random(n) < 1 / (1 + np.exp(-planted[which]))
    eye = np.eye(PLANTED, N_FEATURES, dtype="<f4")
    slates = [
        Slate(
            request_id=f"r{k}", user_id="ann", ts=100, items=["tea"], decided=True, policy="uniform",
            features=eye[which[k]].tobytes(),
        )
        for k in range(n)
    ]  # fmt: skip
    users, train = UsersShard(0, lambda _: 0, SETTINGS, 1), TrainShard(0, SETTINGS, 1)
    odds = train.parts.more["odds"] = Odds()
    shown, clicked = slates, [one for one, is_one in zip(slates, is_clicked.tolist(), strict=True) if is_one]
    give(users, Sampled(RATE), *[ops(some, kind) for kind, some in ((0, shown), (1, clicked), (2, shown))])
    train.on_records([SourceRecord(0, o.value or b"") for o in users.take() if o.topic == "training"])
    np.testing.assert_allclose(np.log(odds.clicked / odds.weighed), planted, atol=0.15)
    # The correction of a model that was fitted without weights is the logarithm of the rate.
    np.testing.assert_allclose(np.log(odds.clicked / odds.plain) + math.log(RATE), planted, atol=0.15)
    assert odds.clicked.sum() == is_clicked.sum()


def ops(slates: Sequence[Slate], kind: int) -> FeedbackBlock:
    n, is_click = len(slates), kind == CLICK
    return FeedbackBlock(
        list(slates), [], [kind] * n, list(range(n)), [0 if is_click else -1] * n, [float(is_click)] * n,
        [is_click] * n, [one.ts for one in slates],
    )  # fmt: skip


# -- the rate ------------------------------------------------------------------------------


class Queue:
    """A log that grows, and TRAIN reading it: a list costs one, and so many are carried in a second."""

    def __init__(self, capacity: float) -> None:
        self.capacity, self.now_ms, self.read_ms = capacity, 0, 0
        self.costs: list[float] = []  # of what was written, by tenth of a second

    def run(self, seconds: float, lists: float, rates: SamplingRate) -> list[float]:
        """So many lists come in a second, 5 % of them clicked; how far behind it was, at each look."""
        behind: list[float] = []
        left = 0.0
        for step in range(int(10 * seconds)):
            self.costs.append(lists / 10 * (0.05 + 0.95 * rates.rate))
            self.now_ms += 100
            left += self.capacity / 10
            while self.read_ms < self.now_ms and left >= self.costs[self.read_ms // 100]:
                left -= self.costs[self.read_ms // 100]
                self.read_ms += 100
            left = left if self.read_ms < self.now_ms else 0.0
            if step % 20 == 0:
                behind.append(self.now_ms - self.read_ms)
                rates.look(self.now_ms, behind[-1])
        return behind


@pytest.mark.parametrize("lists", [450.0, 1_000.0, 3_000.0])
def test_the_rate_is_found_that_keeps_train_within_five_seconds(lists: float) -> None:
    queue, rates = Queue(300.0), SamplingRate()
    queue.run(600, lists, rates)
    assert max(queue.run(1_200, lists, rates)) <= MOST_BEHIND_MS
    carried = (300 / lists - 0.05) / 0.95
    assert carried / 4 < rates.rate < 1.5 * carried


def test_with_room_again_everything_is_kept() -> None:
    queue, rates = Queue(300.0), SamplingRate()
    queue.run(120, 1_000.0, rates)
    assert rates.rate < 0.5
    queue.run(600, 100.0, rates)
    assert rates.rate == 1.0


def test_a_backlog_that_is_worked_off_and_a_pause_of_a_moment_change_nothing() -> None:
    rates = SamplingRate()
    worked_off = [rates.look(2_000 * n, max(600_000 - 4_000 * n, 0)) for n in range(200)]
    pause = [rates.look(500_000 + 2_000 * n, lag) for n, lag in enumerate((100, 4_000, 100, 3_000, 100))]
    assert not any(worked_off + pause) and rates.rate == 1.0


def test_owners_of_users_are_told_of_the_rate_and_whoever_takes_over_goes_on_from_it() -> None:
    train = TrainShard(0, SETTINGS, 2)
    train.on_records([SourceRecord(0, encode_segment(Sampled(0.5)), at=1_000)])
    assert [train.keeps_up(now, at_end=False) for now in (4_000, 6_000)] == [None, 0.03125]
    told = [(o.topic, o.partition, decode_segment(o.value or b"")) for o in train.take()]
    assert told == [("feedback", 0, Sampled(0.03125)), ("feedback", 1, Sampled(0.03125))]
    users, again = UsersShard(0, lambda _: 0, SETTINGS, 2), TrainShard(0, SETTINGS, 2)
    pass_on(users, train, told[0][2])
    again.restore(unpack(pack(train.snapshot())))
    assert again.rate == 0.03125


def test_the_rate_is_told_as_a_gauge() -> None:
    train = TrainShard(0, SETTINGS, 1)
    train.on_records([SourceRecord(0, encode_segment(Sampled(RATE)))])
    shard = Shard(train, MemoryShardStore(MemoryPartition()), ManualClock())
    metrics = WorkerMetrics(lambda: [Running("train", 0, shard)], lambda: 0)
    samples = [one for family in metrics.collect() for one in family.samples]
    assert [one.value for one in samples if one.name == "freshet_train_rate"] == [RATE]


@pytest.mark.parametrize("rates", [[2.0], [-0.5], [np.nan], [1.0, 1.0]])
def test_rates_that_cannot_be_are_refused(rates: list[float]) -> None:
    shard = UsersShard(0, lambda _: 0, SETTINGS, 1)
    give(shard, block(slate("r"), kind=SHOWN))
    (lists,) = lists_in(shard.take())
    frame = unpack(encode_segment(lists))
    frame["columns"]["rates"] = np.array(rates, np.float32)
    with pytest.raises(FrameError, match="do not fit"):
        decode_segment(pack(frame))


@pytest.mark.parametrize("rate", [0.0, 1.5, True, "1", np.nan])
def test_a_rate_that_cannot_be_is_refused(rate: object) -> None:
    frame: Any = {**unpack(encode_segment(Sampled(1.0))), "rate": rate}
    with pytest.raises(FrameError, match="expected a rate"):
        decode_segment(pack(frame))
