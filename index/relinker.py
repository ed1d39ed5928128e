"""Keeps the links true while everything moves: a plain call, given a budget."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.checks import EVERYTHING
from index.graph import Graph
from index.linked import LinkedIndex
from index.ops.records import ALIVE, PENDING, Entry
from index.ops.relink import relink
from index.ops.scan import allowed_share
from index.ops.upkeep import links_to, most_moved
from stream.clock import Clock, WallClock

__all__ = ["Relinked", "Relinker"]

_CHUNK = 256  # rows linked under one hold of the linker's lock: 10 to 30 ms
_NO_ROWS = np.empty(0, np.int32)


class Relinked(NamedTuple):
    """What one run did, and what is left."""

    n_rows: int  # rows whose links were chosen anew
    backlog: int  # rows still waiting: new, pointing at removed ones, or moved


class Relinker:
    """Links new rows, then rows that point at removed ones, then the farthest moved.

    Owned by a `LiveIndex`; keeps no more than a queue of row numbers.

    Example:
        >>> from index import LiveIndex, LiveSettings
        >>> vectors = np.random.default_rng(0).normal(size=(102, 4)).astype(np.float32)
        >>> index = LiveIndex(dim=4, settings=LiveSettings(exact_below=50))
        >>> index.upsert(np.arange(100), vectors[:100])
        >>> index.upsert(np.arange(100, 102), vectors[100:])
        >>> index.relinker.run(budget_rows=1)
        Relinked(n_rows=1, backlog=1)
    """

    def __init__(self, index: LinkedIndex, clock: Clock | None = None) -> None:
        self._index = index
        self._clock = clock or WallClock()
        self._graph: Graph | None = None  # the graph that the queues below speak of
        self._repairs = _NO_ROWS
        self._leaving = _NO_ROWS
        self._moved = _NO_ROWS
        self._start = 0
        self._n_moved = 0
        self.n_relinked = 0

    @property
    def backlog(self) -> int:
        """Rows known to wait for new links, as of the last run."""
        graph = self._index.graph
        pending = 0 if graph is None else graph.entry.pending.size
        return int(pending + self._repairs.size + self._n_moved)

    def run(self, *, budget_rows: int | None = None, budget_s: float | None = None) -> Relinked:
        """Choose links until nothing waits or the budget is spent, whichever comes first."""
        began_s = self._clock.monotonic_s()
        left = self._index.size + 1 if budget_rows is None else budget_rows
        waiting = _NO_ROWS if self._index.graph is None else self._index.graph.entry.pending
        n_done = 0
        self._mend_pivots()
        while left > 0 and (budget_s is None or self._clock.monotonic_s() - began_s < budget_s):
            room = min(_CHUNK, left)
            if waiting.size:
                targets, waiting = waiting[:room], waiting[room:]
                self._link_new(targets)
            else:
                targets = self._next_old(room)
                if targets.size == 0:
                    break
                self._link(targets)
            left -= targets.size
            n_done += targets.size
        self.n_relinked += n_done
        return Relinked(n_done, self.backlog)

    def link_pending(self) -> None:
        """Link all new rows now."""
        graph = self._index.graph
        waiting = _NO_ROWS if graph is None else graph.entry.pending
        self._mend_pivots()
        for start in range(0, waiting.size, _CHUNK):
            self._link_new(waiting[start : start + _CHUNK])

    def _link(self, targets: NDArray[np.int32]) -> None:
        index = self._index
        with index.linking:
            graph = index.graph
            if graph is None:
                return
            entry = Entry(graph.entry.pivots, graph.entry.vectors, _NO_ROWS)
            scratch = index.borrow_scratch()
            relink(
                targets,
                index.table.rows,
                index.table.n_rows,
                graph.links,
                entry,
                EVERYTHING,
                index.settings.link_ef,
                index.settings.jump,
                scratch,
            )
            index.return_scratch(scratch)

    def _link_new(self, targets: NDArray[np.int32]) -> None:
        """Link rows and take them off the waiting list, but for those that cannot be reached yet."""
        self._link(targets)
        index = self._index
        with index.linking, index.writing, index.table.lock:
            graph = index.graph
            if graph is None:
                return
            rows = index.table.rows
            # A row that was removed and used again meanwhile has a long path again: it goes on waiting.
            linked = targets[(graph.links.degree[targets] > 0) & (rows.moved[targets] <= index.settings.jump)]
            rows.state[linked] &= ~np.uint8(PENDING)
            graph.no_longer_await(linked)

    def _next_old(self, room: int) -> NDArray[np.int32]:
        """Rows to link again; empty if none wait."""
        graph = self._index.graph
        if graph is None:
            return _NO_ROWS
        if graph is not self._graph:
            self._graph, self._repairs, self._leaving, self._moved = graph, _NO_ROWS, _NO_ROWS, _NO_ROWS
        if self._repairs.size == 0 and self._leaving.size:
            self._end_sweep(graph)
        if self._repairs.size == 0 and 50 * graph.dead.size > self._index.size:
            self._begin_sweep(graph)
        if self._repairs.size == 0 and self._moved.size == 0:
            self._find_moved()
        if self._repairs.size == 0 and self._moved.size == 0 and graph.dead.size:
            self._begin_sweep(graph)
            if self._repairs.size == 0:
                self._end_sweep(graph)
        if self._repairs.size:
            targets, self._repairs = self._repairs[:room], self._repairs[room:]
            return targets
        targets, self._moved = self._moved[:room], self._moved[room:]
        self._n_moved = max(0, self._n_moved - targets.size)
        return targets

    def _find_moved(self) -> None:
        table = self._index.table
        found = np.empty(max(2 * _CHUNK, table.size // 64), np.int32)
        start = self._start if self._start < table.n_rows else 0
        n, self._n_moved = most_moved(table.rows, table.n_rows, self._index.settings.least_move, found, start)
        if n:
            self._start = int(found[n - 1]) + 1
        found = found[:n]
        self._moved = found[np.argsort(-table.rows.moved[found], kind="stable")]

    def _begin_sweep(self, graph: Graph) -> None:
        """Find who points at the rows that left, so that they can be linked again without them."""
        table = self._index.table
        self._leaving = graph.dead
        leaving = np.zeros(table.n_rows, np.bool_)
        leaving[self._leaving] = table.rows.state[self._leaving] & ALIVE == 0
        found = np.empty(table.n_rows, np.int32)
        n = links_to(table.rows, table.n_rows, graph.links, leaving, found)
        self._repairs = found[:n].copy()

    def _end_sweep(self, graph: Graph) -> None:
        index = self._index
        with index.linking, index.writing:
            gone = index.table.rows.state[self._leaving] & ALIVE == 0
            graph.forget_dead(self._leaving, gone)
        self._leaving = _NO_ROWS

    def _mend_pivots(self) -> None:
        """Keep the places where walks begin alive and where they say they are."""
        index = self._index
        with index.linking, index.writing:
            graph, rows = index.graph, index.table.rows
            if graph is None:
                return
            pivots = graph.entry.pivots
            wanted = min(index.settings.n_pivots, index.size)
            if allowed_share(rows, EVERYTHING, pivots) < 0.9 or 2 * pivots.size < wanted:
                linked = np.setdiff1d(index.table.alive(), graph.entry.pending)
                graph.sample_pivots(rows, linked, index.settings.n_pivots, index.rng)
            else:
                graph.refresh_pivots(rows)
