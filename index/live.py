"""The live index: newest vectors at once, links in the background.

Two speeds. A vector that comes is in the dense table before `upsert` returns, and every walk and every answer
reads that table: nothing is ever stale. Only the *links* lag behind the movement, which costs recall slowly
and is repaired by a `Relinker` within a budget, the farthest-moved rows first. hnswlib builds whole graphs,
aside.

Who may do what at once: searches walk without a lock and take one only to settle the answer (microseconds);
writers take it per slice; one linker at a time changes links, under searches. A walk may see an old link or
half a new vector; an answer never does.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.base import Answers
from index.checks import EVERYTHING, check_allow, check_k, check_query
from index.graph import Graph
from index.memory import reserve
from index.ops.beam import beam
from index.ops.records import ALIVE, PENDING, Scratch
from index.ops.scan import allowed_share
from index.quality import RecallProbe
from index.rebuild import rebuild
from index.relinker import Relinker
from index.settings import LiveSettings
from index.table import RowTable
from stream.errors import SnapshotError
from stream.frame import Frame

__all__ = ["LiveIndex"]

_FEW_ALLOWED = 0.1  # below this share of allowed rows a scan beats a walk
_SHORT_OF_SCAN = 8  # a walk that has scored this part of all rows gives up: a scan is quicker


class LiveIndex:
    """Approximate nearest rows under cosine, right after each write.

    Memory per row: 4 bytes a dimension, 4 `max_links` + 1 for links, 10 of state; attributes 20 where set; 1
    for each concurrent search. Address space for `max_rows` is reserved, pages come as rows do.

    Args:
        background: a maintenance thread will link: `upsert` never does it itself.
        as_given: keep vectors at the length that they come with, for somebody who reads them from
            `table.rows.vectors` instead of keeping a copy (`RowTable`).

    Example:
        >>> import numpy as np
        >>> index = LiveIndex(dim=2)
        >>> index.upsert(np.array([7, 3]), np.array([[1, 0], [3, 4]], np.float32))
        >>> index.remove(np.array([7]))
        1
        >>> index.search(np.array([2, 0], np.float32), k=5)
        Answers(rows=array([3], dtype=int32), scores=array([0.6], dtype=float32))
    """

    def __init__(
        self,
        dim: int,
        max_rows: int = 4_000_000,
        settings: LiveSettings | None = None,
        *,
        background: bool = False,
        as_given: bool = False,
    ) -> None:
        self.settings = settings or LiveSettings()
        self.table = RowTable(dim, max_rows, self.settings.jump, as_given=as_given)
        self.graph: Graph | None = None
        self.writing = Lock()  # one writer at a time; never held for longer than a batch takes to copy
        self.linking = Lock()  # one linker at a time
        self.rebuilding = Lock()  # one rebuild at a time
        self.rng = np.random.default_rng(self.settings.seed)
        self.probe = RecallProbe(self.dim)
        self.relinker = Relinker(self)
        self.background = background
        self.n_rebuilds = 0
        self._scratch: deque[Scratch] = deque()

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self.table.dim

    @property
    def size(self) -> int:
        """Rows that have a vector now."""
        return self.table.size

    @property
    def version(self) -> int:
        """Grows by one with each batch written."""
        return self.table.version

    def upsert(self, rows: Any, vectors: Any) -> None:
        """Give `rows` (n,) the `vectors` (n, dim); the next search sees them.

        New rows, and rows that moved beyond `jump`, are scored by every search until they are linked; beyond
        `max_pending` they are linked here, unless `background`: then the waiting list grows to the
        maintenance thread's leisure.
        """
        with self.writing:
            unplaced = self.table.write(rows, vectors)
            if self.graph is not None:
                self.graph.await_link(unplaced)
        if not self.background:
            self.tidy()

    def tidy(self) -> None:
        """Build the graph if it is due, and link what waits beyond the bound."""
        if self.rebuild_is_due():
            self.rebuild()
        elif self.graph is not None and self.graph.entry.pending.size > self.settings.max_pending:
            self.relinker.link_pending()

    def rebuild_is_due(self) -> bool:
        """Whether most of the rows are outside the graph, so that a whole build is cheaper."""
        if self.size <= self.settings.exact_below:
            return False
        if self.graph is None:
            return True
        waiting = self.graph.entry.pending.size
        return waiting > max(self.settings.max_pending, self.size // 3)

    def remove(self, rows: Any) -> int:
        """Take `rows` (n,) out; returns how many were there. Their numbers may be used again at once."""
        with self.writing:
            gone = self.table.erase(rows)
            if self.graph is not None:
                self.graph.no_longer_await(gone)
                self.graph.bury(gone)
        return int(gone.size)

    def set_attributes(
        self, rows: Any, *, group: Any = None, from_ms: Any = None, until_ms: Any = None
    ) -> None:
        """Set what searches filter by, (n,) each; None leaves it."""
        self.table.set_attributes(rows, group, from_ms, until_ms)

    def search(
        self, query: Any, k: int, *, groups: Any = None, now_ms: int | None = None, allowed: Any = None
    ) -> Answers:
        """The `k` allowed rows nearest to `query` (dim,), or as many as there are.

        A walk when that is quicker, a scan of all rows when there are few, when few are allowed, or when the
        walk came back with fewer than `k`: so an answer is never short while allowed rows exist.
        """
        unit = check_query(query, self.dim)
        allow = check_allow(groups, now_ms, allowed)
        n_wanted = check_k(k)
        self.probe.observe(unit)
        return self.nearest(unit, n_wanted, allow)

    def nearest(self, unit: NDArray[np.float32], k: int, allow: Any = EVERYTHING) -> Answers:
        """`search` for a unit query (dim,) whose arguments have been checked; the probe does not see it."""
        table, graph = self.table, self.graph
        size = table.size
        if graph is None or size <= self.settings.exact_below or 4 * k >= size:
            return table.scan(unit, allow, k, exact=False)
        entry = graph.entry
        if allow is not EVERYTHING and allowed_share(table.rows, allow, entry.pivots) < _FEW_ALLOWED:
            return table.scan(unit, allow, k, exact=False)
        ef = max(self.settings.ef, 2 * k)
        limit = 4096 + size // _SHORT_OF_SCAN
        scratch = self.borrow_scratch()
        try:
            kept, visits = beam(unit, table.rows, table.n_rows, graph.links, entry, allow, ef, limit, scratch)
            if kept < k or (kept < ef and visits >= limit):
                return table.scan(unit, allow, k, exact=False)
            answers = table.settle(unit, allow, k, scratch.best_row[:kept])
        finally:
            self._scratch.append(scratch)
        return answers if answers.rows.size == k else table.scan(unit, allow, k, exact=False)

    def borrow_scratch(self) -> Scratch:
        """Working memory for one walk; as many exist as ever walked at once."""
        try:
            return self._scratch.pop()
        except IndexError:
            return _make_scratch(self.table.max_rows, self.settings.max_links)

    def return_scratch(self, scratch: Scratch) -> None:
        """Give it back for the next walk."""
        self._scratch.append(scratch)

    def rebuild(self, **how: Any) -> bool:
        """Build a new graph aside and put it in place; searches and writes go on. See
        `index.rebuild.rebuild`."""
        return rebuild(self, **how)

    def bytes_per_row(self) -> int:
        """Memory of one row without attributes and without walks' marks."""
        return 4 * self.dim + 4 * self.settings.max_links + 1 + 10

    def snapshot(self) -> Frame:
        """Rows and links; a restored index answers the same at once, without building.

        Linking stands still meanwhile, answers and writers do not: rows are copied a slice at a time, so what
        is written during the copy is in it or not, row by row.
        """
        with self.linking:
            frame, state, moved = self.table.snapshot()
            frame["graph"] = None
            if self.graph is not None:
                n, alive = state.size, state & ALIVE != 0
                degree = self.graph.links.degree[:n].copy()
                frame["graph"] = {
                    "links": self.graph.links.to[:n].copy(),
                    "degree": degree,
                    "moved": moved,
                    "pending": np.flatnonzero(alive & (state & PENDING != 0)).astype(np.int32),
                    "dead": np.flatnonzero(~alive & (degree > 0)).astype(np.int32),
                }
            return frame

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; raises `SnapshotError` if it cannot be this index."""
        graph = _graph_from(frame, self.table.max_rows, self.settings.max_links, self.dim)
        with self.linking, self.writing:
            self.graph = None  # walks meanwhile would mix old links with new rows; scans cannot
            self.table.restore(frame)
            self._scratch.clear()  # marks beyond the new end would never be wiped
            if graph is None:
                return
            moved: NDArray[np.float32] = frame["graph"]["moved"]
            self.table.rows.moved[: moved.size] = moved
            self.table.rows.state[graph.entry.pending] |= PENDING
            state = self.table.rows.state[: moved.size]
            linked = np.flatnonzero(state & (ALIVE | PENDING) == ALIVE).astype(np.int32)
            graph.sample_pivots(self.table.rows, linked, self.settings.n_pivots, self.rng)
            self.graph = graph


def _make_scratch(max_rows: int, max_links: int) -> Scratch:
    room = max_rows + 1024
    return Scratch(
        visited=reserve((max_rows,), np.uint8),
        stamp=np.zeros(1, np.int64),
        best_score=reserve((room,), np.float32),
        best_row=reserve((room,), np.int32),
        open_score=reserve((room,), np.float32),
        open_row=reserve((room,), np.int32),
        near_score=np.empty(256, np.float32),
        near_row=np.empty(256, np.int32),
        picked=np.empty(max_links + 64, np.int32),
        back_score=np.empty(max_links + 1, np.float32),
        back_row=np.empty(max_links + 1, np.int32),
        back_picked=np.empty(max_links + 1, np.int32),
    )


def _graph_from(frame: Frame, max_rows: int, max_links: int, dim: int) -> Graph | None:
    """The graph of a frame, if it holds one and every number in it may be believed."""
    parts = frame.get("graph")
    if parts is None:
        return None
    state: Any = frame.get("state")
    n = state.size if isinstance(state, np.ndarray) else -1
    try:
        links, degree, moved = parts["links"], parts["degree"], parts["moved"]
        pending, dead = parts["pending"], parts["dead"]
        sound = (
            links.shape == (n, max_links)
            and degree.shape == moved.shape == (n,)
            and all(
                a.dtype == np.int32 and (a.size == 0 or 0 <= a.min() <= a.max() < n)
                for a in (links, pending, dead)
            )
            and (n == 0 or int(degree.max()) <= max_links)
            and bool(np.isfinite(moved).all())
            and bool((state[pending] & ALIVE != 0).all())
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        msg = (
            f"snapshot: the graph lacks a part or holds one of another type ({error}); use an older snapshot"
        )
        raise SnapshotError(msg) from error
    if not sound:
        msg = f"snapshot: the graph does not fit {n} rows with {max_links} links each; use an older snapshot"
        raise SnapshotError(msg)
    graph = Graph(max_rows, max_links, dim)
    graph.links.to[:n], graph.links.degree[:n] = links, degree
    graph.await_link(pending.copy())
    graph.dead = dead.copy()
    return graph
