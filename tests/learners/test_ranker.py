"""The ranker: the softmax step by numerical derivative, what it does not learn from, other scorers."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from learners import (
    Ask,
    EmbeddingTable,
    FeatureSchemas,
    LearnerError,
    Ranker,
    ReplicaError,
    RowBlock,
    encode,
)
from learners.testing import SmallWorld, organic_rows
from stream.blocks import CLICK, SHOWN, FeedbackBlock, Slate

SCORERS = SmallWorld().ranker.scorers
OWN = SmallWorld().ranker.schemas


def new(**settings: Any) -> Ranker:
    return Ranker(SCORERS, **settings)


def linear(ranker: Ranker) -> np.ndarray:
    """The weights of the steady expert over all features, behind them those of missing features."""
    columns = ranker.experts.columns
    return np.concatenate([columns["linear"], columns["linear_missing"]])


class Extra:
    """A scorer with features of these names, 1 for every item."""

    def __init__(self, *names: str, weight: float = 0.25) -> None:
        self.names, self.weights = names, (weight,) * len(names)

    def features(self, ask: Ask, rows: Any) -> Any:
        return np.ones((rows.size, len(self.names)), np.float32)


def clicked(
    features: np.ndarray,
    *,
    decided: bool = True,
    place: int = 1,
    n_shown: int = 100,
    logged: FeatureSchemas = OWN,
    reader: FeatureSchemas = OWN,
) -> RowBlock:
    """A slate of `n_shown` items and the rest not shown, with a click on `place`; its features stand in the
    order of `logged` and are read by `reader`."""
    names = [f"i{n}" for n in range(len(features))]
    slate = Slate(
        request_id="r", user_id="u", ts=0, items=names[:n_shown], others=names[n_shown:], decided=decided,
        features=features.astype("<f4").tobytes(), feature_schema=logged.id,
    )  # fmt: skip
    block = FeedbackBlock([slate], [], [SHOWN, CLICK], [0, 0], [-1, place], [0.0, 1.0], [False, True], [0, 1])
    items = EmbeddingTable(2)
    items.rows(names, 0)
    return encode(block, EmbeddingTable(2), items, schemas=reader)


def test_the_step_is_the_slope_of_the_listwise_loss() -> None:
    features = np.random.default_rng(0).normal(size=(5, 5)).astype(np.float32)
    start = np.array([0.3, -0.2, 0.1, 0.5, 0.0])

    def gain(weights: np.ndarray) -> float:
        scores = features.astype(np.float64) @ weights
        return float(scores[1] - np.log(np.exp(scores).sum()))

    slope = [(gain(start + d) - gain(start - d)) / 2e-6 for d in np.eye(5) * 1e-6]
    ranker = new(weights=dict(zip(OWN.names, start, strict=True)), learning_rate=0.1, squares=1e12)
    ranker.learn(clicked(features))
    assert np.allclose((linear(ranker)[:5] - start) / 0.1 * 1e6, slope, atol=1e-3)


def test_no_click_moves_a_weight_by_more_than_the_rate() -> None:
    ranker = new(learning_rate=0.1, squares=1e-9)
    before = {name: column.copy() for name, column in ranker.experts.columns.items()}
    ranker.learn(clicked(np.random.default_rng(1).normal(size=(4, 5)) * 1e3))
    for name, rate in (("linear", 0.1), ("quick", 0.3), ("single", 0.3)):
        moved = np.abs(ranker.experts.columns[name] - before[name]).max()
        assert 0.0 < moved <= rate + 1e-12


def test_it_learns_from_slates_with_its_own_features_only() -> None:
    features = np.ones((3, 5)) * np.arange(3)[:, None]
    for rows in (
        clicked(features[:, :4]),
        clicked(np.where(np.arange(3)[:, None] == 1, np.nan, features)),
        organic_rows([(0, 1)]),
    ):
        assert new().learn(rows) == 0
    assert new().learn(clicked(features)) == 1


def test_a_slate_that_no_policy_decided_teaches_as_others_do_once_it_has_features() -> None:
    features = np.random.default_rng(2).normal(size=(4, 5))
    ours, theirs, nothing = new(), new(), new()
    assert ours.learn(clicked(features)) == theirs.learn(clicked(features, decided=False)) == 1
    assert np.array_equal(ours.weights, theirs.weights)
    bare = clicked(features, decided=False)
    bare.ranked = bare.decided
    assert nothing.learn(bare) == nothing.unread == 0


def test_who_was_not_shown_could_not_be_clicked_and_teaches_nothing() -> None:
    features = np.random.default_rng(2).normal(size=(6, 5))
    whole, shown = new(), new()
    whole.learn(clicked(features, n_shown=4))
    shown.learn(clicked(features[:4]))
    assert np.array_equal(whole.weights, shown.weights) and not np.array_equal(whole.weights, new().weights)


def test_candidates_without_features_are_left_out_of_the_comparison() -> None:
    features = np.random.default_rng(2).normal(size=(4, 5))
    partly, without = new(), new()
    partly.learn(clicked(np.vstack([features, np.full((1, 5), np.nan)])))
    without.learn(clicked(features))
    assert np.array_equal(partly.weights, without.weights)


def test_the_step_is_the_slope_of_the_listwise_loss_where_features_are_missing() -> None:
    features = np.random.default_rng(3).normal(size=(5, 5)).astype(np.float32)
    features[[0, 1, 1, 4], [2, 0, 2, 3]] = np.nan
    known = np.hstack([np.nan_to_num(features), np.isnan(features)])
    start = np.array([0.3, -0.2, 0.1, 0.5, 0.0, 0.2, 0.0, -0.4, 0.1, 0.0])

    def gain(weights: np.ndarray) -> float:
        scores = known @ weights
        return float(scores[1] - np.log(np.exp(scores).sum()))

    slope = [(gain(start + d) - gain(start - d)) / 2e-6 for d in np.eye(10) * 1e-6]
    ranker = new(weights=dict(zip(OWN.names, start, strict=False)), learning_rate=0.1, squares=1e12)
    for missing in (ranker.missing, ranker.experts.columns["linear_missing"]):
        missing[:] = start[5:]
    assert np.allclose(ranker.score(features), known @ start)
    ranker.learn(clicked(features))
    assert np.allclose((linear(ranker) - start) / 0.1 * 1e6, slope, atol=1e-3)


def test_what_missing_features_weigh_travels_and_is_0_in_what_a_program_of_before_wrote() -> None:
    features = np.random.default_rng(6).normal(size=(4, 5))
    features[2:, 1] = np.nan
    before = new()
    before.learn(clicked(features))
    snapshot, frame = before.snapshot(), before.changes()
    assert before.missing[1] < 0 and not before.missing[[0, 2, 3, 4]].any()
    restored, follower, old = new(), new(), new()
    restored.restore(snapshot)
    follower.apply(frame)
    assert restored.missing.tolist() == follower.missing.tolist() == before.missing.tolist()
    of_before = ("names", "weights", "squares", "steps", "unread", "schemas", "published")
    old.restore({name: snapshot[name] for name in of_before})
    assert (old.weights.tolist(), bool(old.missing.any())) == (before.weights.tolist(), False)
    assert old.explain()["linear"] == 1.0 and np.array_equal(linear(old)[:5], before.weights)
    fewer, more = Ranker(SCORERS[:1]), new()
    fewer.restore(snapshot)
    more.restore(fewer.snapshot())
    assert more.missing.tolist() == before.missing.tolist()


def test_unmoved_weights_are_not_published() -> None:
    ranker = new()
    assert ranker.changes() == {}
    ranker.learn(clicked(np.eye(3, 5)))
    assert ranker.changes()["steps"] == 1
    assert ranker.changes() == {}


def test_weights_go_by_name_when_the_scorers_change() -> None:
    before = new()
    before.learn(clicked(np.random.default_rng(3).normal(size=(4, 5))))
    frame = before.changes()
    ways: list[Callable[[Ranker], None]] = [
        lambda ranker: ranker.restore(before.snapshot()),
        lambda ranker: ranker.apply(frame),
    ]
    for take_over in ways:
        more, fewer = Ranker([Extra("new"), *SCORERS]), Ranker(SCORERS[1:])
        take_over(more)
        assert more.weights.tolist() == [0.25, *before.weights.tolist()]
        take_over(fewer)
        assert fewer.weights.tolist() == before.weights[2:].tolist()
        assert (more.steps, fewer.steps) == (1, 1)
    restored = Ranker([Extra("new"), *SCORERS])
    restored.restore(before.snapshot())
    assert restored.changes()["names"][0] == "new"  # followers learn of the new list at once


def test_a_slate_of_before_teaches_what_is_common_and_nothing_else() -> None:
    features = np.random.default_rng(4).normal(size=(4, 5))
    before, now = new(), Ranker([Extra("new"), *SCORERS])
    now.restore(before.snapshot())
    assert now.learn(clicked(features, logged=before.schemas, reader=now.schemas)) == 1
    before.learn(clicked(features))
    assert linear(now)[:6].tolist() == [0.25, *linear(before)[:5].tolist()]


def test_a_click_whose_features_cannot_be_read_is_counted_and_published() -> None:
    ranker, stranger = new(), FeatureSchemas(["a", "b", "c", "d", "e"])
    assert ranker.learn(clicked(np.ones((4, 5)), logged=stranger)) == 0
    assert (ranker.unread, ranker.changes()["unread"], ranker.changes()) == (1, 1, {})


def test_a_snapshot_of_before_there_were_lists_says_what_untold_features_mean() -> None:
    features = np.random.default_rng(5).normal(size=(4, 5))
    before, now = new(), Ranker([Extra("new"), *SCORERS])
    frame = before.snapshot()
    del frame["schemas"], frame["unread"]
    now.restore(frame)
    slates = clicked(features, logged=SimpleNamespace(id=""), reader=now.schemas)  # type: ignore[arg-type]
    before.learn(clicked(features))
    now.learn(slates)
    assert linear(now)[:6].tolist() == [0.25, *linear(before)[:5].tolist()]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ReplicaError, match=r"shape \(4,\) for 5 features"):
        new().restore(new().snapshot() | {"weights": np.zeros(4)})
    with pytest.raises(LearnerError, match="got an array of shape"):
        new().score(np.zeros((2, 3), np.float32))
    with pytest.raises(LearnerError, match="a weight for 'else'"):
        new(weights={"else": 1.0})
    with pytest.raises(LearnerError, match="two scorers have a feature 'taste'"):
        Ranker([*SCORERS, Extra("taste")])
    with pytest.raises(LearnerError, match="at least one scorer"):
        Ranker([])
    wrong = Extra("a", "b")
    wrong.features = lambda ask, rows: np.ones((rows.size, 3), np.float32)  # type: ignore[method-assign]
    with pytest.raises(LearnerError, match=r"Extra has features a, b.* got \(4, 3\)"):
        Ranker([wrong]).features(Ask(0, 5), np.zeros(4, np.int32))
