"""The mixture of whole orders: it finds the order that a log follows, and another when the log turns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.quality.lists import WORLDS, learned, planted, single_orders
from learners import Ranker
from tests.learners.test_ranker import Extra, clicked

NAMES = ("a", "b", "c")


def new(*names: str, **settings: Any) -> Ranker:
    return Ranker([Extra(*(names or NAMES), weight=0.0)], **settings)


def click(ranker: Ranker, features: np.ndarray, *, reward: float = 1.0) -> None:
    """A click on the second of the candidates."""
    rows = clicked(features, logged=ranker.schemas, reader=ranker.schemas)
    rows.reward[:] = reward
    assert ranker.learn(rows) == 1


@pytest.mark.parametrize("name", WORLDS)
def test_it_ends_near_the_best_of_its_experts_and_of_all_single_orders(name: str) -> None:
    lists = planted(WORLDS[name], 800, seed=7)
    run, late = learned(lists), slice(600, None)
    assert run.loss[late].mean() < run.losses[late].mean(axis=0).min() + 0.04
    assert run.rank[late].mean() > single_orders(lists)[late].mean(axis=0).max() - 0.02


def test_a_rule_that_changes_is_found_within_two_hundred_lists() -> None:
    lists = planted(WORLDS["the place, then the price"], 1_000, seed=3)
    run, found = learned(lists), slice(700, None)
    assert run.rank[found].mean() > single_orders(lists)[found].mean(axis=0).max() - 0.01
    assert run.linear_rank[found].mean() < run.rank[found].mean() - 0.01  # which turns slowly by itself


def test_shares_move_as_adahedge_moves_them() -> None:
    ranker, features = new(learning_rate=0.0), np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
    columns = ranker.experts.columns
    for name in ("linear", "quick", "single"):
        columns[name][:] = [0.5, -1.0, 2.0] if name == "linear" else [1.0, 0.2, -0.4]
    scores = np.column_stack(
        [features @ columns["linear"], features @ columns["quick"], features * columns["single"]]
    )
    losses = np.log(np.exp(scores).sum(axis=0)) - scores[1]
    awake = [0, 1, 3, 4, 5]  # nothing begins with a weight: there is no `start`
    first = ranker.experts.shares[awake]
    hedged = first * np.exp(-losses)  # at first nothing was lost by averaging: eta is 1
    expected = 0.999 * hedged / hedged.sum() + 0.001 * first
    click(ranker, features)
    assert np.allclose(ranker.experts.shares[awake], expected)
    assert np.allclose(ranker.weights, expected[0] * columns["linear"] + expected[1] * columns["quick"]
                       + expected[2:] * columns["single"])  # fmt: skip


def test_what_begins_with_a_weight_has_an_expert_of_its_own_that_the_others_must_beat() -> None:
    ranker, rng = Ranker([Extra("a", weight=1.0), Extra("b", "c", weight=0.0)]), np.random.default_rng(6)
    assert ranker.explain()["start"] == 0.45
    start = ranker.experts.columns["start"]
    for _ in range(60):
        click(ranker, rng.normal(size=(4, 3)) + 2.0 * np.eye(4, 3)[[3, 0, 3, 3]])
    assert start[0] > 0.5 and start[1:].tolist() == [0.0, 0.0]
    assert ranker.explain()["start"] > 0.2
    for _ in range(60):
        click(ranker, rng.normal(size=(4, 3)) + 4.0 * np.eye(4, 3)[[3, 1, 3, 3]])
    assert ranker.explain()["start"] < 0.05


def test_an_expert_whose_feature_tells_no_candidate_from_another_keeps_its_share() -> None:
    ranker, rng = new(), np.random.default_rng(1)
    for t in range(50):
        features = rng.normal(size=(4, 3))
        features[1, 0] += 3.0  # the rule
        features[:, 1], features[:, 2] = 7.0, (np.nan, 4.0)[t % 2]
        click(ranker, features)
    shares = ranker.explain()
    assert shares["b"] == shares["c"] == pytest.approx(0.4 / 3, abs=1e-6)
    assert ranker.experts.columns["linear"][1:].tolist() == [0.0, 0.0]


def test_a_dislike_lowers_what_every_expert_thinks_of_an_item_and_moves_no_share() -> None:
    ranker, features = new(), np.eye(4, 3)
    click(ranker, features, reward=-1.0)
    columns = ranker.experts.columns
    assert max(columns[name][1] for name in ("linear", "quick", "single")) < 0.0
    assert ranker.explain() == new().explain()
    assert ranker.score(features.astype("f4")).argmin() == 1


def test_weights_are_bounded_and_what_was_cut_is_counted() -> None:
    ranker, leak = new(learning_rate=100.0), np.eye(4, 3)
    for _ in range(40):  # a feature that is the label
        click(ranker, leak)
    assert np.abs(ranker.weights).max() <= 20.0 and 0 < ranker.cut <= 40
    before, cut = new(), np.random.default_rng(2).normal(size=(4, 3))
    click(before, np.where(cut == cut[1, 0], 1e30, cut))
    assert before.cut == 1
    click(before, cut)
    columns = before.experts.columns
    assert np.isfinite(list(columns.values())).all()
    assert columns["squares"][0] < 200.0  # later clicks still move this weight


def test_an_infinite_feature_leaves_its_candidate_out() -> None:
    features = np.random.default_rng(4).normal(size=(4, 3))
    with_it, without = new(), new()
    click(with_it, np.vstack([features, [[1.0, np.inf, 0.0]]]))
    click(without, features)
    assert np.array_equal(with_it.weights, without.weights)


def test_shares_travel_and_a_new_feature_has_that_of_the_beginning() -> None:
    ranker, rng = new(), np.random.default_rng(5)
    for _ in range(20):
        click(ranker, rng.normal(size=(4, 3)) + np.eye(4, 3)[[3, 0, 3, 3]])
    follower, more = new(), new(*NAMES, "d")
    follower.apply(ranker.changes())
    assert follower.explain() == ranker.explain()
    more.restore(ranker.snapshot())
    shares = more.explain()
    assert sum(shares.values()) == pytest.approx(1.0) and 0.05 < shares["d"] < 0.1
    assert more.weights.tolist() == [*ranker.weights.tolist(), 0.0]
