"""Every policy of the room passes the contract."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from bandits import BetaThompson, DiagLinUcb, EpsilonGreedy, LinUcb, Policy, Uniform
from bandits.forgetting import Forgetting
from bandits.ops.arrays import Float32, Int32
from bandits.policies.neu_fast_cb import NeuFastCb
from bandits.policies.neu_fast_cb import Settings as FastSettings
from bandits.policies.neu_square_cb import NeuSquareCb
from bandits.policies.neu_square_cb import Settings as SquareSettings
from bandits.testing import PolicyContract
from bandits.worlds import ClusterWorld, LinearWorld, World
from learning.catalogue import POLICIES
from learning.parts import build_parts
from learning.settings import LearningSettings


class TestUniform(PolicyContract):
    regret_bound = None  # it is what the others are measured with

    def make(self) -> Policy:
        return Uniform()


class TestEpsilonGreedy(PolicyContract):
    settings: ClassVar[Mapping[str, Any]] = {"exploration": 0.3, "optimism": 0.7}

    def make(self) -> Policy:
        return EpsilonGreedy()


class TestBetaThompson(PolicyContract):
    settings: ClassVar[Mapping[str, Any]] = {"prior_reward": 2.0, "prior_none": 3.0, "cap": 5.0}

    def make(self) -> Policy:
        return BetaThompson()


class TestBetaThompsonThatFades(TestBetaThompson):
    # In half an hour of rounds the best arm's lead over the second is forgotten more than once.
    regret_bound = 250.0
    settings: ClassVar[Mapping[str, Any]] = {"forgetting": Forgetting(half_life_ms=600_000)}

    def make(self) -> Policy:
        return BetaThompson(forgetting=Forgetting(half_life_ms=600_000))


@pytest.mark.long
class TestEpsilonGreedyOfAWindow(TestEpsilonGreedy):
    settings: ClassVar[Mapping[str, Any]] = {"forgetting": Forgetting(window_ms=900_000, window_parts=3)}

    def make(self) -> Policy:
        return EpsilonGreedy(forgetting=Forgetting(window_ms=900_000, window_parts=3))


class TestDiagLinUcb(PolicyContract):
    settings: ClassVar[Mapping[str, Any]] = {"alpha": 0.7, "top": 3, "temperature": 0.1, "spread": 0.2}
    regret_bound = 250.0

    def make(self) -> Policy:
        return DiagLinUcb()

    def world(self, seed: int) -> World:
        return ClusterWorld(self.n_items, n_clusters=3, seed=seed)


class TestDiagLinUcbThatFades(TestDiagLinUcb):
    settings: ClassVar[Mapping[str, Any]] = {"forgetting": Forgetting(half_life_ms=600_000)}

    def make(self) -> Policy:
        return DiagLinUcb(forgetting=Forgetting(half_life_ms=600_000))


class TestLinUcbOverClusters(PolicyContract):
    settings: ClassVar[Mapping[str, Any]] = {
        "alpha": 0.7,
        "l2": 2.0,
        "max_arms": 9,
        "freeze_rows": 77,
        "top": 2,
        "temperature": 0.3,
        "spread": 0.1,
    }

    def make(self) -> Policy:
        return LinUcb(4, source="clusters")

    def make_with(self, settings: Mapping[str, Any]) -> Policy:
        return LinUcb(7, **settings)

    def world(self, seed: int) -> World:
        return ClusterWorld(self.n_items, n_clusters=3, seed=seed)


@pytest.mark.long
class TestLinUcbOfAWindow(TestLinUcbOverClusters):
    settings: ClassVar[Mapping[str, Any]] = {"forgetting": Forgetting(window_ms=900_000)}

    def make(self) -> Policy:
        return LinUcb(4, source="clusters", forgetting=Forgetting(window_ms=900_000))


class TestLinUcbOverFeatures(PolicyContract):
    def make(self) -> Policy:
        return LinUcb(4, freeze_rows=0)

    def make_with(self, settings: Mapping[str, Any]) -> Policy:
        return LinUcb(4, **settings)

    def world(self, seed: int) -> World:
        return LinearWorld(self.n_items, dim=4, seed=seed)


def name_of_item(rows: Int32) -> Float32:
    return np.concatenate([np.ones((rows.size, 1)), rows[:, None] == np.arange(6)], 1, dtype=np.float32)


class TestLinUcbOverRequestByItem(PolicyContract):
    settings: ClassVar[Mapping[str, Any]] = {"l2": 2.0, "freeze_rows": 7}

    def make(self) -> Policy:
        return LinUcb(4, item_features=name_of_item, item_dim=7, freeze_rows=0)

    def make_with(self, settings: Mapping[str, Any]) -> Policy:
        return LinUcb(4, item_features=name_of_item, item_dim=7, **settings)

    def world(self, seed: int) -> World:
        return LinearWorld(self.n_items, dim=4, seed=seed)

    def test_a_removed_item_is_as_if_never_seen(self) -> None:
        """What was learned belongs to features, not to items."""
        policy, _ = self._taught()
        before = self._answers(policy).tolist()
        policy.remove_items(self._everything())
        assert self._answers(policy).tolist() == before


class TestNeuSquareCb(PolicyContract):
    settings: ClassVar[Mapping[str, Any]] = {
        "cap": 5.0,
        "settings": SquareSettings(gamma0=3.0, width=8, perturb=False),
    }
    regret_bound, share_of_uniform = 450.0, 0.5

    def make(self) -> Policy:
        return NeuSquareCb(4, settings=SquareSettings(publish_ms=0))

    def make_with(self, settings: Mapping[str, Any]) -> Policy:
        return NeuSquareCb(4, **settings)

    def world(self, seed: int) -> World:
        return LinearWorld(self.n_items, dim=4, seed=seed)

    def test_a_removed_item_is_as_if_never_seen(self) -> None:
        """What was learned is in weights that all items share; its key is never another item's."""
        policy, _ = self._taught()
        before = self._answers(policy).tolist()
        policy.remove_items(self._everything())
        assert self._answers(policy).tolist() == before


class TestNeuFastCb(TestNeuSquareCb):
    settings: ClassVar[Mapping[str, Any]] = {
        "cap": 5.0,
        "settings": FastSettings(gamma0=3.0, layers=1, crossed=True),
    }

    def make(self) -> Policy:
        return NeuFastCb(4, settings=FastSettings(publish_ms=0))

    def make_with(self, settings: Mapping[str, Any]) -> Policy:
        return NeuFastCb(4, **settings)


def test_no_kind_of_the_catalogue_is_outside_the_net() -> None:
    entries = tuple({"kind": kind} for kind in POLICIES.own())
    policies = build_parts(LearningSettings(policies=entries)).policies.values()
    cases = [c for c in globals().values() if inspect.isclass(c) and issubclass(c, PolicyContract)]
    made = {type(case().make()) for case in cases if not inspect.isabstract(case)}
    assert {type(policy) for policy in policies} == made
