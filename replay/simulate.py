"""Policies in closed loop on a seeded world whose best answer is known: what learning costs, as regret."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from bandits import Centroids, Policy
from bandits.worlds import BernoulliWorld, ClusterWorld, LinearWorld, World, play
from learners.world import World as PartsWorld
from learning.catalogue import POLICIES
from learning.choices import Chosen, build_chosen, chosen_parts
from monitor import Interval, mean_interval, paired_interval
from replay.errors import ReplayError

__all__ = ["WORLDS", "Simulation", "make_policies", "make_world", "simulate"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

MakePolicy = Callable[[], Policy]

_POINTS = 400
_N_CLUSTERS = 8
_DIM = 8

WORLDS: Mapping[str, Callable[[int, int], World]] = {
    "clusters": lambda n_items, seed: ClusterWorld(n_items, n_clusters=_N_CLUSTERS, seed=seed),
    "bernoulli": lambda n_items, seed: BernoulliWorld(n_items, seed=seed),
    "linear": lambda n_items, seed: LinearWorld(n_items, dim=_DIM, seed=seed),
}
"""Worlds by name: users as mixtures of clusters with favourites; fixed click rates; linear in the
features."""


def make_world(name: str, n_items: int, seed: int) -> World:
    """One of `WORLDS`.

    Raises:
        ReplayError: there is no world of that name, or it would have no items.
    """
    if name not in WORLDS or n_items < 2:
        known = ", ".join(WORLDS)
        msg = f"expected one of the worlds {known} with at least 2 items, got {name!r} with {n_items}"
        raise ReplayError(msg)
    return WORLDS[name](n_items, seed)


def make_policies(
    names: Sequence[str], world: World, configured: Sequence[Mapping[str, Any]] = ()
) -> dict[str, MakePolicy]:
    """Makers of fresh policies that fit the world.

    Args:
        names: of `configured` entries of `[[policies]]`, or kinds, which then have their defaults.
        world: what they are to play.
        configured: entries that have names.

    Raises:
        ReplayError: no policy is named.
        SettingsError: there is no policy of that name.

    Example:
        >>> world = make_world("bernoulli", 3, seed=1)
        >>> list(make_policies(["uniform", "lazy"], world, [{"kind": "epsilon_greedy", "name": "lazy"}]))
        ['uniform', 'lazy']
    """
    if not names:
        msg = f"expected policies among {', '.join(POLICIES.names())}, got none"
        raise ReplayError(msg)
    entries = {str(entry.get("name") or entry.get("kind")): entry for entry in configured}
    wanted = [entries.get(name, {"kind": name}) for name in names]
    chosen = chosen_parts(POLICIES, wanted, [f"policy {name}" for name in names])
    features = world.context(0).features
    # No graph: a world has few items, and every policy may choose from all of them.
    centroids = Centroids(1, max_clusters=_N_CLUSTERS + 1)
    parts = PartsWorld(
        request_dim=1 if features is None else features.size, parts={"graph": None, "centroids": centroids}
    )
    build_chosen(chosen, parts, Policy)
    return {one.name: _maker([one], parts) for one in chosen}


def _maker(chosen: Sequence[Chosen], parts: PartsWorld) -> MakePolicy:
    (one,) = chosen
    return lambda: cast(Policy, build_chosen(chosen, parts, Policy)[one.name])


@dataclass(frozen=True, slots=True)
class Simulation:
    """Regret curves: `at` (m,) round numbers; for each policy cumulative expected regret (n_seeds, m)."""

    at: Int64
    regret: Mapping[str, Float64]

    def final(self, policy: str) -> Interval:
        """Regret after the last round, mean over seeds with its interval; regret is never below 0."""
        mean, low, high = mean_interval(self.regret[policy][:, -1])
        return Interval(mean, max(low, 0.0), high)

    def minus(self, policy: str, other: str) -> Interval:
        """Final regret of `policy` minus that of `other`, paired by seed; below 0: `policy` is better."""
        return paired_interval(self.regret[policy][:, -1], self.regret[other][:, -1])

    def growth(self, policy: str) -> float:
        """Exponent of the mean regret's growth over the second half of the rounds: 1 is linear, a half the
        square root, 0 none at all."""
        mean = self.regret[policy].mean(axis=0)
        first, last = float(mean[self.at.size // 2]), float(mean[-1])
        if first <= 0.0 or last <= first:
            return 0.0
        return float(np.log(last / first) / np.log(self.at[-1] / self.at[self.at.size // 2]))


def simulate(
    world: World,
    policies: Mapping[str, MakePolicy],
    n_rounds: int,
    *,
    seeds: Sequence[int],
    every: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Simulation:
    """Play each policy on the world, afresh for every seed; the same arguments give the same curves.

    Expected regret of round t is max_a mu(a | x_t) - mu(a_t | x_t), which has less noise than rewards
    (Lattimore and Szepesvári 2020, chapter 4). Contexts and coins of a seed are the same for all policies, so
    differences are paired. Keeps at most 400 points a curve.

    Args:
        world: contexts and expected rewards.
        policies: names and makers of fresh policies.
        n_rounds: decisions of one item each.
        seeds: one run each; two or more for an interval.
        every: learn only so often, as a table that is refreshed with a delay.
        progress: called with the number of runs that are done.

    Raises:
        ReplayError: there is nothing to play.

    Example:
        >>> world = BernoulliWorld(4, seed=1)
        >>> run = simulate(world, make_policies(["uniform", "thompson"], world), 400, seeds=[1, 2])
        >>> run.final("thompson").mean < run.final("uniform").mean
        True
    """
    if n_rounds < 1 or not seeds or not policies or every < 1:
        msg = (
            f"a simulation needs rounds, seeds and policies; got {n_rounds}, {list(seeds)}, {list(policies)}"
        )
        raise ReplayError(msg)
    at = np.unique(np.linspace(1, n_rounds, min(_POINTS, n_rounds)).astype(np.int64))
    regret = {name: np.zeros((len(seeds), at.size)) for name in policies}
    done = 0
    for name, make in policies.items():
        for row, seed in enumerate(seeds):
            run = play(world, make(), n_rounds, seed=seed, every=every)
            regret[name][row] = np.cumsum(run.regret)[at - 1]
            done += 1
            if progress is not None:
                progress(done)
    return Simulation(at, regret)
