"""One decision among 100 arms on 16 features of the request, in process: ours beside others' linear bandits.

Every contender has learned the same logged rounds (the slow ones their first 300) and answers the same
requests, one after the other, as its documentation shows: text lines for Vowpal Wabbit (built beforehand),
a row of an array for MABWiser, dictionaries for River and for gittins (which learns what it has chosen
itself, and keeps every decision until it is rewarded or expires). The peer of the first figure is the fastest
of them, whatever its method; the other rows list all.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from bandits import BetaThompson, Context, Draws, LinUcb
from bandits.ops.arrays import Float32, Float64, Int32
from bandits.worlds import row_block

__all__ = ["run"]

_ARMS, _DIM = 100, 16
_VW = (
    "--cb_explore 100 --regcbopt --mellowness 0.01",
    "--cb_explore 100 --regcb --mellowness 0.01",
    "--cb_explore 100 --squarecb",
    "--cb_explore 100 --epsilon 0.05",
    "--cb_explore_adf --regcbopt --mellowness 0.01 -q ca",
    "--cb_explore_adf --squarecb -q ca",
)

Ask = Callable[[int], Any]


class _Log:
    """Logged rounds and the requests to answer."""

    def __init__(self, n_rounds: int) -> None:
        rng = np.random.default_rng(5)
        self.xs: Float32 = rng.normal(size=(n_rounds, _DIM)).astype(np.float32)
        self.arms: Int32 = rng.integers(0, _ARMS, n_rounds).astype(np.int32)
        theta = rng.normal(size=(_ARMS, _DIM))
        self.worth: Float64 = (self.xs @ theta.T > 0).astype(np.float64)
        self.rewards: Float64 = self.worth[np.arange(n_rounds), self.arms]

    def __len__(self) -> int:
        return len(self.arms)


def _rate(ask: Ask, seconds: float) -> float:
    """Decisions a second: the best of five stretches, since other work only ever slows a machine down."""
    ask(0)
    best, i = 0.0, 0
    for _ in range(5):
        start, n = perf_counter(), 0
        while (spent := perf_counter() - start) < seconds / 5 or n == 0:
            ask(i)
            i, n = i + 1, n + 1
        best = max(best, n / spent)
    return best


def _lin_ucb(log: _Log) -> Ask:
    policy, everything = LinUcb(_DIM, alpha=0.5, freeze_rows=0), np.arange(_ARMS, dtype=np.int32)
    nobody = (np.zeros(1, np.int32), np.ones(1, np.float32))
    contexts = [Context(*nobody, x) for x in log.xs]
    policy.learn(row_block(contexts, log.arms[:, None], log.rewards[:, None]))
    draws = Draws(1, "requests")
    return lambda i: policy.decide(contexts[i % len(contexts)], everything, draws)


def _thompson(log: _Log) -> Ask:
    policy, everything = BetaThompson(), np.arange(_ARMS, dtype=np.int32)
    nobody, draws = Context(np.zeros(1, np.int32), np.ones(1, np.float32)), Draws(1, "requests")
    policy.learn(row_block([nobody] * len(log), log.arms[:, None], log.rewards[:, None]))
    return lambda _: policy.decide(nobody, everything, draws)


def _vw(log: _Log, arguments: str) -> Ask:
    workspace = importlib.import_module("vowpalwabbit").Workspace(f"{arguments} --quiet")
    texts = [" ".join(f"{j}:{v:.5f}" for j, v in enumerate(x)) for x in log.xs]
    if "adf" not in arguments:
        for text, arm, reward in zip(texts, log.arms, log.rewards, strict=True):
            workspace.learn(f"{arm + 1}:{-reward}:{1 / _ARMS} |c {text}")
        lines = [f"|c {text}" for text in texts]
    else:
        arms = [f"|a a{i}" for i in range(_ARMS)]
        for text, arm, reward in zip(texts[:300], log.arms, log.rewards, strict=False):
            labelled = [*arms[:arm], f"0:{-reward}:{1 / _ARMS} {arms[arm]}", *arms[arm + 1 :]]
            workspace.learn("\n".join([f"shared |c {text}", *labelled]))
        lines = ["\n".join([f"shared |c {text}", *arms]) for text in texts]
    return lambda i: workspace.predict(lines[i % len(lines)])


def _mabwiser(log: _Log) -> Ask:
    mab = importlib.import_module("mabwiser.mab")
    policy = mab.MAB(arms=list(range(_ARMS)), learning_policy=mab.LearningPolicy.LinUCB(alpha=0.5))
    policy.fit(decisions=log.arms.tolist(), rewards=log.rewards.tolist(), contexts=log.xs)
    return lambda i: policy.predict(log.xs[i % len(log) : i % len(log) + 1])


def _river(log: _Log) -> Ask:
    policy = importlib.import_module("river.bandit").LinUCBDisjoint(alpha=0.5, seed=1)
    requests = [dict(enumerate(map(float, x))) for x in log.xs]
    arms = list(range(_ARMS))
    # Its update inverts a matrix each time, so it learns the first rounds only.
    for i in range(300):
        policy.pull(arms, context=requests[i])
        policy.update(int(log.arms[i]), requests[i], float(log.rewards[i]))
    return lambda i: policy.pull(arms, context=requests[i % len(requests)])


def _gittins(log: _Log) -> Ask:
    gittins = importlib.import_module("gittins")
    state = gittins.create(bits=18, horizon=1e9)
    requests = [{f"x{j}": float(v) for j, v in enumerate(x)} for x in log.xs]
    arms: list[tuple[str, dict[str, float]]] = [(f"a{i}", {}) for i in range(_ARMS)]
    for i, request in enumerate(requests):
        made = gittins.decide(state, request, arms, float(i), "bench")
        gittins.learn(state, made.decision_id, float(log.worth[i, made.chosen]), float(i))
    return lambda i: gittins.decide(state, requests[i % len(requests)], arms, 1e6 + i, "bench")


def _peers(log: _Log) -> dict[str, Callable[[], Ask]]:
    """Everybody who is installed, by name."""
    peers: dict[str, Callable[[], Ask]] = {}
    if importlib.util.find_spec("vowpalwabbit"):
        peers |= {f"Vowpal Wabbit {a}": lambda a=a: _vw(log, a) for a in _VW}  # type: ignore[misc]
    if importlib.util.find_spec("mabwiser"):
        peers["MABWiser LinUCB"] = lambda: _mabwiser(log)
    if importlib.util.find_spec("river"):
        peers["River LinUCBDisjoint"] = lambda: _river(log)
    if importlib.util.find_spec("gittins"):
        peers["gittins"] = lambda: _gittins(log)
    return peers


def run(quick: bool) -> list[dict[str, Any]]:
    """Decisions a second of `LinUcb` and of every installed peer; some 10 s when `quick`, a minute else."""
    log, seconds = _Log(500 if quick else 2_000), 0.5 if quick else 3.0
    common = {"unit": "decisions/s", "arms": _ARMS, "features": _DIM}
    ours = _rate(_lin_ucb(log), seconds)
    rows: list[dict[str, Any]] = [
        {"name": "decide_100_thompson", "value": _rate(_thompson(log), seconds), **common}
    ]
    found: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for peer, make in _peers(log).items():
            found[peer] = _rate(make(), seconds)
            rows.append({"name": "decide_100x16_peer", "contender": peer, "value": found[peer], **common})
    first: dict[str, Any] = {"name": "decide_100x16", "value": ours, **common}
    if found:
        fastest = max(found, key=lambda peer: found[peer])
        first |= {"peer": fastest, "peer_value": found[fastest], "ratio": ours / found[fastest]}
    return [first, *rows]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    for line in run(parser.parse_args().quick):
        print(json.dumps(line))
