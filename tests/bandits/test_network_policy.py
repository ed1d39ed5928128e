"""Policies that choose by a network: what it sees, how it learns, bad input, restarts, diverging."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from bandits import Context, Policy, PolicyError
from bandits.network_inputs import NetworkInputs
from bandits.network_policy import NetworkPolicy
from bandits.ops.arrays import Float32, Float64
from bandits.policies.neu_fast_cb import NeuFastCb
from bandits.policies.neu_fast_cb import Settings as FastSettings
from bandits.policies.neu_square_cb import NeuSquareCb, Settings
from bandits.testing import cut, digest
from bandits.worlds import LinearWorld, as_lists, play, row_block
from learners.rows import RowBlock
from learners.world import World
from learning.catalogue import POLICIES
from learning.choices import build_chosen, chosen_parts
from stream.frame import pack, unpack

DIM, N_ITEMS, NAMES = 4, 6, ("taste", "popular")
EVERYTHING = np.arange(N_ITEMS, dtype=np.int32)


def policy(fast: bool = True, *, trains: bool = True, **settings: Any) -> NetworkPolicy:
    rate = 16.0 if fast else 4.0
    settings = {
        "publish_ms": 0,
        "width": 16,
        "item_slots": 16,
        "learning_rate": rate,
        "batch": 16,
        **settings,
    }
    if fast:
        return NeuFastCb(DIM, rank_names=NAMES, trains=trains, settings=FastSettings(**settings))
    return NeuSquareCb(DIM, rank_names=NAMES, trains=trains, settings=Settings(**settings))


def lists(seed: int, n: int = 30, width: int = 3) -> RowBlock:
    """Lists of which the ranker's features say most: an item with taste above 0 earns."""
    rng, world = np.random.default_rng(seed), LinearWorld(N_ITEMS, dim=DIM, seed=1)
    items = np.stack([rng.permutation(N_ITEMS)[:width] for _ in range(n)]).astype(np.int32)
    rank = rng.normal(size=(n * width, len(NAMES))).astype(np.float32)
    rewards = (rank[:, 0] > 0).reshape(n, width).astype(np.float64)
    block = as_lists(row_block([world.context(t) for t in range(n)], items, rewards), seed * n)
    return replace(block, rank_features=rank)


def context(rank: Float32 | None = None) -> Context:
    plain = LinearWorld(N_ITEMS, dim=DIM, seed=1).context(3)
    return replace(plain, rank_features=None if rank is None else lambda rows: rank[rows])


def losses(one: NetworkPolicy, rank: Float32 | None = None) -> Float64:
    return one.losses(context(rank), EVERYTHING)


# --- what it sees ---


@pytest.mark.parametrize("fast", [False, True])
def test_it_learns_from_the_features_that_the_ranker_saw_of_a_place(fast: bool) -> None:
    one, rank = policy(fast), np.zeros((N_ITEMS, 2), np.float32)
    for seed in range(40):
        one.learn_lists(lists(seed))
    rank[:, 0] = [2.0, -2.0, 2.0, -2.0, 2.0, -2.0]
    assert (losses(one, rank)[::2] < 0.35).all()
    assert (losses(one, rank)[1::2] > 0.65).all()


@pytest.mark.parametrize("fast", [False, True])
def test_a_place_counts_as_often_as_its_list_stands_for(fast: bool) -> None:
    plain, heavy = policy(fast), policy(fast)
    for seed in range(20):
        block = lists(seed)
        won = np.array([block.rewards[block.start[s] : block.start[s + 1]].any() for s in block.slate])
        plain.learn_lists(block)
        heavy.learn_lists(replace(block, stands_for=np.where(won, 1.0, 50.0)))
    assert losses(heavy).mean() > losses(plain).mean()
    assert float(heavy.notes()["rounds"]) > float(plain.notes()["rounds"]) == 600.0


@pytest.mark.parametrize(
    "strange", [np.nan, np.inf, -np.inf, 3e38, "constant", "huge now and then", "no features logged"]
)
@pytest.mark.parametrize("fast", [False, True])
def test_features_of_any_kind_leave_it_sane(strange: Any, fast: bool) -> None:
    one = policy(fast)
    for seed in range(40):
        block = lists(seed)
        if strange == "constant":
            block.rank_features[:, 1] = 7.0
        elif strange == "huge now and then":
            block.rank_features[::31, 1] = 1e30
        elif strange == "no features logged":
            block = replace(block, request=np.zeros_like(block.request))
            block.rank_features[:, 1] = np.nan
        else:
            block.rank_features[:, 1], block.request[:, 2] = strange, strange
        one.learn_lists(block)
    rank = np.zeros((N_ITEMS, 2), np.float32)
    rank[:, 0] = [2.0, -2.0, 2.0, -2.0, 2.0, -2.0]
    if not isinstance(strange, str):
        rank[:, 1] = strange
    found = losses(one, rank)
    assert not one.notes()["diverged"]
    assert found[::2].max() + 0.15 < found[1::2].min(), found


def test_one_outlier_does_not_decide_the_scale_of_a_feature() -> None:
    inputs, rng = NetworkInputs(1, 1, slots=0), np.random.default_rng(1)
    x = np.ones((50, inputs.width + 1), np.float32)
    for n in range(10):
        rank = rng.normal(5.0, 2.0, (50, 1)).astype(np.float32)
        if n == 5:
            rank[7] = 1e9
        inputs.fill(x, inputs.features(np.ones((50, 1), np.float32), rank), np.zeros(50, np.uint64))
    assert inputs.scale[1] == pytest.approx(2.0, rel=0.5)


def test_features_of_another_width_are_refused_by_name() -> None:
    one = policy()
    with pytest.raises(PolicyError, match=r"neu_fast_cb decides on features of shape \(4,\)"):
        one.plan(Context(np.zeros(1, np.int32), np.ones(1, np.float32), np.ones(3, np.float32)), EVERYTHING)
    with pytest.raises(PolicyError, match="neu_fast_cb learns features of width 4; the block has 3"):
        one.learn_lists(replace(lists(1), request=np.ones((30, 3), np.float32)))


# --- cuts, restarts, replicas ---


@pytest.mark.parametrize("fast", [False, True])
def test_a_restart_anywhere_in_blocks_cut_anywhere_ends_in_the_same_bits(fast: bool) -> None:
    straight, pieces, rng = policy(fast), policy(fast), np.random.default_rng(2)
    for seed in range(6):
        block = lists(seed)
        straight.learn_lists(block)
        ends = np.sort(rng.integers(0, len(block), 4))
        for low, high in zip([0, *ends], [*ends, len(block)], strict=True):
            part = cut(block, int(low), int(high))
            pieces.learn_lists(replace(part, stands_for=np.ones(len(part))))
            frame, pieces = unpack(pack(pieces.snapshot())), policy(fast)
            pieces.restore(frame)
    assert digest(pieces) == digest(straight)
    assert int(straight.notes()["steps"]) == 6 * 90 // straight.settings.batch


@pytest.mark.parametrize(("batch", "steps", "waiting"), [(4, 2, 2), (5, 2, 0), (10, 1, 0), (32, 0, 10)])
def test_a_restart_with_another_batch_goes_on_with_the_places_that_waited(
    batch: int, steps: int, waiting: int
) -> None:
    one, other = policy(), policy(batch=batch)
    one.learn_lists(lists(0))  # 5 steps of 16 places, and 10 that wait
    other.restore(unpack(pack(one.snapshot())))
    assert int(other.notes()["steps"]) == 5 + steps
    assert len(other.snapshot()["waiting"]["keys"]) == waiting
    assert float(other.notes()["rounds"]) == 30.0


def test_whoever_follows_decides_as_the_learner_does_without_torch() -> None:
    learner, replica = policy(publish_ms=7_000), policy(publish_ms=7_000, trains=False)
    n_frames = 0
    for seed in range(4):
        block = lists(seed)
        for o in range(len(block)):
            learner.learn_lists(cut(block, o, o + 1))
            frame = learner.changes()
            n_frames += bool(frame)
            replica.apply(unpack(pack(frame)))
            assert replica.plan(context(), EVERYTHING).gamma == learner.plan(context(), EVERYTHING).gamma
    assert losses(replica).tolist() == losses(learner).tolist() != losses(policy()).tolist()
    assert n_frames <= 1 + 4 * 30 // 7
    assert replica.notes() == {}


def test_only_a_process_that_trains_loads_torch() -> None:
    says = (
        "import sys; from bandits.policies.neu_fast_cb import NeuFastCb; NeuFastCb(trains=False);"
        "print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", says], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"rank_names": ("taste", "age")}, r"the scorers' features were taste,popular, now taste,age; put"),
        ({"n_request": 5}, r"policy.features made 4 numbers, now 5; put"),
        ({"layout": "other"}, r"policy.features made 4 numbers, now 4, of other names or another order; put"),
        ({"item_slots": 8}, r"item_slots was 16, now 8; put"),
        ({"width": 8}, r"width, layers or crossed made \d+ weights, now \d+; put"),
    ],
)
def test_a_snapshot_of_another_network_is_refused_with_what_was_and_what_came(
    other: dict[str, Any], words: str
) -> None:
    changed = msgspec.structs.replace(
        policy().settings, **{k: v for k, v in other.items() if k in {"item_slots", "width"}}
    )
    given = {
        "n_request": DIM,
        "rank_names": NAMES,
        **{k: v for k, v in other.items() if not hasattr(changed, k)},
    }
    with pytest.raises(PolicyError, match=f"of other features or another network: {words}"):
        NeuFastCb(**given, settings=changed).restore(policy().snapshot())


# --- gamma ---


def test_gamma_grows_with_the_lists_learned_and_the_choice_gets_stricter() -> None:
    one, gammas = policy(gamma0=3.0, rho=0.5), []
    for seed in range(3):
        one.learn_lists(lists(seed))
        gammas.append(one.plan(context(), EVERYTHING).gamma)
    rounds = np.array([1, 2, 3]) * 30 - np.array([90, 180, 270]) % one.settings.batch // 3
    assert gammas == pytest.approx(3.0 * np.sqrt(rounds), rel=0.1)
    assert policy().plan(context(), EVERYTHING).gamma == 0.0


# --- diverging ---


@pytest.mark.parametrize("fast", [False, True])
def test_a_network_that_diverges_stops_and_says_so_and_its_last_good_weights_serve_on(
    fast: bool, caplog: pytest.LogCaptureFixture
) -> None:
    one, replica = policy(fast, learning_rate=1_000.0, radius=1e6), policy(fast, trains=False)
    with caplog.at_level(logging.ERROR):
        for seed in range(20):
            one.learn_lists(lists(seed))
            replica.apply(unpack(pack(one.changes())))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "diverged at step" in caplog.text
    assert int(one.notes()["diverged"]) == 1
    assert np.isfinite(losses(one)).all()
    assert losses(replica).tolist() == losses(one).tolist()
    rounds = float(one.notes()["rounds"])
    one.learn_lists(lists(99))
    assert float(one.notes()["rounds"]) == rounds


def test_lists_after_the_step_that_diverged_do_not_count_however_they_were_cut() -> None:
    whole, single, block = *(policy(learning_rate=1_000.0, radius=1e6) for _ in range(2)), lists(0)
    whole.learn_lists(block)
    for o in range(len(block)):
        single.learn_lists(replace(cut(block, o, o + 1), stands_for=np.ones(1)))
    # The third batch of 16 places ends in the list 16, at its third place.
    assert {int(one.notes()["diverged"]) for one in (whole, single)} == {1}
    assert [float(one.notes()["rounds"]) for one in (whole, single)] == [16.0, 16.0]
    assert digest(whole) == digest(single)


def test_the_log_names_the_one_of_two_networks_that_diverged_when_it_does_and_at_each_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wild: dict[str, Any] = {"kind": "neu_fast_cb", "name": "wild", "learning_rate": 1_000.0, "radius": 1e6}

    def built(trains: bool = True, **settings: Any) -> dict[str, NetworkPolicy]:
        chosen = chosen_parts(POLICIES, [{"kind": "neu_fast_cb"}, {**wild, **settings}])
        return build_chosen(chosen, World(request_dim=DIM, rank_names=NAMES, trains=trains), Policy)

    first = built()
    for one in first.values():
        for seed in range(20):
            one.learn_lists(lists(seed))
    for again in (built(), built(retry_diverged=True), built(trains=False)):
        for name, one in again.items():
            one.restore(first[name].snapshot())
    step, stopped = int(first["wild"].notes()["steps"]), "it learns nothing any more and serves its last good"
    said = [record.getMessage() for record in caplog.records]
    starts = [
        f"wild diverged at step {step}, with a loss of ",
        f"wild diverged at step {step}, before this start: {stopped}",
        "wild had diverged, and starts afresh",
    ]
    assert [line[: len(start)] for line, start in zip(said, starts, strict=True)] == starts
    assert stopped in said[0]


def test_a_restart_keeps_it_stopped_unless_the_settings_say_to_retry() -> None:
    one = policy(learning_rate=1_000.0, radius=1e6)
    for seed in range(20):
        one.learn_lists(lists(seed))
    frame = unpack(pack(one.snapshot()))
    kept, afresh = policy(learning_rate=1_000.0), policy(learning_rate=1.0, retry_diverged=True)
    for each in (kept, afresh):
        each.restore(frame)
        each.learn_lists(lists(1))
    assert int(kept.notes()["diverged"]) == 1
    assert losses(kept).tolist() == losses(one).tolist()
    assert (int(afresh.notes()["diverged"]), float(afresh.notes()["rounds"])) == (0, 30.0)
    assert afresh.touched("shared").size == 1


# --- propensities ---


@pytest.mark.parametrize("fast", [False, True])
def test_logged_propensities_value_another_policy_without_bias(fast: bool) -> None:
    """IPS of always showing one item, on logs that the policy made while it learned."""
    world, n = LinearWorld(N_ITEMS, dim=DIM, seed=3), 800
    truth = np.array([world.rates(world.context(t)) for t in range(n)]).mean(axis=0)
    estimates = []
    for seed in range(8):
        run = play(world, policy(fast, gamma0=0.05), n, seed=seed)
        weights = (run.items[:, None] == EVERYTHING) / run.probabilities[:, None]
        estimates.append((weights * run.rewards[:, None]).mean(axis=0))
    error = np.std(estimates, axis=0, ddof=1) / np.sqrt(len(estimates))
    assert (np.abs(np.mean(estimates, axis=0) - truth) <= 5 * error + 0.01).all()
