"""Slates: the logged propensity is the probability of this item at this place, given the items above."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from bandits import (
    BetaThompson,
    Choice,
    Context,
    DiagLinUcb,
    Draws,
    EpsilonGreedy,
    LinUcb,
    Places,
    Policy,
    PolicyError,
    Slated,
    Uniform,
    build_slate,
    slate_propensities,
    slate_weight,
)
from bandits.arms import ArmCounts
from bandits.ops.arrays import Float64, Int32
from bandits.plans import Rule
from bandits.testing import digest
from bandits.worlds import ClusterWorld, row_block

CONTEXT = Context(np.array([1, 2], np.int32), np.array([0.8, 0.2], np.float32))
RANKED = np.array([4, 2, 0, 7, 6], np.int32)
OWN = np.array([0, 1, 2, 3, 8], np.int32)
POLICIES = [Uniform, EpsilonGreedy, BetaThompson, DiagLinUcb, lambda: LinUcb(4, source="clusters")]


def taught(policy: Policy) -> Policy:
    rng, world = np.random.default_rng(3), ClusterWorld(8, n_clusters=3, seed=1)
    items = np.stack([rng.permutation(8)[:3] for _ in range(60)]).astype(np.int32)
    contexts = [world.context(t) for t in range(60)]
    policy.learn(row_block(contexts, items, rng.integers(0, 2, (60, 3)).astype(np.float64)))
    policy.served(np.array([8], np.int32))
    return policy


def slate(policy: Policy, i: int = 0, *, epsilon: float = 0.3, k: int = 3, ranked: Int32 = RANKED) -> Slated:
    return build_slate(ranked, policy, OWN, CONTEXT, epsilon=epsilon, k=k, draws=Draws(11, f"r{i}"))


@pytest.mark.parametrize("make", POLICIES)
def test_logged_propensities_agree_with_frequencies(make: type[Uniform]) -> None:
    policy, n = taught(make()), 3_000
    seen: Counter[tuple[int, ...]] = Counter()
    above: Counter[tuple[int, ...]] = Counter()
    logged: dict[tuple[int, ...], list[float]] = {}
    for i in range(n):
        s = slate(policy, i, epsilon=0.6)
        for j in range(3):
            head = tuple(s.items[: j + 1].tolist())
            seen[head] += 1
            above[head[:-1]] += 1
            logged.setdefault(head, []).append(float(s.propensities[j]))
    for head, times in above.items():
        for full in [h for h in seen if h[:-1] == head and times >= 200]:
            p = float(np.mean(logged[full]))
            assert abs(seen[full] / times - p) <= 5 * np.sqrt(max(p * (1 - p), 1e-4) / times), full


@pytest.mark.parametrize("make", POLICIES)
@pytest.mark.parametrize("above", [[], [4], [8, 2], [0, 1, 2, 3, 8]])
def test_propensities_at_a_place_sum_to_one_over_all_items(make: type[Uniform], above: list[int]) -> None:
    policy, everybody = taught(make()), sorted({*RANKED.tolist(), *OWN.tolist()} - set(above))

    def at_next_place(item: int) -> float:
        items, draws = np.array([*above, item], np.int32), Draws(1, "r")
        return float(
            slate_propensities(RANKED, policy, OWN, CONTEXT, items, epsilon=0.3, draws=draws)[len(above)]
        )

    assert abs(sum(at_next_place(item) for item in everybody) - 1.0) < 1e-12


@pytest.mark.parametrize("make", [EpsilonGreedy, DiagLinUcb, lambda: LinUcb(4, source="clusters")])
def test_it_is_the_formula_with_the_policys_own_probabilities(make: type[EpsilonGreedy]) -> None:
    policy, i = taught(make()), 0
    while not (s := slate(policy, i)).explored.any():
        i += 1
    for j, item in enumerate(s.items.tolist()):
        left = OWN[~np.isin(OWN, s.items[:j])]
        ranker = RANKED[~np.isin(RANKED, s.items[:j])][0]
        expected = 0.7 * (item == ranker) + 0.3 * policy.probability(CONTEXT, left, item)
        assert abs(s.propensities[j] - expected) < 1e-12


@pytest.mark.parametrize("make", POLICIES)
def test_pricing_a_built_slate_gives_its_propensities_again(make: type[Uniform]) -> None:
    policy = taught(make())
    s = slate(policy, 5)
    again = slate_propensities(RANKED, policy, OWN, CONTEXT, s.items, epsilon=0.3, draws=Draws(11, "r5"))
    assert again.tolist() == s.propensities.tolist()


@pytest.mark.parametrize("make", POLICIES)
def test_the_same_seed_and_request_give_the_same_slate_and_reading_never_writes(make: type[Uniform]) -> None:
    policy = taught(make())
    before = digest(policy)
    first, second = slate(policy, 7, k=8), slate(policy, 7, k=8)
    assert first.items.tolist() == second.items.tolist()
    assert first.propensities.tolist() == second.propensities.tolist()
    assert len(set(first.items.tolist())) == first.items.size
    assert digest(policy) == before


def test_epsilon_is_zero_where_the_policy_has_no_candidate_and_one_where_the_ranker_has_none() -> None:
    ranker_only = build_slate(RANKED, Uniform(), OWN[:0], CONTEXT, epsilon=0.5, k=9, draws=Draws(1, "r"))
    assert ranker_only.items.tolist() == RANKED.tolist()
    assert ranker_only.propensities.tolist() == [1.0] * 5
    policy_only = slate(Uniform(), ranked=RANKED[:0], k=9)
    assert sorted(policy_only.items.tolist()) == OWN.tolist()
    assert policy_only.propensities.tolist() == [1 / 5, 1 / 4, 1 / 3, 1 / 2, 1.0]
    assert slate(Uniform(), epsilon=0.0, k=5).items.tolist() == RANKED.tolist()


@pytest.mark.parametrize("make", POLICIES)
def test_every_policy_here_says_that_its_propensities_are_exact(make: type[Uniform]) -> None:
    assert slate(taught(make())).propensity_kind == "exact"


def test_a_slates_weight_is_the_running_product_and_turns_one_policys_log_into_anothers_value() -> None:
    logging, target = taught(Uniform()), taught(EpsilonGreedy())
    value: Float64 = np.arange(9.0)
    weighted, direct = [], []
    for i in range(4_000):
        s = slate(logging, i, epsilon=1.0, k=2)
        other = slate_propensities(
            RANKED, target, OWN, CONTEXT, s.items, epsilon=1.0, draws=Draws(11, f"r{i}")
        )
        weighted.append(slate_weight(other, s.propensities)[1] * value[s.items[1]])
        direct.append(value[slate(target, i, epsilon=1.0, k=2).items[1]])
    error = np.sqrt((np.var(weighted) + np.var(direct)) / len(weighted))
    assert abs(np.mean(weighted) - np.mean(direct)) < 4 * error


@pytest.mark.parametrize("policy", [Uniform(), EpsilonGreedy(exploration=0.4)])
def test_items_that_nobody_listed_have_their_exact_share(policy: Policy) -> None:
    strangers, seen, n = np.array([31, 32, 33], np.int32), Counter[int](), 4_000
    more = {"epsilon": 1.0, "outside": 3}
    for i in range(n):
        rng = np.random.default_rng(i)
        order = rng.permutation(strangers).astype(np.int32)
        draws = Draws(5, f"r{i}")
        s = build_slate(RANKED, policy, OWN, CONTEXT, k=2, strangers=order, draws=draws, **more)  # type: ignore[arg-type]
        seen[int(s.items[0])] += 1
        again = slate_propensities(RANKED, policy, OWN, CONTEXT, s.items, draws=draws, **more)  # type: ignore[arg-type]
        assert again.tolist() == s.propensities.tolist()
    everybody = [*OWN.tolist(), *strangers.tolist()]
    p = {
        item: float(
            slate_propensities(
                RANKED,
                policy,
                OWN,
                CONTEXT,
                np.array([item], np.int32),
                draws=Draws(1, "r"),
                **more,  # type: ignore[arg-type]
            )[0]
        )
        for item in everybody
    }
    assert sum(p.values()) == pytest.approx(1.0)
    for item in everybody:
        assert abs(seen[item] / n - p[item]) < 5 * np.sqrt(p[item] * (1 - p[item]) / n), item


def test_a_long_slate_of_uniform_holds_everybody_once() -> None:
    s = build_slate(
        RANKED[:0], Uniform(), OWN[:2], CONTEXT, epsilon=1.0, k=9, draws=Draws(1, "r"), outside=3,
        strangers=np.array([31, 32, 33], np.int32),
    )  # fmt: skip
    assert sorted(s.items.tolist()) == [0, 1, 31, 32, 33]
    assert s.propensities.tolist() == [1 / 5, 1 / 4, 1 / 3, 1 / 2, 1.0]


class LastOne:
    """A plan that is neither a rule nor beliefs: it always takes the last candidate."""

    def fill(self, places: Places) -> int:
        places.items[0], places.propensities[0], places.explored[0] = places.candidates[-1], 1.0, True
        return 1

    def choose(self, u: float) -> tuple[int, float, float]:
        return 4, 1.0, 0.5

    def probabilities(self) -> Float64:
        return np.array([0.0, 0.0, 0.0, 0.0, 1.0])


class TakesTheLast(ArmCounts, Policy):
    def plan(self, context: Context, candidates: Int32) -> LastOne:
        return LastOne()


def test_a_plan_of_ones_own_fills_slates_and_draws() -> None:
    s = slate(TakesTheLast())
    assert (s.items.tolist(), s.propensities.tolist(), s.explored.tolist()) == ([8], [1.0], [True])
    assert TakesTheLast().decide(CONTEXT, OWN, Draws(1, "r")) == Choice(8, 4, 1.0, 0.5)
    assert TakesTheLast().probability(CONTEXT, OWN, 8) == 1.0


class Planless(Uniform):
    def plan(self, context: Context, candidates: Int32) -> Rule:
        return None  # type: ignore[return-value]


def test_a_plan_that_is_none_is_refused_in_words() -> None:
    with pytest.raises(PolicyError, match="plan returned None; expected a Rule, Beliefs or a plan"):
        slate(Planless())


def test_nonsense_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"epsilon=1\.5"):
        slate(Uniform(), epsilon=1.5)
    with pytest.raises(PolicyError, match="shapes"):
        slate_weight(np.ones(2), np.ones(3))
