"""A policy, source or scorer that raises while serving: the answer comes without it, and its name is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandits import Context, Policy, Reach, Rule, Uniform
from bandits.worlds import row_block
from freshet.config import load_settings
from index import LiveIndex
from learners import Ask
from learners.scorers.taste import Settings as TasteSettings
from learners.scorers.taste import Taste
from learning.catalogue import POLICIES
from learning.parts import Parts, build_parts
from learning.pipeline import Pipeline
from learning.settings import LearningSettings
from replay.targets import PolicyTarget
from serving import ItemIndex, ServeSettings, Source
from serving.decisions import Circumstances, DecisionMaker
from serving.failures import Failures
from serving.openapi import document
from serving.requests import ItemAnswer, RecommendRequest
from serving.routing import Route
from stream.blocks import Slate
from stream.errors import PartError
from stream.events import Decision, ItemEvent

T0, ROW = 1_700_000_000_000, np.zeros((1, 1), np.int32)
FLAGS: dict[str, Any] = {"learn": {"embedding_dim": 2}, "policies": [{"kind": "uniform", "name": "mine"}]}


class RaisesAtReach(Uniform):
    def reach(self, context: Context) -> Reach:
        msg = "reach"
        raise KeyError(msg)


class RaisesAtPlan(Uniform):
    def plan(self, context: Context, candidates: Any) -> Rule:
        msg = "plan"
        raise ValueError(msg)


class GivesTooFew(Uniform):
    def plan(self, context: Context, candidates: Any) -> Rule:
        return Rule(np.zeros(1), np.ones(1), uniform=1.0)


class GivesNoShare(Uniform):
    def plan(self, context: Context, candidates: Any) -> Rule:
        return Rule(np.zeros(candidates.size), np.ones(candidates.size), uniform=float("nan"))


class RaisesWhenServed(Uniform):
    def served(self, rows: Any) -> None:
        msg = "served"
        raise OSError(msg)


class RaisingSource(Source):
    def offer(self, ask: Ask) -> Any:
        msg = "offer"
        raise ValueError(msg)


class FloatSource(Source):
    def offer(self, ask: Ask) -> Any:
        return np.array([1.0, 2.0])


class Newest(Source):
    def __init__(self, index: ItemIndex) -> None:
        self._index = index

    def offer(self, ask: Ask) -> Any:
        return self._index.newest


class RaisingScorer(Taste):
    def features(self, ask: Ask, rows: Any) -> Any:
        msg = "features"
        raise ValueError(msg)


class EndlessScorer(Taste):
    def features(self, ask: Ask, rows: Any) -> Any:
        return np.full((rows.size, 1), np.inf, np.float32)


@pytest.fixture
def parts() -> Parts:
    """Five items."""
    pipeline = Pipeline(load_settings(environ={}, flags=FLAGS), b"sixteen bytes or more")
    pipeline.on_events([ItemEvent(item_id=f"i{n}", ts=T0 + n) for n in range(5)])
    return pipeline.parts


def decided(parts: Parts, failures: Failures | None = None, **sources: Source) -> Decision:
    """Two items of a request that lets the policy decide every place."""
    index = ItemIndex(LiveIndex(2, 4_096, as_given=True), parts.items, parts.catalogue)
    index.rebuild()
    told: Any = {} if failures is None else {"failed": failures.note}
    maker = DecisionMaker(
        parts,
        index,
        ServeSettings(),
        epsilon=1.0,
        seed=1,
        sources={**sources, "newest": Newest(index)},
        **told,
    )
    return maker.decide(RecommendRequest(user_id="eve", k=2), Circumstances("r-7", T0 + 9, 0, False, ""))


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (RaisesAtReach(), r"KeyError\('reach'\) \(test_failures\.py:\d+, in reach\)"),
        (RaisesAtPlan(), r"ValueError\('plan'\) \(test_failures\.py:\d+, in plan\)"),
        (GivesTooFew(), r"a plan of 5 candidates needs arrays of shape \(5,\), got one of \(1,\)"),
        (GivesNoShare(), r"expected item rows with shares of 0 to 1, got row \d with nan"),
        (RaisesWhenServed(), r"OSError\('served'\)"),
    ],
)
def test_a_policy_that_raises_leaves_the_answer_to_the_ranker(
    parts: Parts, policy: Policy, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    parts.policies["mine"] = policy
    failures = Failures()
    decision = decided(parts, failures)
    assert (decision.items, decision.propensities) == (["i4", "i3"], [1.0, 1.0])
    assert (decision.policy, decision.fallback, decision.explored) == ("mine", "ranker", [])
    assert dict(failures.counts) == {"policy 'mine'": 1}
    caplog.clear()
    with pytest.raises(PartError, match=rf"^policy 'mine' raised while it answered request 'r-7': .*{says}"):
        decided(parts)


@pytest.mark.parametrize("source", [RaisingSource(), FloatSource()])
def test_a_source_that_raises_offers_nothing(
    parts: Parts, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    decision = decided(parts, Failures(), bad=source)
    assert len(decision.items) == 2 and set(decision.sources) <= {"newest", "catalogue"}
    (line,) = caplog.messages
    assert line.startswith("source 'bad' raised while it answered request 'r-7': ")


@pytest.mark.parametrize("scorer", [RaisingScorer, EndlessScorer])
def test_a_scorer_that_raises_leaves_the_order_of_the_sources_and_teaches_nothing(
    parts: Parts, scorer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bad = scorer(TasteSettings(weight=1.0), parts.mf)
    ranker = parts.ranker
    ranker._widths = [(bad, 1) if scorer.names == ("taste",) else (scorer, n) for scorer, n in ranker._widths]
    ranker.weights[ranker.names.index("taste")] = 1.0
    parts.policies["mine"] = RaisesAtReach()  # nobody explores
    decision = decided(parts, Failures())
    assert (decision.items, decision.scores, decision.features) == (["i4", "i3"], [0.0, 0.0], b"")
    assert any("ranker raised" in line and "taste" in line for line in caplog.messages)


def test_what_always_raises_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures()
    for n in range(1_000):
        failures.note("policy 'mine'", f"answered request 'r-{n}'", ValueError("no"))
    assert len(caplog.messages) == 10 and "request 'r-511', 512 times by now: " in caplog.messages[-1]
    assert caplog.records[0].levelno == logging.ERROR
    with pytest.raises(MemoryError):
        failures.note("policy 'mine'", "answered", MemoryError())


def test_a_policy_that_raises_in_a_replay_is_named_with_the_request() -> None:
    slate = Slate(request_id="r-7", user_id="u", ts=0, items=["a"], clusters=[0], weights=[1.0])
    target = PolicyTarget("mine", RaisesAtPlan(), lambda ids: np.zeros(len(ids), np.int32))
    with pytest.raises(PartError, match=r"^part 'mine' raised while it answered request 'r-7': ValueError"):
        target.propensities(slate)


def test_what_policies_know_of_an_item_has_the_fields_that_the_document_names(parts: Parts) -> None:
    kinds: Any = {"policies": tuple({"kind": kind} for kind in POLICIES.own())}
    block = row_block([Context(np.zeros(1, np.int32), np.ones(1, np.float32))], ROW, np.ones((1, 1)))
    known: set[str] = set()
    for policy in build_parts(LearningSettings(**kinds)).policies.values():
        policy.learn(block)
        known |= policy.describe(0).keys()
    route = Route("GET", "/v1/items/{id}", lambda _: None, "One item", answers={200: ItemAnswer})  # type: ignore[arg-type,return-value]
    schema = document([route], "1")["components"]["schemas"]["ItemAnswer"]["properties"]["policies"]
    assert known == schema["additionalProperties"]["properties"].keys() == {"shown", "reward", "edges", "b"}


class Blank(RaisesAtPlan):
    def describe(self, row: int) -> Any:
        return 1 / 0


def test_callers_are_answered_and_the_part_is_counted(
    run: Any, kit: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with run(tmp_path) as system:
        system.settle(kit.item("a"))
        system.service.models.policies["diag_lin_ucb"] = Blank()
        answer = system.ask(k=1, request_id="r-1")
        item = system.client.get("/v1/items/a")
        counted = system.client.get("/metrics").text
    assert [shown["item_id"] for shown in answer["items"]] == ["a"] and answer["fallback"] == "ranker"
    assert item.status_code == 200 and item.json()["policies"] == {}
    assert "freshet_part_failures_total{part=\"policy 'diag_lin_ucb'\"} 2.0" in counted
    assert "policy 'diag_lin_ucb' raised while it answered request 'r-1': ValueError" in caplog.text
