"""Diag-LinUCB: edge updates a second in one process, and what a decision over the graph costs.

An edge update is one (cluster, item) pair's d or b. Three worlds: items met by 8 clusters each (a graph's
usual shape), users from anywhere near 64 clusters, and a catalogue ten times larger.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from bandits import Centroids, ClusterItemGraph, Context, DiagLinUcb, Draws, build_slate
from bandits.worlds import row_block
from learners.rows import RowBlock

__all__ = ["run"]

_SLATE, _TOP = 20, 4


def _block(n_slates: int, n_items: int, clusters_per_item: int, seed: int) -> RowBlock:
    """Slates of 20 with a click in ten places; an item is met by the clusters next to its own."""
    rng = np.random.default_rng(seed)
    homes = rng.integers(0, 64, n_slates)
    near = rng.permuted(np.tile(np.arange(clusters_per_item), (n_slates, 1)), axis=1)[:, :_TOP]
    clusters = ((homes[:, None] + near) % 64).astype(np.int32)
    weights = rng.dirichlet(np.ones(_TOP), n_slates).astype(np.float32)
    # Items of row i belong to cluster i % 64, so a home cluster sees its own items only.
    items = (rng.integers(0, n_items // 64, (n_slates, _SLATE)) * 64 + homes[:, None]).astype(np.int32)
    contexts = [Context(c, w) for c, w in zip(clusters, weights, strict=True)]
    return row_block(contexts, items, (rng.random((n_slates, _SLATE)) < 0.1).astype(np.float64))


def _updates(n_items: int, clusters_per_item: int, seconds: float) -> float:
    policy, blocks = DiagLinUcb(), [_block(256, n_items, clusters_per_item, seed) for seed in range(8)]
    clicks = [int((block.kind == 1).sum()) for block in blocks]
    for block in blocks:
        policy.learn(block)
    best = 0.0
    for _ in range(5):
        start, edges = perf_counter(), 0
        while perf_counter() - start < seconds / 5:
            for block, n_clicks in zip(blocks, clicks, strict=True):
                policy.learn(block)
                edges += (block.items.size + n_clicks) * _TOP
        best = max(best, edges / (perf_counter() - start))
    return best


def _micros(call: Callable[[int], Any], seconds: float) -> float:
    """Microseconds a call, the best of five stretches."""
    call(0)
    best = float("inf")
    for _ in range(5):
        start, n = perf_counter(), 0
        while perf_counter() - start < seconds / 5:
            call(n)
            n += 1
        best = min(best, (perf_counter() - start) / n * 1e6)
    return best


def _decisions(seconds: float) -> list[dict[str, Any]]:
    """Candidates, a choice and a whole slate over a full graph: 4 clusters of 200 items, 20,000 items."""
    rng = np.random.default_rng(3)
    spots = rng.normal(size=(64, 64))
    users = (spots[rng.integers(0, 64, 20_000)] + 0.4 * rng.normal(size=(20_000, 64))).astype(np.float32)
    items = (spots[rng.integers(0, 64, 20_000)] + 0.5 * rng.normal(size=(20_000, 64))).astype(np.float32)
    centroids = Centroids(64)
    centroids.observe(users)
    graph = ClusterItemGraph(centroids)
    policy = DiagLinUcb(graph)
    everybody = [_block(1_000, 20_000, 8, seed) for seed in range(3)]
    for block in everybody:
        policy.learn(block)
        graph.learn(block)
    for row, vector in enumerate(items):
        graph.add_item(row, vector)
    for _ in range(10):
        graph.refresh(items, budget=4_000)
    contexts = [Context(*centroids.context(user)) for user in users[:500]]
    own = [graph.candidates(context.clusters) for context in contexts]
    ranked = [rng.choice(20_000, 300, replace=False).astype(np.int32) for _ in range(500)]
    size = {"unit": "us", "candidates": int(np.median([rows.size for rows in own]))}

    def slate(i: int) -> object:
        j = i % 500
        return build_slate(
            ranked[j], policy, own[j], contexts[j], epsilon=0.05, k=_SLATE, draws=Draws(1, str(i))
        )

    draws = Draws(1, "requests")
    calls: dict[str, Callable[[int], Any]] = {
        "graph_candidates": lambda i: graph.candidates(contexts[i % 500].clusters),
        "diag_lin_ucb_decide": lambda i: policy.decide(contexts[i % 500], own[i % 500], draws),
        "build_slate_20": slate,
    }
    return [{"name": name, "value": _micros(call, seconds), **size} for name, call in calls.items()]


def run(quick: bool) -> list[dict[str, Any]]:
    """All figures: some 10 s when `quick`, half a minute else."""
    seconds = 0.5 if quick else 3.0
    rows = [
        {
            "name": name,
            "value": _updates(n_items, per_item, seconds),
            "unit": "edge updates/s",
            "items": n_items,
            "clusters_per_item": per_item,
        }
        for name, n_items, per_item in (
            ("diag_lin_ucb_update", 20_000, 8),
            ("diag_lin_ucb_update_all_clusters", 20_000, 64),
            ("diag_lin_ucb_update_large", 200_000, 8),
        )
    ]
    return [*rows, *_decisions(seconds)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    for line in run(parser.parse_args().quick):
        print(json.dumps(line))
