"""The thread that keeps a live index good within a share of one core."""

from __future__ import annotations

import os
from threading import Event, Thread

from index.builder import BUILD_CHUNK
from index.live import LiveIndex
from stream.clock import Clock, WallClock

__all__ = ["Maintenance"]

_TURN_S = 0.02  # work between two rests
_IDLE_S = 0.02  # rest when nothing waits
_MARGIN = 0.02  # how far below a fresh build's recall is reason to build again
_ENOUGH = 32  # queries that tell what a fresh build reaches


class Maintenance:
    """Re-links, measures recall on live queries, and rebuilds when it falls below the floor.

    Data whose fresh build does not reach the floor (random directions, say) is not rebuilt in vain: the floor
    is at most what the newest build reached on the first queries it answered, less 0.02.

    Args:
        share: of one core, for linking and measuring; a rebuild takes one whole core while it lasts, a first
            build all.
        floor: recall@10 below which the graph is rebuilt.
        probe_every_s: seconds between two measurements.

    Example:
        >>> import numpy as np
        >>> index = LiveIndex(dim=8)
        >>> keeper = Maintenance(index, share=0.3, floor=0.95)
        >>> keeper.start()
        >>> index.upsert(np.arange(8), np.eye(8, dtype=np.float32))
        >>> keeper.stop()
        >>> keeper.figures()["recall"], keeper.figures()["size"]
        (1.0, 8.0)
    """

    def __init__(
        self,
        index: LiveIndex,
        *,
        clock: Clock | None = None,
        share: float = 0.3,
        floor: float = 0.95,
        probe_every_s: float = 10.0,
    ) -> None:
        self._index = index
        self._clock = clock or WallClock()
        self._rest_per_work = (1.0 - share) / share
        self._floor = floor
        self._attainable = 1.0
        self._linked_when_built: int | None = None
        self._probe_every_s = probe_every_s
        self._probed_at_s = self._working_since_s = self._clock.monotonic_s()
        self._stop = Event()
        self._thread: Thread | None = None
        self._n_built = 0
        self.recall = 1.0

    def start(self) -> None:
        """Begin; from now on `upsert` leaves the linking to this thread."""
        self._index.background = True
        self._stop.clear()
        self._thread = Thread(target=self._loop, name="index-maintenance", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End and wait for the end: milliseconds, or up to a few hundred in a rebuild, which is given up."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._index.background = False

    def figures(self) -> dict[str, float]:
        """What an operator watches."""
        index = self._index
        graph = index.graph
        return {
            "recall": self.recall,
            "relinked_rows": float(index.relinker.n_relinked),
            "backlog": float(index.relinker.backlog),
            "pending": 0.0 if graph is None else float(graph.entry.pending.size),
            "dead": 0.0 if graph is None else float(graph.dead.size),
            "rebuilds": float(index.n_rebuilds),
            "size": float(index.size),
            "version": float(index.version),
        }

    @property
    def building(self) -> tuple[int, int] | None:
        """Rows of the first graph that are built, of how many; None unless answers are scans for want of
        it."""
        index = self._index
        if index.graph is not None or not index.rebuild_is_due():
            return None
        return max(0, self._n_built - BUILD_CHUNK), index.size

    def turn(self) -> bool:
        """One piece of work: link for 20 ms, and measure or rebuild if that is due; returns whether any was
        done."""
        index = self._index
        self._working_since_s = self._clock.monotonic_s()
        if index.rebuild_is_due():
            # Until there is a graph every search scans all rows: nothing is more urgent than the first one.
            n_threads = os.cpu_count() if index.graph is None else None
            self._n_built = 0
            is_built = index.rebuild(proceed=self._go_on, n_threads=n_threads)
            self._linked_when_built = index.relinker.n_relinked if is_built else None
            return is_built
        if self._linked_when_built is not None:
            self._look_at_fresh_build(self._linked_when_built)
        done = index.relinker.run(budget_s=_TURN_S).n_rows > 0
        now_s = self._clock.monotonic_s()
        if now_s - self._probed_at_s >= self._probe_every_s:
            self._probed_at_s = now_s
            self._probe()
            done = True
        return done

    def _look_at_fresh_build(self, linked: int) -> None:
        """Measure what it reaches, as soon as there are queries and while most of it is as it was built."""
        index = self._index
        if index.relinker.n_relinked - linked > index.size:
            self._linked_when_built = None
        elif index.probe.n_queries >= _ENOUGH:
            self.recall = self._attainable = index.probe.measure(index, between=self._link_and_rest).value
            self._linked_when_built = None

    def _probe(self) -> None:
        index = self._index
        recall, n_queries = index.probe.measure(index, between=self._link_and_rest)
        self.recall = recall
        if index.graph is None or n_queries == 0 or recall >= min(self._floor, self._attainable - _MARGIN):
            return
        if index.rebuild(proceed=self._go_on):
            self.recall = self._attainable = index.probe.measure(index).value

    def _go_on(self) -> bool:
        self._n_built += BUILD_CHUNK
        return not self._stop.is_set()

    def _rest(self) -> None:
        """Leave the core to others for as long as the work since the last rest deserves."""
        worked_s = self._clock.monotonic_s() - self._working_since_s
        self._stop.wait(worked_s * self._rest_per_work)
        self._working_since_s = self._clock.monotonic_s()

    def _link_and_rest(self) -> None:
        """Between two exact answers: measuring takes seconds, for which new rows must not wait."""
        self._index.relinker.run(budget_s=_TURN_S)
        self._rest()

    def _loop(self) -> None:
        while not self._stop.is_set():
            if self.turn():
                self._rest()
            else:
                self._stop.wait(_IDLE_S)
