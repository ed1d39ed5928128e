"""Every policy of the room passes the contract."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import bandits
from bandits import BetaThompson, DiagLinUcb, EpsilonGreedy, LinUcb, Policy, Uniform
from bandits.testing import PolicyContract
from bandits.worlds import ClusterWorld, LinearWorld, World


class TestUniform(PolicyContract):
    regret_bound = None  # it is what the others are measured with

    def make(self) -> Policy:
        return Uniform()


class TestEpsilonGreedy(PolicyContract):
    settings: ClassVar[Mapping[str, Any]] = {"exploration": 0.3, "optimism": 0.7}

    def make(self) -> Policy:
        return EpsilonGreedy()


class TestBetaThompson(PolicyContract):
    settings: ClassVar[Mapping[str, Any]] = {"prior_reward": 2.0, "prior_none": 3.0, "cap": 5.0, "bins": 32}

    def make(self) -> Policy:
        return BetaThompson()


class TestDiagLinUcb(PolicyContract):
    settings: ClassVar[Mapping[str, Any]] = {"alpha": 0.7, "top": 3, "temperature": 0.1, "spread": 0.2}
    regret_bound = 250.0

    def make(self) -> Policy:
        return DiagLinUcb()

    def world(self, seed: int) -> World:
        return ClusterWorld(self.n_items, n_clusters=3, seed=seed)


class TestLinUcbOverClusters(PolicyContract):
    settings: ClassVar[Mapping[str, Any]] = {
        "source": "features",
        "alpha": 0.7,
        "l2": 2.0,
        "max_arms": 9,
        "top": 2,
        "temperature": 0.3,
        "spread": 0.1,
    }

    def make(self) -> Policy:
        return LinUcb(4)

    def make_with(self, settings: Mapping[str, Any]) -> Policy:
        return LinUcb(7, **settings)

    def world(self, seed: int) -> World:
        return ClusterWorld(self.n_items, n_clusters=3, seed=seed)


class TestLinUcbOverFeatures(PolicyContract):
    def make(self) -> Policy:
        return LinUcb(4, source="features")

    def make_with(self, settings: Mapping[str, Any]) -> Policy:
        return LinUcb(4, **settings)

    def world(self, seed: int) -> World:
        return LinearWorld(self.n_items, dim=4, seed=seed)


def test_no_policy_is_outside_the_net() -> None:
    policies = {
        thing
        for name in bandits.__all__
        if inspect.isclass(thing := getattr(bandits, name))
        and hasattr(thing, "decide")
        and not inspect.isabstract(thing)
        and not getattr(thing, "_is_protocol", False)
    }
    cases = [c for c in globals().values() if inspect.isclass(c) and issubclass(c, PolicyContract)]
    assert policies == {type(case().make()) for case in cases if not inspect.isabstract(case)}
