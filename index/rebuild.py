"""A new graph beside the live one, and the swap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from index.builder import build_links
from index.graph import Graph
from index.linked import LinkedIndex
from index.ops.records import ALIVE, PENDING
from index.ops.upkeep import distance_moved

__all__ = ["rebuild"]

_SLICE = 4096


def rebuild(
    index: LinkedIndex, *, n_threads: int | None = None, proceed: Callable[[], bool] | None = None
) -> bool:
    """Build the whole graph of `index` anew with hnswlib and swap it in.

    Searches go on throughout. Writes go on too, but for the few milliseconds of the swap, when what came
    during the build is sorted out: new rows wait to be linked, removed ones are walked through, moved ones
    carry their path.

    Args:
        n_threads: for the build; None takes `settings.build_threads`.
        proceed: asked every 2,000 rows; may wait; False ends the build and nothing has happened.

    Returns:
        Whether a new graph is in place; False if ended early or if another rebuild is under way.
    """
    if not index.rebuilding.acquire(blocking=False):
        return False
    try:
        rows, built = _copy_alive(index)
        if rows.size == 0:
            return False
        settings = index.settings
        parts = build_links(
            built,
            m=settings.build_m,
            ef_construction=settings.ef_construction,
            n_threads=n_threads or settings.build_threads,
            proceed=proceed,
        )
        if parts is None:
            return False
        links, degrees = parts
        graph = Graph(index.table.max_rows, settings.max_links, index.dim)
        graph.load(rows, rows[links], degrees)
        _swap(index, graph, rows, built)
        return True
    finally:
        index.rebuilding.release()


def _copy_alive(index: LinkedIndex) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The living rows and their unit vectors, no row torn, the lock never held for long."""
    table = index.table
    rows = table.alive()
    vectors = np.empty((rows.size, table.dim), np.float32)
    for start in range(0, rows.size, _SLICE):
        part = slice(start, start + _SLICE)
        with table.lock:
            vectors[part] = table.rows.units(rows[part])
    # A row removed between the two reads is still a vector; the swap finds it gone.
    return rows, vectors


def _swap(index: LinkedIndex, graph: Graph, rows: NDArray[np.int32], built: NDArray[np.float32]) -> None:
    table = index.table
    with index.linking, index.writing:
        alive = table.alive()
        fresh = np.setdiff1d(alive, rows, assume_unique=True).astype(np.int32)
        kept = np.isin(rows, alive, assume_unique=True)
        distance_moved(rows[kept], built[kept], table.rows)
        far = rows[kept][table.rows.moved[rows[kept]] > index.settings.jump]
        graph.bury(rows[~kept])
        graph.await_link(np.concatenate([fresh, far]))
        with table.lock:
            table.rows.state[alive] = (table.rows.state[alive] & ~np.uint8(PENDING)) | np.uint8(ALIVE)
            table.rows.state[graph.entry.pending] |= PENDING
        graph.sample_pivots(table.rows, rows[kept], index.settings.n_pivots, index.rng)
        index.graph = graph
        index.n_rebuilds += 1
