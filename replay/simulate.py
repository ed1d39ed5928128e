"""Policies in closed loop on a seeded world whose best answer is known: what learning costs, as regret."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from bandits import Centroids, Policy
from bandits.worlds import (
    BernoulliWorld,
    ClusterWorld,
    FlippingWorld,
    LinearWorld,
    Play,
    World,
    play,
    teaching,
)
from learners import RowBlock
from learners.part import naming
from learners.world import World as PartsWorld
from learning.catalogue import POLICIES
from learning.choices import Chosen, build_chosen, chosen_parts, policy_entries
from learning.parts import Parts, build_parts
from learning.settings import LearningSettings
from monitor import Interval, mean_interval, paired_interval
from replay.errors import ReplayError

__all__ = ["WORLDS", "Played", "Simulation", "make_policies", "make_world", "simulate"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

MakePolicy = Callable[[], "Played"]

_POINTS = 400
_N_CLUSTERS = 8
_DIM = 8
_FLIP_EVERY = 1_000

WORLDS: Mapping[str, Callable[[int, int], World]] = {
    "clusters": lambda n_items, seed: ClusterWorld(n_items, n_clusters=_N_CLUSTERS, seed=seed),
    "bernoulli": lambda n_items, seed: BernoulliWorld(n_items, seed=seed),
    "linear": lambda n_items, seed: LinearWorld(n_items, dim=_DIM, seed=seed),
    "flips": lambda n_items, seed: FlippingWorld(BernoulliWorld(n_items, seed=seed), every=_FLIP_EVERY),
}
"""Worlds by name: users as mixtures of clusters with favourites; fixed click rates; linear in the
features; click rates that are turned over every 1,000 rounds, of a second each."""


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
    names: Sequence[str], world: World, settings: LearningSettings | None = None
) -> dict[str, MakePolicy]:
    """Makers of fresh policies that fit the world, each with the parts that it needs.

    A part that another one needs is built as the settings say, and learns what the policy does. There is no
    graph: a world has few items, and every policy may choose from all of them. Nor are there users, so what
    learns of users stays empty.

    Args:
        names: of entries of `[[policies]]` in the settings, or kinds, which then have their defaults.
        world: what they are to play.
        settings: of policies and of learners that they need; None for the default ones.

    Raises:
        ReplayError: no policy is named.
        SettingsError: there is no policy of that name, or nothing meets a need.

    Example:
        >>> world = make_world("bernoulli", 3, seed=1)
        >>> lists = LearningSettings(policies=({"kind": "epsilon_greedy", "name": "lazy"},))
        >>> list(make_policies(["uniform", "lazy"], world, lists))
        ['uniform', 'lazy']
    """
    if not names:
        msg = f"expected policies among {', '.join(POLICIES.names())}, got none"
        raise ReplayError(msg)
    settings = settings or LearningSettings()
    features = world.context(0).features
    request_dim = 1 if features is None else features.size
    made = {name: _Maker(name, settings, request_dim) for name in names}
    for make in made.values():
        make()
    return dict(made)


class Played(NamedTuple):
    """A policy that plays, and what teaches a block of outcomes to it and to the parts that it needs."""

    policy: Policy
    learn: Callable[[RowBlock], object]


class _Maker:
    """Builds one policy and what it needs, out of the same catalogue as a running system."""

    def __init__(self, name: str, settings: LearningSettings, request_dim: int) -> None:
        entries = {str(entry.get("name") or entry.get("kind")): entry for entry in policy_entries(settings)}
        plain = msgspec.structs.replace(settings, policies=({"kind": "uniform"},), scorers=())
        self._settings, self._request_dim = plain, request_dim
        self._name = name
        self._chosen = _with_needs(name, entries, set(_empty_parts(build_parts(plain))))

    def __call__(self) -> Played:
        parts = build_parts(self._settings)
        world = PartsWorld(
            dim=parts.users.dim,
            request_dim=self._request_dim,
            cap=1.0,
            parts=_empty_parts(parts),
            trains=True,
        )
        built: dict[str, Policy] = build_chosen(self._chosen, world, Policy)
        needed = {need for one in self._chosen for need in one.kind.needs(one.settings)}
        policy = built.pop(self._name)
        learning = {**built, self._name: policy}
        # What it reads of one learner may come from another, so all of those learn, or none.
        has_learners = not needed.isdisjoint(_empty_parts(parts).keys() - {"graph", "centroids"})
        if not (built or has_learners):
            return Played(policy, teaching(policy))
        taught = {name: teaching(each) for name, each in learning.items()}

        def learn(block: RowBlock) -> None:
            if has_learners:
                parts.learn_both(block)
            for name, teach in taught.items():
                with naming(name):
                    teach(block)

        return Played(policy, learn)


def _empty_parts(parts: Parts) -> dict[str, Any]:
    """Every part that a policy may read and that is no policy itself."""
    centroids = Centroids(1, max_clusters=_N_CLUSTERS + 1)
    found = {**parts.readable(), "graph": None, "centroids": centroids}
    return {name: part for name, part in found.items() if name not in parts.policies}


def _with_needs(name: str, entries: Mapping[str, Mapping[str, Any]], there: Collection[str]) -> list[Chosen]:
    """A policy and the policies that it needs; one that is not configured is of the kind of that name."""
    kinds = POLICIES.names()
    found: dict[str, Chosen] = {}
    wanted = [name]
    while wanted:
        each = wanted.pop()
        if each in found or each in there or not (each == name or each in entries or each in kinds):
            continue
        (one,) = chosen_parts(POLICIES, [entries.get(each, {"kind": each})], [f"policy {each}"])
        found[each] = one
        wanted += one.kind.needs(one.settings)
    return list(found.values())


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
        PartError: a policy, or a part that it needs, raises.

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
            run = _run(name, make(), world, n_rounds, seed=seed, every=every)
            regret[name][row] = np.cumsum(run.regret)[at - 1]
            done += 1
            if progress is not None:
                progress(done)
    return Simulation(at, regret)


def _run(name: str, played: Played, world: World, n_rounds: int, *, seed: int, every: int) -> Play:
    """As `play`; what a policy raises bears its name."""

    def learn(block: RowBlock) -> None:
        with naming(name):
            played.learn(block)

    with naming(name, "decided"):
        return play(world, played.policy, n_rounds, seed=seed, every=every, learn=learn)
