"""Each policy on real tables for classification: a class is an item, and the right one is worth 1."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq

from bandits import Context
from bandits.ops.arrays import Float32, Float64, Int32
from benchmarks.quality.rows import SEEDS, Row, shared_data, summary
from benchmarks.quality.worlds import regret_rows

__all__ = ["TABLES", "TableWorld", "load_table", "rows"]

TABLES = ("letter", "magic", "mushroom", "optdigits", "satimage")
_NOBODY = (np.zeros(1, np.int32), np.ones(1, np.float32))


class TableWorld:
    """A table in an order drawn by the seed: round t asks for the class of its t-th row.

    Args:
        x: features (n, d), the first of them 1.
        right: the right class (n,).
        seed: draws the order.
    """

    def __init__(self, x: Float32, right: Int32, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(x))
        self._x, right = x[order], right[order]
        self.n_items = int(right.max()) + 1
        # A world is asked what a context is worth, not what a round is.
        self._right = {row.tobytes(): label for row, label in zip(self._x, right.tolist(), strict=True)}

    def context(self, t: int) -> Context:
        """The features of row t; after the last row the first comes again."""
        return Context(*_NOBODY, self._x[t % len(self._x)])

    def rates(self, context: Context) -> Float64:
        """1 for the right class (n_items,), 0 for all others."""
        assert context.features is not None
        rates = np.zeros(self.n_items)
        rates[self._right[context.features.tobytes()]] = 1.0
        return rates


def load_table(name: str) -> tuple[Float32, Int32] | None:
    """Features (n, d), the first of them 1, and the right class (n,); None where the tables are not there."""
    folder = shared_data("bandit_classification")
    if folder is None:
        return None
    columns = pq.read_table(folder / f"{name}.parquet")
    features = [columns[column].to_numpy() for column in columns.schema.names if column != "target"]
    right = np.unique(columns["target"].to_numpy(), return_inverse=True)[1]
    return np.stack([np.ones(len(right)), *features], 1, dtype=np.float32), right.astype(np.int32)


def rows(quick: bool) -> list[Row]:
    """Regret of each policy with its default settings, and of the best class alone."""
    found: list[Row] = []
    for name in TABLES[2:3] if quick else TABLES:
        table = load_table(name)
        if table is None:
            return []
        n_rounds = 500 if quick else min(10_000, len(table[1]))
        found += regret_rows(name, [TableWorld(*table, seed) for seed in SEEDS], n_rounds)
        common = np.bincount(table[1]).max() / len(table[1])
        best = [(1 - common) * n_rounds] * len(SEEDS)
        metric = f"regret after {n_rounds:,} rounds"
        found.append(summary(name, "(best class alone)", metric, best, higher_is_better=False))
    return found
