"""Compile every kernel of the room before the first request does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bandits.base import Context, Policy
from bandits.centroids import Centroids
from bandits.draws import Draws
from bandits.graph import ClusterItemGraph
from bandits.policies.diag_lin_ucb import DiagLinUcb
from bandits.policies.epsilon_greedy import EpsilonGreedy
from bandits.policies.lin_ucb import LinUcb
from bandits.policies.thompson import BetaThompson
from bandits.slate import build_slate
from bandits.worlds import row_block
from stream.frame import pack, unpack

__all__ = ["warm_up"]


def warm_up() -> None:
    """Walk every path once on a tiny world; some seconds on a machine that never did, else a moment."""
    centroids = Centroids(2)
    centroids.observe(np.eye(2, dtype=np.float32))
    graph, rows = ClusterItemGraph(centroids), np.arange(3, dtype=np.int32)
    for row in rows.tolist():
        graph.add_item(row, np.ones(2, np.float32))
    context = Context(*centroids.context(np.ones(2, np.float32)), np.ones(1, np.float32))
    block = row_block([context], rows[None], np.ones((1, 3)))
    graph.learn(block)
    graph.refresh(np.ones((3, 2), np.float32))
    makers: list[Callable[[], Policy]] = [
        lambda: DiagLinUcb(graph),
        lambda: LinUcb(4, source="clusters"),
        lambda: LinUcb(1, item_features=lambda rows: np.ones((rows.size, 2), np.float32), item_dim=2),
        EpsilonGreedy,
        BetaThompson,
    ]
    for make in makers:
        policy, replica = make(), make()
        policy.learn(block)
        replica.apply(unpack(pack(policy.changes())))
        policy.decide(context, rows, Draws(1, "warm"))
        build_slate(rows, policy, rows, context, epsilon=0.5, k=2, draws=Draws(1, "warm"))
        policy.remove_items(rows)
    request = Context(context.clusters, context.weights, np.ones(2, np.float32))
    on_features = LinUcb(2)
    on_features.decide(request, rows, Draws(1, "warm"))
    on_features.plan(request, rows)
    replica_graph = ClusterItemGraph(centroids)
    replica_graph.apply(unpack(pack(graph.changes())))
    replica_graph.candidates(context.clusters)
    graph.remove_items(rows)
