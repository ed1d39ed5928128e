"""Networks on tables for classification, five orders of each: what they cost, beside others and by halves."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

from benchmarks.quality.networks import played
from benchmarks.quality.rows import SEEDS
from benchmarks.quality.tables import TableWorld, load_table
from monitor import mean_interval

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="networks need torch"),
]
NETWORK = {"kind": "neu_fast_cb", "crossed": True, "item_slots": 32, "publish_ms": 0}
OTHERS: tuple[dict[str, Any], ...] = (
    {"kind": "lin_ucb"},
    {"kind": "lin_ucb", "top": 1, "temperature": 0.0, "spread": 0.0},
    {"kind": "epsilon_greedy"},
    {"kind": "uniform"},
)


@pytest.mark.parametrize(
    ("name", "delay"), [("magic", 1), ("mushroom", 1), ("mushroom", 100), ("satimage", 1), ("satimage", 100)]
)
def test_neu_fast_cb_costs_less_than_every_other_policy_and_its_regret_grows_slower_and_slower(
    name: str, delay: int
) -> None:
    table = load_table(name)
    if table is None:
        pytest.skip("no tables here; FRESHET_SHARED_DATA names the folder that holds them")
    n_rounds = min(10_000, len(table[1]))
    worlds = [(TableWorld(*table, seed), seed) for seed in SEEDS]
    ours = [played(NETWORK, w, n_rounds, s, delay) for w, s in worlds]
    assert mean_interval([run.growth for run in ours])[2] < 0.95
    for other in OTHERS:
        theirs = [played(other, world, n_rounds, seed, delay) for world, seed in worlds]
        apart = [them.regret - us.regret for them, us in zip(theirs, ours, strict=True)]
        assert mean_interval(apart)[1] > 0, (other, apart)
    best_class = n_rounds * np.bincount(table[1]).max() / len(table[1])
    assert min(run.reward for run in ours) > best_class
