"""Matrix factorisation with 64 dimensions: samples learned a second, ours beside River's BiasedMF.

A sample is one (user, item, label): the score, the error, and a step of both vectors and both biases. Ours
come from clicks with five drawn negatives each, drawing included, in blocks of 512 operations; River's from
`learn_one` on the same users and items. River draws nothing and learns a squared loss; both walk the samples
in order. Rows of `encode` show what turning ids into row numbers costs before that.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import json
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from learners import EmbeddingTable, MatrixFactorisation, encode
from learners.testing import organic_rows
from stream.blocks import CLICK, CLOSED, SHOWN, FeedbackBlock, Slate

__all__ = ["run"]

_DIM, _USERS, _ITEMS, _NEGATIVES, _BLOCK = 64, 10_000, 10_000, 5, 512


def _clicks(n: int) -> npt.NDArray[np.int64]:
    """(user, item) pairs; low item numbers are clicked more often."""
    rng = np.random.default_rng(3)
    return np.stack([rng.integers(0, _USERS, n), (_ITEMS * rng.random(n) ** 2).astype(np.int64)], axis=1)


def _best(work: Callable[[], int], seconds: float) -> float:
    """Samples a second, the best of nine stretches, since other work only ever slows a machine down."""
    work()
    best = 0.0
    for _ in range(9):
        start, n = perf_counter(), 0
        while perf_counter() - start < seconds / 9:
            n += work()
        best = max(best, n / (perf_counter() - start))
    return best


def _tables() -> tuple[EmbeddingTable, EmbeddingTable]:
    users, items = EmbeddingTable(_DIM, seed=1), EmbeddingTable(_DIM, seed=2)
    users.rows([f"user-{n}" for n in range(_USERS)], 0)
    items.rows([f"item-{n}" for n in range(_ITEMS)], 0)
    return users, items


def _ours(seconds: float, negatives: int) -> float:
    model = MatrixFactorisation(*_tables(), negatives=negatives)
    pairs = _clicks(64 * _BLOCK)
    blocks = [organic_rows(pairs[n : n + _BLOCK].tolist()) for n in range(0, len(pairs), _BLOCK)]
    return _best(lambda: sum(model.learn(block).samples for block in blocks), seconds)


def _river(seconds: float) -> float:
    reco, optim = (importlib.import_module(f"river.{name}") for name in ("reco", "optim"))
    model = reco.BiasedMF(n_factors=_DIM, latent_optimizer=optim.SGD(0.05), seed=1)
    pairs = [(f"user-{user}", f"item-{item}", float(n % 2)) for n, (user, item) in enumerate(_clicks(4_000))]

    def work() -> int:
        for user, item, label in pairs:
            model.learn_one(user, item, label)
        return len(pairs)

    return _best(work, seconds)


def _encoded_items(seconds: float) -> float:
    """Shown items a second through `encode`: 64 slates of 20, each shown, clicked once and closed."""
    users, items = _tables()
    rng = np.random.default_rng(4)
    names = [f"item-{n}" for n in range(_ITEMS)]
    blocks = []
    for _ in range(32):
        slates = [
            Slate(
                request_id=f"r{n}",
                user_id=f"user-{rng.integers(_USERS)}",
                ts=0,
                items=[names[i] for i in rng.choice(_ITEMS, 20, replace=False)],
                propensities=[0.05] * 20,
                rewards={3: 1.0},
            )
            for n in range(64)
        ]
        ops = [(kind, n) for n in range(64) for kind in (SHOWN, CLICK, CLOSED)]
        blocks.append(
            FeedbackBlock(
                slates,
                [],
                [kind for kind, _ in ops],
                [n for _, n in ops],
                [3 if kind == CLICK else -1 for kind, _ in ops],
                [float(kind == CLICK) for kind, _ in ops],
                [kind == CLICK for kind, _ in ops],
                [0] * len(ops),
            )
        )

    def work() -> int:
        for block in blocks:
            for slate in block.slates:
                slate.rows = None
            encode(block, users, items)
        return len(blocks) * 64 * 20

    # As in the product: what has been loaded is not searched for garbage again and again.
    gc.collect()
    gc.freeze()
    try:
        return _best(work, seconds)
    finally:
        gc.unfreeze()


def run(quick: bool) -> list[dict[str, Any]]:
    """All figures: some 5 s when `quick`, half a minute else."""
    seconds = 1.0 if quick else 8.0
    common = {"unit": "samples/s", "dim": _DIM, "users": _USERS, "items": _ITEMS}
    first: dict[str, Any] = {"name": "learn_mf_64", "value": _ours(seconds, _NEGATIVES), **common}
    if importlib.util.find_spec("river"):
        river = _river(seconds)
        first |= {"peer": "river BiasedMF", "peer_value": river, "ratio": first["value"] / river}
    return [
        first,
        {"name": "learn_mf_64_without_negatives", "value": _ours(seconds, 0), **common},
        {"name": "encode_slates_of_20", "value": _encoded_items(seconds), "unit": "shown items/s"},
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    for line in run(parser.parse_args().quick):
        print(json.dumps(line))
