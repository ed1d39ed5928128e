"""Policies on worlds that are turned over once: what each earns before the flip, where forgetting only costs,
and after it; and what detectors of drift find of a flip, and where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from bandits.base import Context
from bandits.drift import DriftSettings, DriftWatch
from bandits.worlds import (
    ROUND_MS,
    BernoulliWorld,
    ClusterWorld,
    FlippingWorld,
    LinearWorld,
    World,
    row_block,
)
from benchmarks.quality.rows import SEEDS, Row, summary
from benchmarks.quality.worlds import played
from learners.rows import RowBlock
from stream.blocks import CLOSED

__all__ = [
    "DETECTORS",
    "HALF_LIFE",
    "PLAYERS",
    "WINDOW",
    "alarms",
    "closed",
    "earned",
    "players",
    "rows",
    "world_of",
]

Float64 = npt.NDArray[np.float64]

HALF_LIFE, WINDOW = 600 * ROUND_MS, 1_600 * ROUND_MS
"""Tried once and not tuned: an arm that leads is seen some hundred times in either."""
DETECTORS = ("adwin", "page_hinkley", "kswin")
_RATES = (0.02, 0.1, 0.3, 0.5)
_N_ITEMS = 10

PLAYERS: Mapping[str, str] = {"bernoulli": "thompson", "clusters": "diag_lin_ucb", "linear": "lin_ucb"}
"""For each world a kind of policy that can learn it."""


def rows(quick: bool) -> list[Row]:
    """Expected clicks before the flip and after it, for each policy as it is and as it forgets."""
    flip, seeds = (1_000, SEEDS) if quick else (5_000, range(1, 21))
    detectors = DETECTORS[:1] if quick else DETECTORS  # the others need more rounds, or more time
    found: list[Row] = []
    for name, kind in PLAYERS.items():
        for player, entry in players(kind, detectors).items():
            clicks = np.stack([earned(name, entry, 2 * flip, flip=flip, seed=seed) for seed in seeds])
            for when, part in (("before", clicks[:, :flip]), ("after", clicks[:, flip:])):
                metric = f"clicks in 1,000 rounds, over {flip:,} {when} a flip"
                found.append(summary(name, player, metric, (1_000 * part.mean(axis=1)).tolist()))
    return found + _detected(quick)


def players(kind: str, detectors: Sequence[str] = DETECTORS) -> dict[str, dict[str, Any]]:
    """Entries of `[[policies]]`: a kind as it is, as it forgets, as detectors have it forget, and chance."""
    forgets: dict[str, dict[str, Any]] = {
        "half_life": {"half_life_ms": HALF_LIFE},
        "window": {"window_ms": WINDOW},
        **{detector: {"detector": detector} for detector in detectors},
    }
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
    run = played(entry, world, n_rounds, seed=seed)
    return np.array([world.rates(world.context(t))[item] for t, item in enumerate(run.items.tolist())])


def _detected(quick: bool) -> list[Row]:
    """Of each detector: impressions from a flip to its alarm, and alarms where nothing changes."""
    n, seeds = (10_000, SEEDS) if quick else (100_000, range(1, 21))
    found = []
    for detector in DETECTORS[:2] if quick else DETECTORS:
        for before, after in ((0.3, 0.05), (0.05, 0.3), (0.1, 0.2)):
            runs = [alarms(detector, [(3_000, before), (1_000, after)], seed) for seed in seeds]
            shares = [100.0 * any(at > 3_000 for at in run) for run in runs]
            metric = f"% of flips from {before} to {after} found in 1,000 impressions"
            found.append(summary("one arm", detector, metric, shares))
        still = [
            sum(len(alarms(detector, [(n, rate)], seed)) for rate in _RATES) * 100_000 / (n * len(_RATES))
            for seed in seeds
        ]
        metric = "false alarms in 100,000 impressions"
        found.append(summary("one arm", detector, metric, still, higher_is_better=False))
    return found


def alarms(detector: str, stretches: Sequence[tuple[int, float]], seed: int) -> list[int]:
    """At which impressions of one arm a detector gives alarms; it has so many of each rate in turn."""
    rng = np.random.default_rng(seed)
    rewards = np.concatenate([rng.random(n) < rate for n, rate in stretches]).astype(float)
    nobody = Context(np.zeros(1, np.int32), np.ones(1, np.float32))
    settings = msgspec.convert({"detector": detector, "detect_after": 0}, DriftSettings)
    watch, done, found = DriftWatch(settings), 0, list[int]()
    for low in range(0, rewards.size, 1_000):
        block = row_block([nobody] * 1_000, np.zeros((1_000, 1), np.int32), rewards[low : low + 1_000, None])
        for piece, drifted in watch.pieces(closed(block)):
            done += len(piece)
            found += [done] * drifted.size
    return found


def closed(block: RowBlock) -> RowBlock:
    """The slates of a block again, when their windows close."""
    n = block.decided.size
    none, zero, slates = np.full(n, -1, np.int32), np.zeros(n), np.arange(n, dtype=np.int32)
    return replace(
        block, kind=np.full(n, CLOSED, np.int8), slate=slates, place=none, user=none, item=none, reward=zero,
        first=zero.astype(np.bool_), ts=np.zeros(n, np.int64), before=zero, stands_for=1 + zero,
        explored=np.ones(block.items.size, np.bool_),
    )  # fmt: skip
