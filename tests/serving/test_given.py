"""Candidates that the caller names: ranked, explored, logged and learned, known or not."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandits import Context, Reach, Rule, Uniform
from freshet.config import load_settings
from index import LiveIndex
from learners import Ask
from learners.parts.ranker import Ranker
from learners.scorers.taste import Settings as TasteSettings
from learners.scorers.taste import Taste
from learning.parts import Parts
from learning.pipeline import Pipeline
from replay.off_policy import OffPolicy
from replay.targets import LoggedTarget
from serving import ItemIndex, ServeSettings
from serving.decisions import Circumstances, DecisionMaker
from serving.failures import Failures
from serving.requests import RecommendRequest
from stream.blocks import SHOWN, FeedbackBlock
from stream.codec import decode_logged
from stream.events import Click, Decision, ItemEvent
from stream.folder import DataFolder
from stream.slates import decided_slate

T0 = 1_700_000_000_000
KINDS = ("uniform", "epsilon_greedy", "thompson", "diag_lin_ucb", "lin_ucb")
LIST = ["i1", "new", "i3", "newer"]


def taught(kind: str) -> Parts:
    """Five items, three of which ann has clicked; every policy has learned a little."""
    flags: dict[str, Any] = {"learn": {"embedding_dim": 2}, "policies": [{"kind": kind}]}
    pipeline = Pipeline(load_settings(environ={}, flags=flags), b"sixteen bytes or more")
    items = [ItemEvent(item_id=f"i{n}", ts=T0 + n, group="odd" if n % 2 else "even") for n in range(5)]
    lists = [
        Decision(request_id=f"d{n}", ts=T0 + 9 + n, user_id="ann", items=["i1", "i3"],
                 propensities=[0.5, 0.5], policy=kind, clusters=[0], weights=[1.0])
        for n in range(6)
    ]  # fmt: skip
    clicks = [Click(ts=T0 + 30 + n, item_id="i3", request_id=f"d{n}") for n in range(3)]
    gone = ItemEvent(item_id="i4", ts=T0 + 50, deleted=True)
    later = ItemEvent(item_id="i0", ts=T0 + 50, available_from=T0 + 999_000)
    pipeline.on_events([*items, *lists, *clicks, gone, later])
    return pipeline.parts


def maker(parts: Parts, epsilon: float = 0.6, failures: Failures | None = None) -> DecisionMaker:
    index = ItemIndex(LiveIndex(2, 4_096, as_given=True), parts.items, parts.catalogue)
    told: Any = {} if failures is None else {"failed": failures.note}
    return DecisionMaker(parts, index, ServeSettings(), epsilon=epsilon, seed=1, **told)


def decided(made: DecisionMaker, candidates: list[str], request: str = "r", **more: Any) -> Decision:
    asked = RecommendRequest(user_id="ann", candidates=candidates, **more)
    return made.decide(asked, Circumstances(request, T0 + 60, 0, False, ""))


@pytest.mark.parametrize("kind", KINDS)
def test_items_known_or_not_are_drawn_as_often_as_is_logged(kind: str) -> None:
    made, n = maker(taught(kind)), 1_200
    seen: Counter[tuple[str, ...]] = Counter()
    logged: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for i in range(n):
        decision = decided(made, LIST, f"r{i}", k=2)
        for place, chance in enumerate(decision.propensities):
            head = tuple(decision.items[: place + 1])
            seen[head] += 1
            logged[head].append(chance)
    # Whoever lists what it chooses from chooses from that alone; the others know no strangers.
    assert {head[0] for head in seen} == ({"i1", "i3"} if kind == "diag_lin_ucb" else set(LIST))
    for head, times in seen.items():
        tried = n if len(head) == 1 else seen[head[:-1]]
        p = float(np.mean(logged[head]))
        assert abs(times / tried - p) <= 5 * np.sqrt(max(p * (1 - p), 1e-4) / tried), head
    # A policy's state moves a little with what it has served.
    often = max(LIST, key=lambda item: seen[(item,)])
    for above in ((), (often,)):
        shares = [np.mean(logged[(*above, item)]) for item in LIST if (*above, item) in logged]
        assert sum(shares) == pytest.approx(1, abs=0.02)


def test_a_policy_with_nothing_of_its_own_in_the_list_draws_evenly() -> None:
    decision = decided(maker(taught("diag_lin_ucb"), epsilon=1.0), ["x", "y", "z", "w"], k=4)
    assert decision.propensities == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1])
    assert sorted(decision.items) == ["w", "x", "y", "z"] and decision.policy == "diag_lin_ucb"


def test_the_answer_is_as_long_as_the_list_and_what_was_clicked_stays() -> None:
    decision = decided(maker(taught("uniform")), LIST)
    assert sorted(decision.items) == sorted(LIST) and decision.fallback is None
    assert set(decision.sources) == {"candidates"} and decision.eligible == 4
    assert decided(maker(taught("uniform")), ["new"]).propensities == [1.0]


def test_what_may_not_be_shown_is_dropped_and_named() -> None:
    candidates = ["i1", "i4", "new", "i0", "i1", "i3", "x", "i2", "x"]
    asked: dict[str, Any] = {"exclude": ["new", "nobody"], "context": {"item_id": "i3"}}
    decision = decided(maker(taught("uniform")), candidates, **asked)
    assert decision.dropped == {
        "i4": "deleted", "i0": "unavailable", "new": "excluded", "i3": "viewed", "i1": "repeated",
        "x": "repeated",
    }  # fmt: skip
    assert sorted(decision.items) == ["i1", "i2", "x"]
    grouped = decided(maker(taught("uniform")), ["i1", "i2", "new"], groups=["odd"])
    assert (grouped.items, grouped.dropped) == (["i1"], {"i2": "group", "new": "group"})


@pytest.mark.parametrize("candidates", [[], ["i4"]])
def test_where_nothing_is_left_the_answer_is_empty_and_says_so(candidates: list[str]) -> None:
    decision = decided(maker(taught("thompson")), candidates)
    assert (decision.items, decision.fallback) == ([], "empty")
    assert decision.dropped == dict.fromkeys(candidates, "deleted")


class Price(Taste):
    """The cheaper the better, and what it was asked."""

    names: tuple[str] = ("price",)
    weights: tuple[float] = (-1.0,)

    def __init__(self) -> None:
        self.asked: list[Ask] = []

    def features(self, ask: Ask, rows: Any) -> Any:
        self.asked.append(ask)
        assert ask.listed is not None and rows is ask.listed.rows
        return np.array([[each.get("price", 9.0)] for each in ask.listed.contexts], np.float32)


class Raising(Taste):
    def features(self, ask: Ask, rows: Any) -> Any:
        raise ValueError


def scored_by(scorer: Any) -> Parts:
    parts = taught("uniform")
    parts.ranker = Ranker([scorer])
    return parts


def test_scorers_see_the_list_as_it_came_and_what_came_with_its_items() -> None:
    price = Price()
    contexts = [{"price": 3.0}, None, {"price": 1.0}, {}, {"price": 2.0}]
    made = maker(scored_by(price), epsilon=0.0)
    decision = decided(made, ["i1", "new", "i3", "i4", "i2"], k=2, item_context=contexts)
    (ask,) = price.asked
    assert ask.listed is not None and (ask.listed.rows < 0).tolist() == [False, True, False, False]
    assert decision.items == ["i3", "i2"] and decision.scores == [-1.0, -2.0]
    # Of the shown items, then of the others in the ranker's order.
    assert decision.others == ["i1", "new"]
    assert decision.item_context == [{"price": 1.0}, {"price": 2.0}, {"price": 3.0}, None]
    assert np.frombuffer(decision.features, "<f4").tolist() == [1.0, 2.0, 3.0, 9.0]
    slate = decided_slate(decision)
    assert slate.item_context == b'[{"price":1.0},{"price":2.0}]'


def test_where_a_scorer_raises_the_list_stays_as_it_came() -> None:
    parts = scored_by(Raising(TasteSettings(), taught("uniform").mf))
    decision = decided(maker(parts, epsilon=0.0, failures=Failures()), LIST)
    assert (decision.items, decision.fallback, decision.features) == (LIST, "candidates", b"")


class RaisesAtPlan(Uniform):
    def plan(self, context: Context, candidates: Any) -> Rule:
        raise ValueError


class RaisesAtReach(Uniform):
    def reach(self, context: Context) -> Reach:
        raise ValueError


@pytest.mark.parametrize("policy", [RaisesAtPlan(), RaisesAtReach()])
def test_where_the_policy_raises_the_ranker_orders_the_list_alone(policy: Uniform) -> None:
    parts = taught("uniform")
    parts.policies["uniform"] = policy
    decision = decided(maker(parts, epsilon=1.0, failures=Failures()), LIST)
    assert decision.fallback == "ranker" and not decision.explored
    assert decision.propensities == [1.0] * 4 and sorted(decision.items) == sorted(LIST)


class Looking(Uniform):
    """A policy that looks at what the ranker sees, of its candidates and of others."""

    seen: Any = None

    def plan(self, context: Context, candidates: Any) -> Rule:
        assert context.rank_features is not None
        self.seen = [
            context.rank_features(rows) for rows in (candidates, candidates[:1], candidates[:1] + 90)
        ]
        return super().plan(context, candidates)


def test_a_policy_sees_what_the_ranker_saw_of_each_place() -> None:
    parts, looking = scored_by(Price()), Looking()
    parts.policies["uniform"] = looking
    decided(maker(parts), ["i2", "x", "y"], item_context=[{"price": 3.0}, {"price": 1.0}, {"price": 2.0}])
    of_list, of_one, of_none = looking.seen
    assert of_list.tolist() == [[3.0], [1.0], [2.0]] and of_one.tolist() == [[3.0]]
    assert np.isnan(of_none).all() and of_none.shape == (1, 1)


def test_other_policies_are_not_judged_by_lists_that_the_log_has_not_whole() -> None:
    rounds, decision = OffPolicy([LoggedTarget()]), decided(maker(taught("uniform")), LIST, k=2)
    rounds.note(decision, backfill=False)
    rounds.observe(FeedbackBlock([decided_slate(decision)], [], [SHOWN], [0], [-1], [0.0], [False], [T0]))
    assert rounds.left_out == {"candidates_named": 1}


TOO_LARGE = [{"text": "x" * 262_144}]
DEEP: Any = {}
for _ in range(40):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            {"candidates": [str(n) for n in range(1_001)]},
            "field 'candidates': expected array of length <= 1000, got 1001",
        ),
        ({"candidates": ["a", ""]}, "field 'candidates[1]': expected str of length >= 1"),
        ({"candidates": ["ü" * 200]}, "field 'candidates': expected 1 to 256 bytes of UTF-8, got 400"),
        ({"candidates": ["a"], "k": 0}, "field 'k': expected int >= 1"),
        ({"item_context": [{}]}, "field 'item_context': expected candidates beside it, got none"),
        (
            {"candidates": ["a", "b"], "item_context": [{}]},
            "field 'item_context': expected an object or null for each of the 2 candidates, got 1",
        ),
        (
            {"candidates": ["a"], "item_context": [5]},
            "field 'item_context[0]': expected object | null, got 5",
        ),
        (
            {"candidates": ["a"], "item_context": TOO_LARGE},
            "field 'item_context': expected at most 262144 bytes as JSON, got 262157",
        ),
        (
            {"candidates": ["a"], "item_context": [DEEP]},
            "field 'item_context': it is nested more than 32 deep",
        ),
        (
            {"candidates": ["a"], "item_context": [{"n": 10**30}]},
            "field 'item_context[0].n': expected a number of at most 64 bits",
        ),
    ],
)
def test_a_list_that_does_not_fit_is_refused_by_name(system: Any, body: dict[str, Any], says: str) -> None:
    answer = system.client.post("/v1/recommend", json={"user_id": "u", **body})
    assert answer.status_code == 422 and answer.json()["detail"].startswith(says)


def test_a_click_on_a_candidate_that_was_new_is_learned_and_the_next_list_shows_it(
    run: Any, kit: Any, tmp_path: Path
) -> None:
    listed = {"candidates": ["a", "b", "gone", "a"], "item_context": [{"price": 3}, {"price": 4}, None, None]}
    with run(tmp_path / "data") as system:
        system.settle(kit.item("gone", kit.t0, deleted=True), kit.item("other", kit.t0))
        first = system.ask("ann", request_id="l1", ts=kit.t0 + 10, **listed)
        assert first == system.ask("ann", request_id="l1", **listed)
        assert first["dropped"] == [
            {"item_id": "gone", "reason": "deleted"}, {"item_id": "a", "reason": "repeated"},
        ]  # fmt: skip
        assert {shown["source"] for shown in first["items"]} == {"candidates"}
        conflict = system.client.post(
            "/v1/recommend",
            json={"user_id": "ann", "request_id": "l1", **listed, "candidates": ["a", "b"] * 2},
        )
        last = first["items"][1]["item_id"]
        system.settle(kit.click("ann", last, kit.t0 + 500, request_id="l1"))
        assert system.client.get(f"/v1/items/{last}").json()["clicks"] == 1
        second = system.ask("eve", request_id="l2", **listed)
        assert conflict.status_code == 409
        scores = {shown["item_id"]: shown["score"] for shown in second["items"]}
        assert scores[last] == max(scores.values()) > min(scores.values())
    (logged,) = decode_logged(DataFolder(tmp_path / "data").readers()["events-0"].find_decision("l1") or b"")
    assert isinstance(logged, Decision) and logged.given
    prices = {"a": {"price": 3}, "b": {"price": 4}}
    assert logged.item_context == [prices[item] for item in logged.items]
