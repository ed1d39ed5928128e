"""LinUCB on five tables for classification: a class is an item, and the right one is worth 1."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from bandits import Context, Draws, LinUcb
from bandits.ops.arrays import Float32, Int32
from bandits.worlds import row_block
from benchmarks.quality.tables import TABLES, load_table

SEEDS, EVERY = (1, 2, 3), 10  # feedback comes ten requests late


@cache
def table(name: str) -> tuple[Float32, Int32]:
    """Features (n, d), the first of them 1, and the right class (n,)."""
    found = load_table(name)
    if found is None:
        pytest.skip("no tables here; FRESHET_SHARED_DATA names the folder that holds them")
    return found


def shuffled(name: str, seed: int) -> tuple[Float32, Int32]:
    x, right = table(name)
    order = np.random.default_rng(seed).permutation(len(x))
    return x[order], right[order]


def textbook_reward(x: Float32, right: Int32) -> float:
    """Share of requests that get the right class from Li et al. 2010, Algorithm 1, on z known beforehand."""
    spread = x.std(axis=0)
    z = np.where(spread > 0, (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1), x == 1).astype(float)
    n_arms, dim = int(right.max()) + 1, z.shape[1]
    inverses, b, won = np.stack([np.eye(dim)] * n_arms), np.zeros((n_arms, dim)), 0.0
    for low in range(0, len(z), EVERY):
        asked = z[low : low + EVERY]
        solved = np.einsum("kij,nj->nki", inverses, asked)
        widths = np.sqrt(np.einsum("nki,ni->nk", solved, asked))
        chosen = (np.einsum("nki,ki->nk", solved, b) + 0.5 * widths).argmax(axis=1)
        for one, arm, is_right in zip(asked, chosen, chosen == right[low : low + EVERY], strict=True):
            v = inverses[arm] @ one
            inverses[arm] -= np.outer(v, v) / (1 + v @ one)
            b[arm] += is_right * one
            won += is_right
    return won / len(z)


def reward(policy: LinUcb, x: Float32, right: Int32, seed: int) -> float:
    arms, won = np.arange(right.max() + 1, dtype=np.int32), 0.0
    nobody = (np.zeros(1, np.int32), np.ones(1, np.float32))
    for low in range(0, len(x), EVERY):
        contexts = [Context(*nobody, row) for row in x[low : low + EVERY]]
        picks = [policy.decide(c, arms, Draws(seed, f"{low}-{n}")).item for n, c in enumerate(contexts)]
        chosen = np.array(picks, np.int32)
        rewards = (chosen == right[low : low + EVERY]).astype(np.float64)
        policy.learn(row_block(contexts, chosen[:, None], rewards[:, None]))
        won += rewards.sum()
    return won / len(x)


def mean_reward(name: str, make: Callable[[int], LinUcb]) -> float:
    runs = [(seed, *shuffled(name, seed)) for seed in SEEDS]
    return float(np.mean([reward(make(x.shape[1]), x, right, seed) for seed, x, right in runs]))


@pytest.mark.parametrize("name", TABLES)
def test_it_earns_what_the_textbook_earns_with_its_scale_known_beforehand(name: str) -> None:
    textbook = np.mean([textbook_reward(*shuffled(name, seed)) for seed in SEEDS])
    ours = mean_reward(name, lambda dim: LinUcb(dim, top=1, temperature=0.0, spread=0.0))
    assert ours >= 0.99 * textbook, (ours, textbook)


@pytest.mark.parametrize("name", TABLES)
def test_the_default_policy_earns_more_than_the_best_class_alone(name: str) -> None:
    _, right = table(name)
    ours = mean_reward(name, LinUcb)
    assert ours > np.bincount(right).max() / len(right), ours
