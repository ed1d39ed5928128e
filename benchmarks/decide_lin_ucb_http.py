"""What `lin_ucb` adds to an answer over HTTP: 16 request features, 100 candidates, in process.

The whole of a decision as `POST /v1/recommend` makes it (candidates, ranker, policy, what is logged), once
with `lin_ucb` and once with a policy that knows nothing, by turns, on the same requests. The figure is the
difference, plus reading the 16 features out of the request's `context`, which both do. Between two answers
`lin_ucb` learns the slate of the last one, as in production, so that each answer factors ten models anew;
learning itself is the learner's and not measured. The scale of the features is frozen, as it soon is.
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter
from typing import Any

import numpy as np

from bandits import Context, LinUcb, Rule
from bandits.ops.arrays import Int32
from bandits.policies.uniform import Uniform
from bandits.worlds import row_block
from index import LiveIndex
from learners.request_features import RequestFeatures
from learning.parts import build_parts
from learning.put_items import put_items
from learning.settings import LearningSettings, LearnSettings, PolicySettings
from serving.decisions import Circumstances, DecisionMaker
from serving.item_index import ItemIndex
from serving.requests import RecommendRequest
from serving.settings import ServeSettings
from stream.events import ItemEvent

__all__ = ["run"]

_ITEMS, _FEATURES, _K, _NOW = 100, 16, 10, 1_800_000_000_000


class _Blank(Uniform):
    """A policy that takes what is offered and knows nothing of it."""

    def reach(self, context: Context) -> Any:
        return super(Uniform, self).reach(context)

    def plan(self, context: Context, candidates: Int32) -> Rule:
        return Rule(np.zeros(candidates.size), np.ones(candidates.size))


def _maker() -> tuple[DecisionMaker, LinUcb, RequestFeatures]:
    """A server's decisions over 100 items."""
    names = tuple(f"f{n}" for n in range(_FEATURES))
    settings = LearningSettings(
        learn=LearnSettings(embedding_dim=64, max_items=4_096),
        policy=PolicySettings(features=names, feature_dim=0),
    )
    parts, rng = build_parts(settings), np.random.default_rng(1)
    put_items(
        parts,
        [
            ItemEvent(item_id=f"i{n}", ts=_NOW - 1_000, vector=rng.normal(size=64).tolist())
            for n in range(_ITEMS)
        ],
    )
    policy = LinUcb(_FEATURES + 1)
    parts.policies = {"lin_ucb": policy, "blank": _Blank()}
    index = ItemIndex(LiveIndex(64, 4_096), parts.items, parts.catalogue)
    index.rebuild()
    return (
        DecisionMaker(parts, index, ServeSettings(), epsilon=0.5, seed=1),
        policy,
        parts.request_features,
    )


def _context(x: Any) -> Context:
    return Context(np.zeros(1, np.int32), np.ones(1, np.float32), x)


def _teach(policy: LinUcb, n_rows: int) -> None:
    """Until the scale of features is frozen and every item was shown."""
    rng = np.random.default_rng(2)
    for _ in range(n_rows // 1_000):
        x = np.concatenate([np.ones((100, 1)), rng.normal(size=(100, _FEATURES))], 1).astype(np.float32)
        items = np.stack([rng.permutation(_ITEMS)[:_K] for _ in x]).astype(np.int32)
        policy.learn(
            row_block([_context(row) for row in x], items, np.array(rng.random(items.shape) < 0.1, float))
        )


def run(quick: bool) -> list[dict[str, Any]]:
    """Microseconds added to an answer: the mean over requests of medians over rounds."""
    maker, policy, features = _maker()
    _teach(policy, 11_000)
    rng, n_requests, n_rounds = np.random.default_rng(3), 40, 5 if quick else 40
    spent = {name: np.empty((n_rounds, n_requests)) for name in ("lin_ucb", "blank", "features")}
    offered = 0
    for round_ in range(-1, n_rounds):
        for i in range(n_requests):
            context = {f"f{n}": float(v) for n, v in enumerate(rng.normal(size=_FEATURES))}
            under = Circumstances(f"{round_}-{i}", _NOW, _NOW, False, "")
            # By turns: who comes first finds the processor's caches full of something else.
            for name in ("lin_ucb", "blank") if (round_ + i) % 2 else ("blank", "lin_ucb"):
                asked = RecommendRequest(user_id=f"u{i}", k=_K, context=context, policy=name)
                start = perf_counter()
                decision = maker.decide(asked, under)
                spent[name][round_, i] = perf_counter() - start
                if name == "lin_ucb":
                    offered, shown = decision.eligible, [int(item[1:]) for item in decision.items]
            start = perf_counter()
            x = features.of(context)
            spent["features"][round_, i] = perf_counter() - start
            rewards = (rng.random((1, len(shown))) < 0.1).astype(np.float64)
            policy.learn(row_block([_context(x)], np.array([shown], np.int32), rewards))
    us = {name: float(np.median(took, axis=0).mean() * 1e6) for name, took in spent.items()}
    return [
        {
            "name": "decide_lin_ucb_http", "value": us["lin_ucb"] - us["blank"] + us["features"],
            "unit": "us", "candidates": offered, "request_features": _FEATURES, "learned_between": _K,
            "answer_us": us["lin_ucb"], "answer_us_without": us["blank"], "features_us": us["features"],
        }
    ]  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    for line in run(parser.parse_args().quick):
        print(json.dumps(line))
