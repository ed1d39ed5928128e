"""The network that learns with torch, the one that serves without it, and a step of learning by the book."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from learners import LearnerError
from learners.network import NetworkShape
from learners.ops.network import CENTRE, draw_signs, fill_inputs, find_slots, predict, take_slots

torch = pytest.importorskip("torch")
from learners.neural.online_regression import OnlineRegression  # noqa: E402

SHAPES = [NetworkShape(5, (7,)), NetworkShape(33, (64, 64)), NetworkShape(12, (8, 16, 4))]


def model(shape: NetworkShape = SHAPES[1], **settings: Any) -> OnlineRegression:
    return OnlineRegression(
        shape, **{"batch": 8, "learning_rate": 0.5, "n_active": shape.inputs, "seed": 3, **settings}
    )


def teach(one: OnlineRegression, steps: int, first: int = 0) -> OnlineRegression:
    for step in range(first, first + steps):
        rng = np.random.default_rng(step)
        one.x[:, :-1] = rng.normal(size=(one.batch, one.shape.inputs))
        one.losses[:] = one.x[:, 0] * one.x[:, 1] > 0
        one.amounts[:] = rng.choice([1.0, 3.0], one.batch)
        one.step()
    return one


# --- serving without torch ---


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("hidden", [(16,), (64, 64), (8, 16, 4)])
def test_the_network_that_serves_gives_what_torch_gives_to_1e_5(hidden: Any, crossed: bool) -> None:
    rng, n_request, n_rank, n_slots, n = np.random.default_rng(1), 5, 3, 8, 100
    width = n_request + n_rank + 1 + n_slots + (n_slots * n_request if crossed else 0)
    one = model(NetworkShape(width, hidden))
    one.weights[:] += rng.normal(size=one.weights.size).astype(np.float32) * 0.3
    request = rng.normal(size=n_request).astype(np.float32) * 40
    rank = rng.normal(size=(n, n_rank)).astype(np.float32)
    request[2], rank[::7, 1] = np.nan, np.nan
    slots = rng.integers(-1, n_slots, n).astype(np.int32)
    mean, scale = rng.normal(size=(2, n_request + n_rank)).astype(np.float32) ** 2
    x = np.ones((n, width + 1), np.float32)
    features = np.concatenate([np.tile(request, (n, 1)), rank], axis=1)
    fill_inputs(x, features, n_request, slots, n_slots, crossed, mean, scale, 5.0)
    served = predict(
        one.weights, one.shape.offsets, one.shape.widths, request, rank, slots, n_slots, crossed, mean, scale,
        5.0,
    )  # fmt: skip
    np.testing.assert_allclose(served, one.outputs(x), rtol=1e-5, atol=1e-5)
    assert np.ptp(served) > 0.05


# --- a step ---


def losses_by_the_book(one: OnlineRegression, weights: Any, shifts_of: Any) -> Any:
    """The mean loss over batch and draws, written with torch's own operations."""
    h = torch.from_numpy(one.x.copy())
    ones = torch.ones(one.batch, 1)
    for layer, (at, (rows, columns)) in enumerate(
        zip(one.shape.offsets.tolist(), one.shape.sizes, strict=True)
    ):
        matrix = weights[at : at + rows * columns].view(rows, columns)
        h = h @ matrix
        if layer < len(one.shape.hidden):
            h = torch.cat([torch.relu(h) - CENTRE, ones], 1)
    target, amount = torch.from_numpy(one.losses.copy()), torch.from_numpy(one.amounts.copy())
    out = h + shifts_of(weights)[None, :]
    wanted = target[:, None].expand_as(out)
    if one.logistic:
        each = torch.nn.functional.binary_cross_entropy_with_logits(out, wanted, reduction="none")
    else:
        each = 0.5 * (out - wanted) ** 2
    return (each.mean(1) * amount).sum() / amount.sum()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("perturbation", [0.0, 0.5])
def test_a_step_goes_down_the_gradient_that_autograd_finds(
    shape: NetworkShape, logistic: bool, perturbation: float
) -> None:
    one = teach(model(shape, logistic=logistic, perturbation=perturbation, draws=3), 5)
    before = one.weights.copy()
    start = torch.from_numpy(one.shape.start(n_active=shape.inputs, bias=0.0 if logistic else 0.5, key=3))

    def shifts_of(weights: Any) -> Any:
        if not perturbation:
            return torch.zeros(1)
        bits = torch.from_numpy(one._signs.astype(np.int64))
        signs = 1.0 - 2.0 * ((bits[:, :, None] >> torch.arange(32)) & 1).reshape(3, -1)
        for first, last in shape.gaps:
            signs[:, first:last] = 0.0
        return perturbation / shape.hidden[-1] ** 0.25 * (signs @ (weights - start))

    teach(one, 1, first=5)
    weights = torch.from_numpy(before).requires_grad_()
    loss = losses_by_the_book(one, weights, shifts_of)
    loss.backward()
    assert one.loss == pytest.approx(loss.item(), rel=1e-5)
    stepped = before - np.float32(0.5 / shape.hidden[-1]) * weights.grad.numpy()
    np.testing.assert_allclose(one.weights, stepped, rtol=1e-4, atol=2e-6)


def test_signs_are_even_and_differ_from_step_to_step() -> None:
    n = 3_200
    ones, start = np.ones(n, np.float32), np.zeros(n, np.float32)
    sums, signs = np.zeros(400, np.float32), np.zeros((400, n // 32), np.uint32)
    draw_signs(ones, start, np.uint64(9), np.float32(1.0), signs, sums)
    assert abs(sums.mean()) < 4 * np.sqrt(n / 400)
    assert sums.var() == pytest.approx(n, rel=0.3)
    assert len(np.unique(signs)) > 0.999 * signs.size
    other = np.zeros_like(signs)
    draw_signs(ones, start, np.uint64(10), np.float32(1.0), other, sums)
    assert not (other == signs).any(axis=None) or (other == signs).mean() < 1e-3


def test_weights_stay_in_the_ball_around_where_they_started() -> None:
    start = model().weights.copy()
    free, bound = teach(model(), 40), teach(model(radius=0.02), 40)
    assert np.linalg.norm(free.weights - start) > 0.04
    assert np.linalg.norm(bound.weights - start) == pytest.approx(0.02, rel=1e-3)


def test_it_learns_what_no_line_can() -> None:
    one = teach(model(NetworkShape(3, (32, 32)), learning_rate=2.0, batch=32), 800)
    before = one.loss
    rng = np.random.default_rng(99)
    x = np.ones((500, 4), np.float32)
    x[:, :3] = rng.normal(size=(500, 3))
    right = (one.outputs(x) > 0.5) == (x[:, 0] * x[:, 1] > 0)
    assert right.mean() > 0.9, (right.mean(), before)


# --- restarts ---


@pytest.mark.parametrize("at", [0, 1, 7])
def test_a_restart_between_any_two_steps_ends_in_the_same_bits(at: int) -> None:
    straight = teach(model(perturbation=0.3), 12)
    stopped = teach(model(perturbation=0.3), at)
    resumed = teach(model(perturbation=0.3), 3)
    resumed.restore(stopped.snapshot())
    teach(resumed, 12 - at, first=at)
    assert resumed.weights.tobytes() == straight.weights.tobytes()
    assert resumed.snapshot()["loss"] == straight.snapshot()["loss"]


def test_it_starts_the_same_for_the_same_seed_and_predicts_everything_alike() -> None:
    x = np.ones((4, 34), np.float32)
    x[:, :-1] = np.random.default_rng(1).normal(size=(4, 33))
    assert model().weights.tobytes() == model().weights.tobytes() != model(seed=4).weights.tobytes()
    assert model().outputs(x).tolist() == [0.5] * 4
    assert model(logistic=True).outputs(x).tolist() == [0.0] * 4


def test_threads_of_others_stay_as_they_are() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        teach(model(), 2)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


# --- diverging ---


@pytest.mark.parametrize("logistic", [False, True])
def test_it_stops_where_the_loss_is_absurd_and_keeps_the_weights_of_before(logistic: bool) -> None:
    one = model(learning_rate=1e5, radius=1e6, logistic=logistic)
    good = one.weights.copy()
    while not one.diverged and one.steps < 100:
        good = one.weights.copy()
        teach(one, 1)
    assert one.diverged
    assert np.isfinite(one.weights).all()
    steps = one.steps
    teach(one, 3)
    assert one.steps == steps
    assert np.abs(one.weights).max() <= np.abs(good).max()


def test_a_batch_that_is_not_finite_stops_it_at_the_weights_that_scored_the_one_before() -> None:
    one = teach(model(), 4)
    before = one.weights.copy()
    teach(one, 1, first=4)
    one.x[0, 0] = np.nan
    one.step()
    assert one.diverged
    np.testing.assert_array_equal(one.weights, before)


# --- items by slot ---


def test_the_first_items_have_slots_of_their_own_and_later_ones_share() -> None:
    keys, wanted = np.zeros(16, np.uint64), np.arange(100, 140, dtype=np.uint64) * np.uint64(7919)
    assert find_slots(keys, wanted).tolist() == [-1] * 40
    taken = take_slots(keys, wanted)
    assert sorted(taken[:16].tolist()) == list(range(16))
    assert find_slots(keys, wanted).tolist() == taken.tolist()
    assert taken[16:].tolist() == [int(key) % 16 for key in wanted[16:]]


def test_a_network_that_is_too_large_to_travel_is_refused() -> None:
    with pytest.raises(LearnerError, match="lower item_slots or width"):
        NetworkShape(5_000, (64, 64))
