"""Training a network of 2 x 64 on 64 inputs: shown places a second, one core, beside a plain torch loop.

Ours is `learn_lists` of NeuFastCB with its default settings (batch of 8, 4 draws of the perturbation), all
included: from blocks of lists to inputs, perturbed prediction, step and published copy, in float32. The peer
is what one writes down first: `nn.Sequential`, autograd and `optim.SGD` on batches of the same size that are
tensors already, without the perturbation. Other rows: without the perturbation, and with batches of 64.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from time import process_time
from typing import Any

import numpy as np

from bandits import Context
from bandits.policies.neu_fast_cb import NeuFastCb, Settings
from bandits.worlds import as_lists, row_block
from learners.rows import RowBlock

__all__ = ["run"]

_REQUEST, _RANK, _SLOTS = 20, 11, 32  # and one for missing features: 64
_LISTS, _PLACES, _BLOCKS = 50, 10, 16


def _blocks() -> list[RowBlock]:
    rng, found = np.random.default_rng(3), []
    nobody = (np.zeros(1, np.int32), np.ones(1, np.float32))
    for first in range(0, _LISTS * _BLOCKS, _LISTS):
        numbers = rng.normal(size=(_LISTS, _REQUEST - 1))
        x = np.concatenate([np.ones((_LISTS, 1)), numbers], 1, dtype=np.float32)
        items = rng.integers(0, _SLOTS, (_LISTS, _PLACES)).astype(np.int32)
        clicks = (rng.random((_LISTS, _PLACES)) < 0.1).astype(np.float64)
        block = as_lists(row_block([Context(*nobody, row) for row in x], items, clicks), first)
        rank = rng.normal(size=(_LISTS * _PLACES, _RANK)).astype(np.float32)
        # A thousand lists to a second, so that publishing takes the part of the time that it does live.
        found.append(replace(block, rank_features=rank, ts=block.ts // 1_000))
    return found


def _best(work: Callable[[], int], seconds: float) -> float:
    """Places a second of CPU time, the best of nine stretches: other work only ever slows a machine down."""
    work()
    best = 0.0
    for _ in range(9):
        start, n = process_time(), 0
        while process_time() - start < seconds / 9:
            n += work()
        best = max(best, n / (process_time() - start))
    return best


def _ours(seconds: float, settings: Settings) -> float:
    names = tuple(f"feature {n}" for n in range(_RANK))
    policy = NeuFastCb(_REQUEST, rank_names=names, settings=settings)
    assert policy.shape.inputs == 64, policy.shape
    blocks = _blocks()

    def work() -> int:
        for block in blocks:
            policy.learn_lists(block)
        return _BLOCKS * _LISTS * _PLACES

    for _ in range(3):  # beyond the rows that the scale rests on
        work()
    return _best(work, seconds)


def _plain_torch(seconds: float, batch: int) -> float:
    torch = importlib.import_module("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    nn, f = torch.nn, torch.nn.functional
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    x, y = torch.randn(512, batch, 64), (torch.rand(512, batch) < 0.1).float()

    def work() -> int:
        for inputs, wanted in zip(x, y, strict=True):
            optimiser.zero_grad()
            f.binary_cross_entropy_with_logits(network(inputs).squeeze(1), wanted).backward()
            optimiser.step()
        return 512 * batch

    try:
        return _best(work, seconds)
    finally:
        torch.set_num_threads(threads)


def run(quick: bool) -> list[dict[str, Any]]:
    """All figures; nothing where torch is not installed."""
    if not importlib.util.find_spec("torch"):
        return []
    seconds = 1.0 if quick else 6.0
    settings = Settings(item_slots=_SLOTS, crossed=False)
    common = {"unit": "places/s", "inputs": 64, "hidden": "2 x 64"}
    rows: list[dict[str, Any]] = []
    forms = (("", settings.batch, True), ("_unperturbed", settings.batch, False), ("_batch_64", 64, True))
    for name, batch, perturb in forms:
        form = Settings(item_slots=_SLOTS, crossed=False, batch=batch, perturb=perturb)
        value, peer = _ours(seconds, form), _plain_torch(seconds, batch)
        draws = settings.draws if perturb else 0
        row = {"name": f"train_rows{name}", "value": value, "batch": batch, "draws": draws}
        rows.append({**row, **common, "peer": "plain torch", "peer_value": peer, "ratio": value / peer})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    for line in run(parser.parse_args().quick):
        print(json.dumps(line))
