"""Matrix factorisation: the step is the gradient, negatives follow their law, shown places teach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from learners import EmbeddingTable, LearnerError, MatrixFactorisation, ReplicaError, encode
from learners.ops.factorisation import draw_negative
from learners.testing import TICK, blocks, organic_rows, random_stream
from stream.blocks import CLOSED, FeedbackBlock, Slate


def model(n: int = 6, dim: int = 4, **settings: Any) -> MatrixFactorisation:
    users, items = EmbeddingTable(dim, seed=1, scale=1.0), EmbeddingTable(dim, seed=2, scale=1.0)
    users.rows([f"u{k}" for k in range(n)], 0)
    items.rows([f"i{k}" for k in range(n)], 0)
    return MatrixFactorisation(users, items, **settings)


def test_a_click_moves_both_sides_along_the_gradient_of_the_old_values() -> None:
    mf = model(negatives=0, learning_rate=0.5, l2=0.1, mean=0.2)
    p, q = mf.users.data[0].astype(np.float64), mf.items.data[3].astype(np.float64)
    error = 1.0 - 1.0 / (1.0 + np.exp(-(0.2 + p @ q)))
    mf.learn(organic_rows([(0, 3)]))
    assert np.allclose(mf.users.data[0], p + 0.5 * (error * q - 0.1 * p), atol=1e-6)
    assert np.allclose(mf.items.data[3], q + 0.5 * (error * p - 0.1 * q), atol=1e-6)
    assert np.allclose(mf.item_bias(np.array([3], np.int32)), 0.5 * error, atol=1e-6)


def test_the_step_lowers_the_loss_as_calculus_says() -> None:
    """Numerical derivative of the loss by one user coordinate against the step that was made."""
    mf = model(negatives=0, learning_rate=0.01, l2=0.0)
    p, q = mf.users.data[1].astype(np.float64), mf.items.data[2].astype(np.float64)

    def loss(x: float) -> float:
        moved = p.copy()
        moved[0] += x
        return float(np.log1p(np.exp(-moved @ q)))

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    mf.learn(organic_rows([(1, 2)]))
    assert abs((mf.users.data[1, 0] - p[0]) / 0.01 + slope) < 1e-4


def test_places_without_a_reward_are_negatives_when_the_slate_closes() -> None:
    mf = model(negatives=0, shown_weight=1.0, examination=1.0)
    slate = Slate(request_id="r", user_id="u0", ts=0, items=["i0", "i1", "i2"], rewards={1: 1.0})
    block = FeedbackBlock([slate], [], [CLOSED], [0], [-1], [0.0], [False], [0])
    touched = mf.learn(encode(block, mf.users, mf.items))
    bias = mf.item_bias(np.arange(3, dtype=np.int32))
    assert (touched.users.tolist(), touched.items.tolist(), touched.samples) == ([0], [0, 2], 2)
    assert bias[0] < 0 == bias[1]
    assert abs(bias[2] / bias[0]) < 0.75  # the third place was looked at less than the first


# A steep law and large counts would need more than the eight tries there are.
@pytest.mark.parametrize(("power", "seen"), [(0.0, (1, 2, 3)), (0.75, (1, 4, 16)), (1.0, (1, 4, 16))])
def test_negatives_are_drawn_by_count_to_a_power(power: float, seen: tuple[int, ...]) -> None:
    counts = np.array(seen, np.int32)
    ring = np.repeat(np.arange(3, dtype=np.int32), counts)
    keep = (np.maximum(np.arange(64), 1) ** (power - 1.0)).astype(np.float32)
    drawn = [draw_negative(ring, counts, ring.size, keep, np.uint64(n), -1) for n in range(20_000)]
    share = np.bincount(drawn, minlength=3) / 20_000
    law = counts**power / (counts**power).sum()
    assert np.abs(share - law).max() < 0.02


def test_removed_items_are_drawn_no_more() -> None:
    mf = model(negatives=8)
    mf.learn(organic_rows([(0, 1), (0, 2)] * 10))
    mf.remove_items(np.array([1], np.int32))
    touched = mf.learn(organic_rows([(1, 3)] * 10))
    assert 1 not in touched.items.tolist()


def test_unadmitted_rows_move_nothing() -> None:
    mf = model()
    before = mf.users.data.copy(), mf.items.data.copy()
    touched = mf.learn(organic_rows([(-1, 2), (3, -1)]))
    assert touched.samples == 0
    assert np.array_equal(mf.users.data, before[0])
    assert np.array_equal(mf.items.data, before[1])


def test_scores_stay_finite_under_ten_thousand_equal_clicks() -> None:
    mf = model(learning_rate=1.0, l2=0.0)
    mf.learn(organic_rows([(0, 0)] * 10_000))
    assert np.isfinite(mf.scores(0, np.arange(6, dtype=np.int32))).all()


def test_an_unknown_user_is_the_zero_vector_and_an_unknown_item_has_no_score() -> None:
    mf = model()
    assert mf.scores(-1, np.array([0], np.int32)).tolist() == [0.0]
    assert np.isnan(mf.scores(0, np.array([-1, 10**6], np.int32))).all()


def test_the_adaptive_step_shrinks_with_what_a_row_has_seen() -> None:
    mf = model(negatives=0, adaptive=True, l2=0.0, learning_rate=0.5)
    moves = []
    for _ in range(4):
        mf.users.set_vectors(np.array([0], np.int32), np.zeros((1, 4), np.float32))
        bias = float(mf.item_bias(np.array([0], np.int32))[0])
        mf.learn(organic_rows([(0, 0)]))
        moves.append(float(mf.item_bias(np.array([0], np.int32))[0]) - bias)
    assert moves == sorted(moves, reverse=True)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(LearnerError, match="same dim"):
        MatrixFactorisation(EmbeddingTable(2), EmbeddingTable(3))
    with pytest.raises(LearnerError, match="learning_rate"):
        model(learning_rate=0.0)
    with pytest.raises(ReplicaError, match="ring of 5"):
        model(ring=6).restore(model(ring=5).snapshot())


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_what_was_sampled_moves_another_table_of_items_alike(seed: int, adaptive: bool) -> None:
    settings: dict[str, Any] = {"examination": 0.5, "adaptive": adaptive, "negatives": 3, "ring": 16}
    plain, traced, owner = (model(0, **settings) for _ in range(3))
    stream = [op for op in random_stream(seed, 400) if op.kind != TICK]
    for block in blocks(stream, cuts=range(0, 400, 37)):
        assert isinstance(block, FeedbackBlock)
        rows = [encode(block, mf.users, mf.items) for mf in (plain, traced, owner)]
        touched, (again, samples) = plain.learn(rows[0]), traced.learn_traced(rows[1])
        moved = owner.learn_samples(samples)
        assert again.samples == touched.samples == samples.item.size
        np.testing.assert_array_equal(np.sort(moved), np.sort(touched.items))
    here = slice(0, plain.items.size)
    np.testing.assert_array_equal(traced.items.data[here], plain.items.data[here])
    np.testing.assert_allclose(owner.items.data[here], plain.items.data[here], atol=1e-6)
    np.testing.assert_array_equal(owner.items.version[here], plain.items.version[here])
    every = np.arange(plain.items.size, dtype=np.int32)
    np.testing.assert_allclose(owner.item_bias(every), plain.item_bias(every), atol=1e-6)


def test_samples_of_unknown_items_are_passed_over_and_of_another_length_refused() -> None:
    mf, other = model(), model(dim=3)
    _, samples = mf.learn_traced(organic_rows([(0, 3)]))
    assert mf.learn_samples(samples._replace(item=np.full(1, -1, np.int32))).size == 0
    with pytest.raises(LearnerError, match="vectors of 4 came to items of 3"):
        other.learn_samples(samples)
