"""Policies on worlds that are turned over once: what each earns before the flip, where forgetting only costs,
and after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bandits.worlds import ROUND_MS, BernoulliWorld, ClusterWorld, FlippingWorld, LinearWorld, World, play
from benchmarks.quality.rows import SEEDS, Row, summary
from learning.settings import LearningSettings
from replay.simulate import make_policies

__all__ = ["HALF_LIFE", "PLAYERS", "WINDOW", "earned", "players", "rows", "world_of"]

Float64 = npt.NDArray[np.float64]

HALF_LIFE, WINDOW = 600 * ROUND_MS, 1_600 * ROUND_MS
"""Tried once and not tuned: an arm that leads is seen some hundred times in either."""
_EVERY = 10  # what was answered is learned so many rounds later, as behind a log
_N_ITEMS = 10

PLAYERS: Mapping[str, str] = {"bernoulli": "thompson", "clusters": "diag_lin_ucb", "linear": "lin_ucb"}
"""For each world a kind of policy that can learn it."""


def rows(quick: bool) -> list[Row]:
    """Expected clicks before the flip and after it, for each policy as it is and as it forgets."""
    flip, seeds = (1_000, SEEDS) if quick else (5_000, range(1, 21))
    found: list[Row] = []
    for name, kind in PLAYERS.items():
        for player, entry in players(kind).items():
            clicks = np.stack([earned(name, entry, 2 * flip, flip=flip, seed=seed) for seed in seeds])
            for when, part in (("before", clicks[:, :flip]), ("after", clicks[:, flip:])):
                metric = f"clicks in 1,000 rounds, over {flip:,} {when} a flip"
                found.append(summary(name, player, metric, (1_000 * part.mean(axis=1)).tolist()))
    return found


def players(kind: str) -> dict[str, dict[str, Any]]:
    """Entries of `[[policies]]`: a kind as it is, as it forgets, and chance."""
    forgets = {"half_life": {"half_life_ms": HALF_LIFE}, "window": {"window_ms": WINDOW}}
    more = {f"{kind}_{how}": {"kind": kind, **settings} for how, settings in forgets.items()}
    return {"uniform": {"kind": "uniform"}, kind: {"kind": kind}, **more}


def world_of(name: str, seed: int) -> World:
    """A world with fixed rates."""
    if name == "bernoulli":
        return BernoulliWorld(_N_ITEMS, seed=seed)
    if name == "clusters":
        return ClusterWorld(_N_ITEMS, n_clusters=4, seed=seed)
    return LinearWorld(_N_ITEMS, dim=6, seed=seed)


def earned(name: str, entry: Mapping[str, Any], n_rounds: int, *, flip: int, seed: int) -> Float64:
    """The rates (n_rounds,) of what a policy chose in a world that is turned over every `flip` rounds."""
    world = FlippingWorld(world_of(name, seed), every=flip)
    settings = LearningSettings(policies=({**entry, "name": "player"},))
    played = make_policies(["player"], world, settings)["player"]()
    run = play(world, played.policy, n_rounds, seed=seed, every=_EVERY, learn=played.learn)
    return np.array([world.rates(world.context(t))[item] for t, item in enumerate(run.items.tolist())])
