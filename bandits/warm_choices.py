"""Compile every kernel of the room before the first request does."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from bandits.base import Context, Policy
from bandits.centroids import Centroids
from bandits.draws import Draws
from bandits.graph import ClusterItemGraph
from bandits.ops.arrays import Int32
from bandits.slate import build_slate
from bandits.worlds import row_block
from stream.frame import pack, unpack

__all__ = ["warm_up"]


def warm_up(
    kinds: Collection[str] = (
        "diag_lin_ucb",
        "lin_ucb",
        "epsilon_greedy",
        "thompson",
        "neu_square_cb",
        "neu_fast_cb",
    ),
) -> None:
    """Walk every path once on a tiny world; some seconds on a machine that never did, else a moment.

    `kinds` are the policies that will be asked; only their modules are imported.
    """
    centroids = Centroids(2)
    centroids.observe(np.eye(2, dtype=np.float32))
    graph, rows = ClusterItemGraph(centroids), np.arange(3, dtype=np.int32)
    for row in rows.tolist():
        graph.add_item(row, np.ones(2, np.float32))
    context = Context(*centroids.context(np.ones(2, np.float32)), np.ones(1, np.float32))
    block = row_block([context], rows[None], np.ones((1, 3)))
    graph.learn(block)
    graph.refresh(np.ones((3, 2), np.float32))
    for make in (make for kind, makers in _MAKERS.items() if kind in kinds for make in makers(graph)):
        policy, replica = make(), make()
        policy.learn(block)
        replica.apply(unpack(pack(policy.changes())))
        policy.decide(context, rows, Draws(1, "warm"))
        build_slate(rows, policy, rows, context, epsilon=0.5, k=2, draws=Draws(1, "warm"))
        policy.remove_items(rows)
    if "lin_ucb" in kinds:
        _warm_features(Context(context.clusters, context.weights, np.ones(2, np.float32)), rows)
    replica_graph = ClusterItemGraph(centroids)
    replica_graph.apply(unpack(pack(graph.changes())))
    replica_graph.candidates(context.clusters)
    graph.remove_items(rows)


def _warm_features(request: Context, rows: Int32) -> None:
    from bandits.policies.lin_ucb import LinUcb

    on_features = LinUcb(2)
    on_features.decide(request, rows, Draws(1, "warm"))
    on_features.plan(request, rows)


def _diag_lin_ucb(graph: ClusterItemGraph) -> list[Callable[[], Policy]]:
    from bandits.policies.diag_lin_ucb import DiagLinUcb

    return [lambda: DiagLinUcb(graph)]


def _lin_ucb(_: ClusterItemGraph) -> list[Callable[[], Policy]]:
    from bandits.policies.lin_ucb import LinUcb

    return [
        lambda: LinUcb(4, source="clusters"),
        lambda: LinUcb(1, item_features=lambda rows: np.ones((rows.size, 2), np.float32), item_dim=2),
    ]


def _epsilon_greedy(_: ClusterItemGraph) -> list[Callable[[], Policy]]:
    from bandits.policies.epsilon_greedy import EpsilonGreedy

    return [EpsilonGreedy]


def _thompson(_: ClusterItemGraph) -> list[Callable[[], Policy]]:
    from bandits.policies.thompson import BetaThompson

    return [BetaThompson]


def _neu_square_cb(_: ClusterItemGraph) -> list[Callable[[], Policy]]:
    from bandits.policies.neu_square_cb import NeuSquareCb

    return [lambda: NeuSquareCb(trains=False)]


def _neu_fast_cb(_: ClusterItemGraph) -> list[Callable[[], Policy]]:
    from bandits.policies.neu_fast_cb import NeuFastCb

    return [lambda: NeuFastCb(trains=False)]


_MAKERS = {
    "neu_square_cb": _neu_square_cb,
    "neu_fast_cb": _neu_fast_cb,
    "diag_lin_ucb": _diag_lin_ucb,
    "lin_ucb": _lin_ucb,
    "epsilon_greedy": _epsilon_greedy,
    "thompson": _thompson,
}
