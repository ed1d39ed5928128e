"""The ranker: features by hand, the softmax step by numerical derivative, what it does not learn from."""

from __future__ import annotations

import numpy as np
import pytest

from learners import (
    CoOccurrence,
    EmbeddingTable,
    Histories,
    LearnerError,
    MatrixFactorisation,
    Popularity,
    Ranker,
    ReplicaError,
    RowBlock,
    encode,
)
from learners.testing import organic_rows
from stream.blocks import CLICK, SHOWN, FeedbackBlock, Slate


def clicked(features: np.ndarray, *, decided: bool = True, place: int = 1) -> RowBlock:
    """A slate of two shown items and the rest not shown, with a click on `place`."""
    names = [f"i{n}" for n in range(len(features))]
    slate = Slate(
        request_id="r", user_id="u", ts=0, items=names[:2], others=names[2:], decided=decided,
        features=features.astype("<f4").tobytes(),
    )  # fmt: skip
    block = FeedbackBlock([slate], [], [SHOWN, CLICK], [0, 0], [-1, place], [0.0, 1.0], [False, True], [0, 1])
    items = EmbeddingTable(2)
    items.rows(names, 0)
    return encode(block, EmbeddingTable(2), items, n_features=features.shape[1])


def test_features_are_the_sources_in_logarithms() -> None:
    users, items = EmbeddingTable(2), EmbeddingTable(2)
    users.rows(["u"], 0)
    items.rows(["a", "b", "c"], 0)
    users.data[0], items.data[1] = [1, 2], [3, 4]
    popular, histories, together = Popularity(half_lives_ms=(10, 20)), Histories(), CoOccurrence()
    rows = organic_rows([(0, 0), (1, 0), (1, 1)], ts=[0, 0, 0])
    popular.learn(rows)
    together.learn(histories.learn(rows))
    ranker = Ranker(half_lives=2)
    found = ranker.features(
        20, 0, np.array([1, -1], np.int32), popularity=popular, cooccurrence=together, histories=histories,
        mf=MatrixFactorisation(users, items),
    )  # fmt: skip
    link = np.log(1 / 4 + 0.01)  # one pair, degrees 1 and 1, smoothing 3, power 1/2
    expected = [np.log(0.25 + 0.5), np.log(0.5 + 0.5), link, link * np.log(2), 11.0]
    assert np.allclose(found[0], expected, atol=1e-4)
    empty = np.log(0.01)
    assert np.allclose(found[1], [np.log(0.5), np.log(0.5), empty, empty * np.log(2), 0.0], atol=1e-4)


def test_the_step_is_the_slope_of_the_listwise_loss() -> None:
    features = np.random.default_rng(0).normal(size=(5, 5)).astype(np.float32)
    start = np.array([0.3, -0.2, 0.1, 0.5, 0.0])

    def gain(weights: np.ndarray) -> float:
        scores = features.astype(np.float64) @ weights
        return float(scores[1] - np.log(np.exp(scores).sum()))

    slope = [(gain(start + d) - gain(start - d)) / 2e-6 for d in np.eye(5) * 1e-6]
    ranker = Ranker(weights=tuple(start), learning_rate=0.1, squares=1e12)
    ranker.learn(clicked(features))
    assert np.allclose((ranker.weights - start) / 0.1 * 1e6, slope, atol=1e-3)


def test_no_click_moves_a_weight_by_more_than_the_rate() -> None:
    ranker = Ranker(learning_rate=0.1, squares=1e-9)
    before = ranker.weights.copy()
    ranker.learn(clicked(np.random.default_rng(1).normal(size=(4, 5)) * 1e3))
    assert np.abs(ranker.weights - before).max() <= 0.1 + 1e-12


def test_it_learns_from_decided_slates_with_its_own_features_only() -> None:
    features = np.ones((3, 5)) * np.arange(3)[:, None]
    for rows in (
        clicked(features, decided=False),
        clicked(features[:, :4]),
        clicked(np.where(np.arange(3)[:, None] == 1, np.nan, features)),
        organic_rows([(0, 1)]),
    ):
        assert Ranker().learn(rows) == 0
    assert Ranker().learn(clicked(features)) == 1


def test_candidates_without_features_are_left_out_of_the_comparison() -> None:
    features = np.random.default_rng(2).normal(size=(4, 5))
    partly, without = Ranker(), Ranker()
    partly.learn(clicked(np.vstack([features, np.full((1, 5), np.nan)])))
    without.learn(clicked(features))
    assert np.array_equal(partly.weights, without.weights)


def test_unmoved_weights_are_not_published() -> None:
    ranker = Ranker()
    assert ranker.changes() == {}
    ranker.learn(clicked(np.eye(3, 5)))
    assert ranker.changes()["steps"] == 1
    assert ranker.changes() == {}


def test_other_features_are_refused() -> None:
    with pytest.raises(ReplicaError, match="has features"):
        Ranker(half_lives=1).restore(Ranker(half_lives=2).snapshot())
    with pytest.raises(LearnerError, match="got an array of shape"):
        Ranker().score(np.zeros((2, 3), np.float32))
    with pytest.raises(LearnerError, match="weights for them"):
        Ranker(weights=(1.0,))
