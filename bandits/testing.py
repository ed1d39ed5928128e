"""The contract that every policy must pass; inherit `PolicyContract` in a test and say how to make one.

    class TestUniform(PolicyContract):
        def make(self) -> Policy:
            return Uniform()

`settings` are constructor arguments with unusual values that must arrive; `world` and the two bounds say how
well the policy must learn. A policy that does not learn sets `regret_bound` to None and says why in a
comment.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from bandits.base import Context, Policy
from bandits.draws import Draws
from bandits.ops.arrays import Float64, Int32
from bandits.policies.uniform import Uniform
from bandits.slate import build_slate
from bandits.worlds import BernoulliWorld, World, as_lists, play, row_block
from learners.part import learns_lists
from learners.rows import RowBlock
from stream.frame import pack, unpack

__all__ = ["PolicyContract", "cut", "digest"]

_OPERATIONS = ("kind", "slate", "place", "user", "item", "reward", "first", "ts", "before")


def digest(policy: Policy) -> bytes:
    """The whole state as bytes."""
    return pack(policy.snapshot())


def cut(block: RowBlock, low: int, high: int) -> RowBlock:
    """The operations low..high of a block, over the same slates."""
    return replace(block, **{name: getattr(block, name)[low:high] for name in _OPERATIONS})


def _teach(policy: Policy, block: RowBlock) -> Int32:
    """Lists first, as a running system does; the item rows that `learn` touched."""
    policy.learn_lists(block)
    return policy.learn(block)


class PolicyContract(ABC):
    """What every policy promises; each check is one sentence of the contract."""

    settings: ClassVar[Mapping[str, Any]] = {}
    n_items = 6
    rounds = 2_000
    seeds = (1, 2, 3)
    regret_bound: float | None = 150.0
    """Largest mean regret over the seeds after `rounds`."""
    share_of_uniform = 0.5
    """Largest share of the uniform policy's regret."""

    @abstractmethod
    def make(self) -> Policy:
        """A policy that knows nothing yet; called more than once, each a new one."""

    def make_with(self, settings: Mapping[str, Any]) -> Policy:
        """A policy of the same class with these settings beside the necessary ones."""
        return type(self.make())(**settings)

    def world(self, seed: int) -> World:
        """A world that this policy can learn."""
        return BernoulliWorld(self.n_items, seed=seed)

    # --- helpers ---

    def _everything(self) -> Int32:
        return np.arange(self.n_items, dtype=np.int32)

    def _block(self, seed: int, n: int = 40) -> RowBlock:
        rng, world = np.random.default_rng(seed), self.world(seed)
        items = np.stack([rng.permutation(world.n_items)[:3] for _ in range(n)]).astype(np.int32)
        block = row_block(
            [world.context(t) for t in range(n)], items, rng.integers(0, 2, (n, 3)).astype(np.float64)
        )
        return as_lists(block, 0) if learns_lists(self.make()) else block

    def _taught(self) -> tuple[Policy, Context]:
        policy = self.make()
        _teach(policy, self._block(1))
        return policy, self.world(1).context(3)

    def _answers(self, policy: Policy) -> Float64:
        return policy.probabilities(self.world(1).context(3), self._everything())

    # --- probabilities ---

    def test_probabilities_sum_to_one_before_and_after_learning(self) -> None:
        fresh, (taught, context) = self.make(), self._taught()
        for policy in (fresh, taught):
            p = policy.probabilities(context, self._everything())
            assert (p >= 0).all(), p
            assert abs(p.sum() - 1.0) < 1e-9, p

    def test_without_a_candidate_all_probabilities_are_zero(self) -> None:
        policy, context = self._taught()
        assert policy.probabilities(context, np.zeros(0, np.int32)).tolist() == []
        assert policy.probability(context, self._everything(), 99) == 0.0

    def test_observed_frequencies_agree_with_the_probabilities(self) -> None:
        policy, context = self._taught()
        n, p = 1_500, policy.probabilities(context, self._everything())
        picks = [policy.decide(context, self._everything(), Draws(5, str(i))).place for i in range(n)]
        seen = np.bincount(picks, minlength=self.n_items) / n
        assert (np.abs(seen - p) <= 5 * np.sqrt(p * (1 - p) / n) + 1e-12).all(), (seen, p)

    def test_a_choice_carries_its_own_probability_and_place(self) -> None:
        policy, context = self._taught()
        candidates = self._everything()[::-1].copy()
        choice = policy.decide(context, candidates, Draws(1, "r"))
        assert candidates[choice.place] == choice.item
        assert abs(choice.probability - policy.probability(context, candidates, choice.item)) < 1e-12

    def test_at_every_place_of_a_slate_the_propensity_is_the_share_among_those_not_above(self) -> None:
        (taught, context), everything = self._taught(), self._everything()
        for policy in (self.make(), taught):  # all tie in the first
            left = everything
            slated = build_slate(
                left[:0], policy, left, context, epsilon=1.0, k=left.size, draws=Draws(2, "r")
            )
            assert slated.items.size > 0
            for item, propensity in zip(slated.items.tolist(), slated.propensities.tolist(), strict=True):
                share = policy.probability(context, left, item)
                assert abs(propensity - share) <= 1e-6 * share, (item, propensity, share)
                left = left[left != item]

    def test_the_same_draws_give_the_same_choice(self) -> None:
        policy, context = self._taught()
        first, second = (policy.decide(context, self._everything(), Draws(3, "r")) for _ in range(2))
        assert first == second

    # --- what is seen from outside ---

    def test_what_it_knows_of_an_item_can_be_written_down_and_of_a_stranger_it_knows_nothing(self) -> None:
        policy, _ = self._taught()
        known = [policy.describe(row) for row in range(self.n_items)]
        assert json.loads(json.dumps(known)) == known
        assert policy.describe(99) == self.make().describe(0) == {}

    def test_what_the_hooks_are_told_is_no_learning(self) -> None:
        policy, _ = self._taught()
        before = digest(policy)
        policy.served(self._everything())
        policy.age_pending()
        policy.centroids_gone(np.zeros(0, np.int32))
        assert digest(policy) == before

    # --- state ---

    def test_reading_never_writes(self) -> None:
        policy, context = self._taught()
        before = digest(policy)
        for i in range(50):
            rows = np.arange(1_000 + 20 * i, 1_020 + 20 * i, dtype=np.int32)
            policy.probabilities(context, rows)
            policy.decide(context, rows, Draws(1, str(i)))
        assert digest(policy) == before

    def test_the_same_operations_in_other_batches_give_the_same_bits(self) -> None:
        block, whole, pieces = self._block(1), self.make(), self.make()
        _teach(whole, block)
        for o in range(len(block)):
            _teach(pieces, cut(block, o, o + 1))
        assert digest(whole) == digest(pieces)

    def test_it_resumes_from_a_snapshot_as_if_nothing_had_happened(self) -> None:
        straight, stopped, resumed = self.make(), self.make(), self.make()
        _teach(straight, self._block(1))
        _teach(stopped, self._block(1))
        _teach(resumed, self._block(9))
        resumed.restore(unpack(digest(stopped)))
        for policy in (straight, resumed):
            _teach(policy, self._block(2))
        assert digest(straight) == digest(resumed)

    def test_a_snapshot_does_not_change_with_later_learning(self) -> None:
        policy, _ = self._taught()
        frame = policy.snapshot()
        before = pack(frame)
        _teach(policy, self._block(2))
        assert pack(frame) == before

    def test_a_replica_that_follows_the_changes_answers_alike(self) -> None:
        policy, replica = self.make(), self.make()
        for seed in (1, 2):
            _teach(policy, self._block(seed))
            replica.apply(unpack(pack(policy.changes())))
        policy.remove_items(np.array([2], np.int32))
        replica.apply(unpack(pack(policy.changes())))
        assert self._answers(replica).tolist() == self._answers(policy).tolist()

    def test_a_removed_item_is_as_if_never_seen(self) -> None:
        policy = self.make()
        _teach(policy, self._block(1))
        policy.remove_items(self._everything())
        assert self._answers(policy).tolist() == self._answers(self.make()).tolist()

    def test_somebody_elses_slates_teach_nothing(self) -> None:
        policy, block = self.make(), self._block(1)
        before = self._answers(policy).tolist()
        touched = _teach(policy, replace(block, decided=np.zeros_like(block.decided)))
        assert touched.size == 0
        assert self._answers(policy).tolist() == before

    def test_items_without_a_row_are_counted_and_not_learned(self) -> None:
        policy, block = self.make(), self._block(1)
        touched = _teach(policy, replace(block, items=np.full_like(block.items, -1)))
        assert touched.size == 0

    def test_learning_leaves_the_block_as_it_was(self) -> None:
        block = self._block(1)
        before = {name: column.tobytes() for name, column in block.columns().items()}
        _teach(self.make(), block)
        assert {name: column.tobytes() for name, column in block.columns().items()} == before

    def test_constructor_arguments_arrive(self) -> None:
        policy = self.make_with(self.settings)
        assert {name: getattr(policy, name) for name in self.settings} == dict(self.settings)

    # --- learning ---

    def test_it_learns_the_planted_world(self) -> None:
        if self.regret_bound is None:
            return
        worlds = [(self.world(seed), seed) for seed in self.seeds]
        ours = np.mean([play(w, self.make(), self.rounds, seed=s).regret.sum() for w, s in worlds])
        blind = np.mean([play(w, Uniform(), self.rounds, seed=s).regret.sum() for w, s in worlds])
        assert ours <= self.regret_bound, ours
        assert ours <= self.share_of_uniform * blind, (ours, blind)
