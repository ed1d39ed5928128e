"""Diag-LinUCB (Online Matching, arXiv 2307.15893): two sums for each (cluster, item), additive and
order-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from bandits.base import Context, Policy, Reach
from bandits.errors import PolicyError
from bandits.forgetting import Epochs, Forgetting, ForgettingSettings
from bandits.graph import ClusterItemGraph
from bandits.ops import diagonal
from bandits.ops.arrays import Float64, Int32, with_room
from bandits.ops.fading_diagonal import absorb_fading, fading_scores
from bandits.plans import Rule
from bandits.touched import TouchedItems
from learners.part import Column, Columns, PartSpec, Side
from learners.rows import RowBlock
from learners.world import World
from stream.frame import Frame

__all__ = ["DiagLinUcb", "Settings", "build", "needs"]

SOURCE = "Yi et al. 2023, arXiv 2307.15893, equations 7 to 10"

_PENDING = 2  # how many calls of `age_pending` a served row outlives


class Settings(ForgettingSettings, frozen=True, forbid_unknown_fields=True):
    """How wide it explores, and how it spreads traffic."""

    alpha: Annotated[float, Meta(ge=0, le=1_000)] = 0.5
    """Width of the confidence bonus."""
    top: Annotated[int, Meta(ge=1, le=1_000)] = 5
    """How many of the best items share the traffic."""
    temperature: Annotated[float, Meta(ge=0, le=1_000)] = 0.25
    """How evenly they share it, in units of the best item's confidence width; 0 takes the best."""
    spread: Annotated[float, Meta(ge=0, le=1)] = 0.05
    """Share of the traffic that is dealt out evenly among them."""


class DiagLinUcb(Policy):
    """LinUCB over a request's clusters with the diagonal of each item's covariance only.

    For context weights w: an impression adds d += w^2 (Eq. 8), a reward r adds b += w r (Eq. 9), and the
    score is ``sum w b/d + alpha sqrt(sum w^2/d)`` (Eq. 7). d starts at 1, b at 0. Both accumulate under
    (centroid id, item) whether or not the graph has an edge now; the graph only says who may be chosen. All
    updates are additions of
    *logged* weights, so order, sharding and merging do not matter; JOIN has dropped duplicates before.

    An item never shown, by anyone, scores +inf until its first served impression, ties drawn at random; on
    the serving side an impression still on its way (`served`) counts. Otherwise the choice is a softmax over
    the `top` scores with the best one's confidence width times `temperature` as temperature, `spread` of it
    dealt out evenly: where the table is uncertain, and so most likely stale, traffic is spread; no item ever
    takes all of it (a departure from the paper's arg-max, as its authors did in serving).

    Args:
        graph: whose edges limit the candidates; None lets every offered candidate be chosen.
        alpha: weight of the confidence width.
        top: how many of the best share the traffic.
        temperature: softmax temperature in units of the best item's confidence width.
        spread: share dealt out evenly among the top.
        forgetting: how b and d - 1 of all edges of an item fade or end, by the time of the impression; None:
            not at all.

    Grows with the items (13 bytes each) and with (item, cluster) pairs seen together (20 bytes each, in
    blocks of 4): at most items x living clusters, since `centroids_gone` drops the pairs of a dead cluster.
    A window has an edge for each of its parts, and what forgets 8 bytes more an item and part.

    Example:
        >>> from bandits.base import Context
        >>> policy = DiagLinUcb(alpha=1.0)
        >>> context = Context(np.array([3], np.int32), np.array([1.0], np.float32))
        >>> policy.probabilities(context, np.array([0, 1], np.int32)).tolist()
        [0.5, 0.5]
    """

    name = "diag_lin_ucb"
    spec = PartSpec(
        {
            "item": (
                Column("shown", "i8"), Column("clusters", "i4", ("edges",)), Column("b", "f8", ("edges",)),
                Column("d", "f8", ("edges",)),
            )
        }
    )  # fmt: skip

    def __init__(
        self,
        graph: ClusterItemGraph | None = None,
        *,
        alpha: float = 0.5,
        top: int = 5,
        temperature: float = 0.25,
        spread: float = 0.05,
        forgetting: Forgetting | None = None,
    ) -> None:
        if not (alpha >= 0 and top >= 1 and temperature >= 0 and 0 <= spread <= 1):
            msg = (
                f"diag_lin_ucb needs alpha >= 0, top >= 1, temperature >= 0 and spread in 0..1; "
                f"got alpha={alpha}, top={top}, temperature={temperature}, spread={spread}"
            )
            raise PolicyError(msg)
        self.graph = graph
        self.alpha = alpha
        self.top = top
        self.temperature = temperature
        self.spread = spread
        self.forgetting = forgetting
        if forgetting is not None:
            self.goes_by_slates = True
            self.spec = PartSpec({"item": (*forgetting.columns, *self.spec.sides["item"])})
        self._clear()

    def _clear(self) -> None:
        self.version = 0
        self._head = np.zeros(0, np.int32)
        self._shown = np.zeros(0, np.int64)
        self._mark = np.zeros(0, np.bool_)
        self._following = np.zeros(0, np.int32)
        self._slot_cluster = np.zeros(0, np.int32)
        self._slot_sums = np.zeros((0, 2))
        self._pool = np.array([0, -1, 0], np.int64)
        self._retired = np.zeros(0, np.bool_)
        self._pending = np.zeros(0, np.int8)
        self._touched = TouchedItems()
        self._epochs = None if self.forgetting is None else Epochs(self.forgetting.parts)

    def ensure(self, n: int) -> None:
        """Make room for item rows 0..n - 1."""
        if n > self._head.size:
            self._head = with_room(self._head, n, -1)
            self._shown = with_room(self._shown, self._head.size)
            self._mark = with_room(self._mark, self._head.size)
            if self._epochs is not None:
                self._epochs.ensure(self._head.size)

    # --- deciding ---

    def reach(self, context: Context) -> Int32 | Reach:
        """The items with an edge to one of the context's clusters; what is offered without a graph."""
        return Reach.OFFERED if self.graph is None else self.graph.candidates(context.clusters)

    def plan(self, context: Context, candidates: Int32) -> Rule:
        """Eq. 7 for each candidate; -inf for one without an edge to the context's clusters."""
        scores, widths = self._scores(context, candidates)
        if self.graph is not None:
            self.graph.exclude(context.clusters, candidates, scores)
        return Rule(scores, widths, self.top, self.temperature, self.spread)

    def ucb(self, context: Context, candidates: Int32) -> Float64:
        """Eq. 7 (n,), whether or not there is an edge; +inf for an item never shown."""
        return self._scores(context, candidates)[0]

    def means(self, context: Context, candidates: Int32) -> Float64:
        """The exploit score, the first sum of Eq. 7 (n,); 0 for what was never shown."""
        scores, widths = np.empty(candidates.size), np.empty(candidates.size)
        self._fill(context, candidates, 0.0, False, scores, widths)
        return scores

    def best_of(self, context: Context, rows: Int32, n: int) -> Int32:
        """Those with the largest exploit scores, largest first; of equal ones the first."""
        return rows[np.argsort(-self.means(context, rows), kind="stable")[:n]]

    def _scores(self, context: Context, candidates: Int32) -> tuple[Float64, Float64]:
        scores, widths = np.empty(candidates.size), np.empty(candidates.size)
        self._fill(context, candidates, self.alpha, True, scores, widths)
        return scores, widths

    def _fill(
        self,
        context: Context,
        candidates: Int32,
        alpha: float,
        unseen_first: bool,
        scores: Float64,
        widths: Float64,
    ) -> None:
        if self.forgetting is not None and self._epochs is not None:
            fading_scores(
                candidates, context.clusters, context.weights, alpha, self._epochs.now,
                self.forgetting.fading, self._epochs.of, self._head, self._following, self._slot_cluster,
                self._slot_sums, self._shown, self._pending, unseen_first, scores, widths,
            )  # fmt: skip
            return
        diagonal.ucb_scores(
            candidates, context.clusters, context.weights, alpha, self._head, self._following,
            self._slot_cluster, self._slot_sums, self._shown, self._pending, unseen_first, scores, widths,
        )  # fmt: skip

    def served(self, rows: Int32) -> None:
        """These rows are in an answer: they are not infinite any more, though nothing is learned yet."""
        if rows.size:
            self._pending = with_room(self._pending, max(rows.tolist()) + 1)
            self._pending[rows] = _PENDING

    def age_pending(self) -> None:
        """Call once an attribution window: an answer that was never shown stops counting after two calls."""
        np.maximum(self._pending - 1, 0, out=self._pending)

    def shown(self, rows: Int32) -> Any:
        """Served impressions (n,) int64 of each row."""
        known = (rows >= 0) & (rows < self._shown.size)
        return np.where(known, self._shown[np.where(known, rows, 0)] if self._shown.size else 0, 0)

    def describe(self, row: int) -> Mapping[str, Any]:
        """Impressions, and both sums of each cluster in which the item has any; of a window by cluster x
        parts + part, and none is faded to now."""
        clusters, b, d = self.edges(row)
        shown = int(self.shown(np.array([row], np.int32))[0])
        if not clusters.size and not shown:
            return {}
        sums = zip(clusters.tolist(), b.tolist(), d.tolist(), strict=True)
        return {"shown": shown, "edges": [{"cluster": c, "b": b, "d": d} for c, b, d in sums]}

    def edges(self, row: int) -> tuple[Int32, Float64, Float64]:
        """What is known of one item: clusters (e,) ascending, b (e,), d (e,)."""
        if not 0 <= row < self._head.size:
            return np.zeros(0, np.int32), np.zeros(0), np.zeros(0)
        _, clusters, sums = self._export(np.array([row], np.int32))
        return clusters, sums[:, 0], sums[:, 1]

    # --- learning ---

    def learn(self, rows: RowBlock) -> Int32:
        """Add the block's impressions and rewards of decided slates, in order; returns the rows touched."""
        self.ensure(int(rows.items.max(initial=-1)) + 1)
        touched, counts = np.empty(rows.items.size, np.int32), np.zeros(2, np.int64)
        done = 0
        while done < len(rows):
            done = self._absorb(rows, done, touched, counts)
            if done < len(rows):
                self._grow_pool(rows.clusters.shape[1] * int(np.diff(rows.start).max(initial=1)))
        self.version += int(counts[1])
        result = np.sort(touched[: counts[0]])
        self._mark[result] = False
        if self._epochs is not None:
            self._epochs.seen(result)
        self._settle(result)
        return result

    def _absorb(self, rows: RowBlock, first: int, touched: Int32, counts: Any) -> int:
        if self.forgetting is not None and self._epochs is not None:
            return absorb_fading(
                first, rows.kind, rows.slate, rows.place, rows.reward, rows.start, rows.items,
                rows.clusters, rows.weights, rows.decided, self.forgetting.epochs_of(rows),
                self.forgetting.fading, self._retired, self._epochs.of, self._head, self._following,
                self._slot_cluster, self._slot_sums, self._pool, self._shown, self._mark, touched, counts,
            )  # fmt: skip
        return diagonal.absorb(
            first, rows.kind, rows.slate, rows.place, rows.reward, rows.start, rows.items,
            rows.clusters, rows.weights, rows.decided, self._retired, self._head, self._following,
            self._slot_cluster, self._slot_sums, self._pool, self._shown, self._mark, touched, counts,
        )  # fmt: skip

    def _grow_pool(self, blocks: int) -> None:
        """Make room for at least `blocks` more blocks."""
        n = int(self._pool[0]) + max(0, blocks - int(self._pool[2]))
        if n > self._following.size:
            self._following = with_room(self._following, max(n, 64), -1)
            size = self._following.size * diagonal.SLOTS
            self._slot_cluster = with_room(self._slot_cluster, size, -1)
            self._slot_sums = with_room(self._slot_sums, size)

    def _settle(self, rows: Int32) -> None:
        """Rows that changed: no longer on their way, and part of the next `changes`."""
        here = rows[rows < self._pending.size]
        self._pending[here] = 0
        self._touched.add(rows)

    def merge(self, other: DiagLinUcb) -> None:
        """Add what another shard has learned; the same as having learned it here.

        Raises:
            PolicyError: it forgets; sums of different times are not added so.
        """
        if self.forgetting is not None:
            msg = "diag_lin_ucb: shards that forget are not merged; let one learn all blocks"
            raise PolicyError(msg)
        rows = np.arange(other._head.size, dtype=np.int32)
        counts, clusters, sums = other._export(rows)
        self.ensure(rows.size)
        self._add(rows, counts, clusters, sums)
        self._shown[: rows.size] += other._shown
        self.version += other.version
        self._settle(rows[(counts > 0) | (other._shown > 0)])

    def remove_items(self, rows: Int32) -> None:
        """Forget these rows; they may be given to other items."""
        rows = rows[(rows >= 0) & (rows < self._head.size)]
        diagonal.free_rows(rows, self._head, self._following, self._pool)
        self._shown[rows] = 0
        if self._epochs is not None:
            self._epochs.clear(rows)
        self._settle(np.unique(rows))

    def centroids_gone(self, ids: Int32) -> None:
        """Drop all sums of dead centroids, whose ids are never used again; their late feedback is ignored.

        Meant for ticks, with `Centroids.dead`; ids retired before cost nothing.
        """
        self._retired = with_room(self._retired, int(ids.max(initial=-1)) + 1)
        ids = ids[~self._retired[ids]]
        if ids.size == 0:
            return
        self._retired[ids] = True
        # A window has an edge for each of its parts.
        gone = np.repeat(self._retired, 1 if self.forgetting is None else self.forgetting.parts)
        changed = diagonal.rows_with(gone, self._head, self._following, self._slot_cluster)
        counts, kept, sums = self._export(changed)
        alive = ~gone[np.minimum(kept, gone.size - 1)] | (kept >= gone.size)
        left = np.bincount(np.repeat(np.arange(changed.size), counts)[alive], minlength=changed.size)
        diagonal.free_rows(changed, self._head, self._following, self._pool)
        self._add(changed, left.astype(np.int32), kept[alive], sums[alive])
        self._settle(changed)

    # --- state ---

    def _export(self, rows: Int32) -> tuple[Int32, Int32, Float64]:
        """Counts (n,), clusters (m,) and sums (m, 2) of rows that exist here."""
        counts = diagonal.count_edges(rows, self._head, self._following, self._slot_cluster)
        clusters, sums = np.empty(int(counts.sum()), np.int32), np.empty((int(counts.sum()), 2))
        diagonal.export_edges(
            rows, counts, self._head, self._following, self._slot_cluster, self._slot_sums, clusters, sums
        )
        if self.forgetting is not None:
            # Whether a part was emptied here or never filled depends on the order of outcomes.
            held = (sums[:, 0] != 0.0) | (sums[:, 1] != 1.0)
            rest = np.bincount(np.repeat(np.arange(rows.size), counts)[held], minlength=rows.size)
            counts, clusters, sums = rest.astype(np.int32), clusters[held], sums[held]
        return counts, clusters, sums

    def _add(self, rows: Int32, counts: Int32, clusters: Int32, sums: Float64) -> None:
        self._grow_pool(int((-(-counts // diagonal.SLOTS)).sum()))
        diagonal.add_edges(
            rows, counts, clusters, sums,
            self._head, self._following, self._slot_cluster, self._slot_sums, self._pool,
        )  # fmt: skip

    def snapshot(self) -> Frame:
        """All sums, by row and cluster id; d as in Eq. 8, its start value of 1 included."""
        rows = np.flatnonzero((self._head >= 0) | (self._shown > 0)).astype(np.int32)
        retired = np.flatnonzero(self._retired).astype(np.int32)
        told = {} if self.forgetting is None else {"forgets": list(self.forgetting.said)}
        sums = {"version": self.version, "rows": rows, **self.export("item", rows), "retired": retired}
        return {**sums, **told, **self.drift_frame()}

    def restore(self, frame: Frame) -> None:
        """Become the state of a snapshot.

        Raises:
            PolicyError: it forgets in another way.
        """
        Forgetting.require_alike(self.forgetting, frame)
        self._clear()
        if frame["retired"].size:
            self._retired = with_room(self._retired, int(frame["retired"].max()) + 1)
            self._retired[frame["retired"]] = True
        self.adopt("item", frame["rows"], frame)
        self.version = int(frame["version"])
        self._touched = TouchedItems()
        self.restore_drift(frame)

    def touched(self, side: Side) -> Int32:
        """Items shown or clicked, or with sums under a cluster that is gone."""
        return self._touched.drain()

    def export(self, side: Side, rows: Int32) -> Columns:
        """All that is kept of item `rows` (n,): `shown` and number of `edges` (n,), and `clusters`, `b` and
        `d` of all edges, by row and cluster."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        counts, clusters, sums = self._export(rows)
        shown = self._shown[rows]
        told = {} if self.forgetting is None else self.forgetting.export(rows)
        if self._epochs is not None:
            told["epochs"] = self._epochs.of[rows]
        return {
            **told, "shown": shown, "edges": counts, "clusters": clusters, "b": sums[:, 0].copy(),
            "d": sums[:, 1].copy(),
        }  # fmt: skip

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, Any]) -> None:
        """Replace all that is kept of `rows` (n,)."""
        if not rows.size:
            return
        rows, sums = np.array(rows), np.stack([columns["b"], columns["d"]], axis=1)
        self.ensure(int(rows.max()) + 1)
        diagonal.free_rows(rows, self._head, self._following, self._pool)
        self._add(rows, np.array(columns["edges"]), np.array(columns["clusters"]), sums)
        self._shown[rows] = columns["shown"]
        if self._epochs is not None:
            self._epochs.adopt(rows, columns["epochs"])
        self.version += rows.size
        self._settle(rows)

    def upgraded(self, frame: Frame) -> Frame:
        """Frames of before had items alone, without saying so."""
        return {"item": frame} if "rows" in frame else frame


def needs(settings: Settings) -> tuple[str, ...]:
    """The graph, whose edges say which items may be explored for whom."""
    return ("graph",)


def build(settings: Settings, world: World) -> DiagLinUcb:
    """The policy, as the settings say."""
    policy = DiagLinUcb(
        world.parts["graph"],
        alpha=settings.alpha,
        top=settings.top,
        temperature=settings.temperature,
        spread=settings.spread,
        forgetting=settings.forgetting(),
    )
    return policy.watched_by(settings, world)
