"""Networks on tables for classification: with and without the perturbation, fed back late, halves of the run.

Deb et al. (ICLR 2024) measure networks so, and do not show what the perturbation alone brings. A class is an
item, the right one is worth 1; each row of the table is one round, in an order drawn by the seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from benchmarks.quality import worlds
from benchmarks.quality.rows import SEEDS, Row, shared_data, summary
from benchmarks.quality.tables import TABLES, TableWorld, load_table

__all__ = ["Run", "played", "rows"]

# As in the paper each class has a block of its own; weights are those of the newest batch.
_PAPER: Mapping[str, Any] = {"crossed": True, "item_slots": 32, "publish_ms": 0}
_POLICIES: tuple[Mapping[str, Any], ...] = (
    {"kind": "neu_fast_cb", "name": "neu_fast_cb", **_PAPER},
    {"kind": "neu_fast_cb", "name": "neu_fast_cb, unperturbed", "perturb": False, **_PAPER},
    {"kind": "neu_square_cb", "name": "neu_square_cb", **_PAPER},
    {"kind": "neu_square_cb", "name": "neu_square_cb, unperturbed", "perturb": False, **_PAPER},
    {"kind": "lin_ucb", "name": "lin_ucb"},
    {"kind": "lin_ucb", "name": "lin_ucb, always its best", "top": 1, "temperature": 0.0, "spread": 0.0},
    {"kind": "epsilon_greedy", "name": "epsilon_greedy"},
    {"kind": "uniform", "name": "uniform"},
)
_LATE = 100
"""Rounds whose feedback comes together, on `_LATE_TABLES`; else it comes at once."""
_LATE_TABLES = ("mushroom", "optdigits", "satimage")


class Run(NamedTuple):
    """What a policy earned on a table."""

    reward: float
    regret: float
    growth: float
    """Regret of the second half by that of the first: 1 is linear."""


def rows(quick: bool) -> list[Row]:
    """Reward, regret and its growth of each policy on each table, fed back at once and late."""
    if shared_data("bandit_classification") is None or not find_spec("torch"):
        return []
    found: list[Row] = []
    for name in TABLES[2:3] if quick else TABLES:
        table = load_table(name)
        if table is None:
            return []
        n_rounds = 1_000 if quick else min(10_000, len(table[1]))
        for delay in (1, _LATE) if name in _LATE_TABLES and not quick else (1,):
            world = name if delay == 1 else f"{name}, feedback {delay} rounds late"
            for policy in _POLICIES:
                runs = [played(policy, TableWorld(*table, seed), n_rounds, seed, delay) for seed in SEEDS]
                found += _summaries(world, str(policy["name"]), n_rounds, runs)
            best = [(np.bincount(table[1]).max() / len(table[1])) * n_rounds] * len(SEEDS)
            runs = [Run(reward, n_rounds - reward, 1.0) for reward in best]
            found += _summaries(world, "(best class alone)", n_rounds, runs)
    return found


def played(policy: Mapping[str, Any], world: TableWorld, n_rounds: int, seed: int, delay: int) -> Run:
    """Play a policy, an entry of `[[policies]]`, once; `delay` rounds are learned together."""
    run = worlds.played(policy, world, n_rounds, seed=seed, every=delay)
    half = n_rounds // 2
    first, second = float(run.regret[:half].sum()), float(run.regret[half:].sum())
    return Run(float(run.rewards.sum()), first + second, second / max(first, 1.0))


def _summaries(world: str, name: str, n_rounds: int, runs: list[Run]) -> list[Row]:
    after = f"after {n_rounds:,} rounds"
    return [
        summary(world, name, f"reward {after}", [run.reward for run in runs]),
        summary(world, name, f"regret {after}", [run.regret for run in runs], higher_is_better=False),
        summary(
            world, name, "regret of the second half by that of the first", [run.growth for run in runs],
            higher_is_better=False,
        ),
    ]  # fmt: skip
