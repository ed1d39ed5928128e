"""Warming up reaches what a first click needs."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice

from numba.core.registry import CPUDispatcher

from freshet.config import Settings
from learning.parts import build_parts
from learning.shards.warm_shards import warm_shards
from learning.warm_frames import warm_frames
from tests.harness.chain import Chain, batches, logged_world

ROOMS = ("freshet", "stream", "learners", "bandits", "learning")
N_FEATURES = build_parts(Settings()).ranker.n_features
KINDS, WAYS = ("diag_lin_ucb", "lin_ucb", "thompson"), ("half_life_ms", "window_ms")
FORGETS = [{"kind": kind, "name": f"{kind}_{way}", way: 60_000} for kind in KINDS for way in WAYS]
FORGETTING = Settings(policies=({"kind": "diag_lin_ucb"}, {"kind": "uniform"}, *FORGETS))


def test_the_made_up_events_are_joined_learned_and_closed() -> None:
    last = warm_frames(Settings())[-1]["join"]["counters"]
    assert last["late"] == 0
    assert all(last[name] > 0 for name in ("organic", "joined", "closed", "foreign", "forgets", "items"))


def test_a_worker_on_kafka_compiles_nothing_after_it_has_warmed_up() -> None:
    """In a process of its own: in this one, others have compiled before."""
    environ = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, __file__], check=True, env=environ)


def _compiled() -> set[tuple[str, str, str]]:
    """Every kernel of ours, with each kind of arguments that it was compiled for."""
    modules = [module for name, module in list(sys.modules.items()) if name.split(".")[0] in ROOMS]
    kernels = {
        value for module in modules for value in vars(module).values() if isinstance(value, CPUDispatcher)
    }
    return {(k.py_func.__module__, k.py_func.__name__, str(types)) for k in kernels for types in k.signatures}


def _warm_up_and_work() -> None:
    warm_shards(FORGETTING)
    before = _compiled()
    chain = Chain(FORGETTING, 2)
    for batch in batches(islice(logged_world(0, n_features=N_FEATURES), 3_000), 50):
        chain.feed(batch)
    assert before and _compiled() == before, _compiled() - before


if __name__ == "__main__":
    _warm_up_and_work()
