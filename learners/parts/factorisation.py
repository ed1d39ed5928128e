"""Matrix factorisation that learns from every click."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from learners.errors import LearnerError, ReplicaError
from learners.ops.factorisation import Rates, Trace, dots, learn_block, learn_samples, score_rows
from learners.part import Column, Columns, Part, PartSpec, Side, Table
from learners.rows import RowBlock
from learners.table import EmbeddingTable
from learners.touched import Touched, grown
from stream.blocks import CLICK, CLOSED, ORGANIC
from stream.frame import Frame

__all__ = ["MatrixFactorisation", "Samples", "TouchedRows"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

_NO_ROWS = np.zeros(0, np.int32)
_SAMPLES = Table(
    (
        Column("user", "i4", ref="users"), Column("item", "i4", ref="item"), Column("label", "f4"),
        Column("weight", "f4"),
    ),
    ("item",),
)  # fmt: skip


class TouchedRows(NamedTuple):
    """What one `learn` moved: user rows, item rows, and how many samples were learned."""

    users: Int32
    items: Int32
    samples: int


class Samples(NamedTuple):
    """What was sampled, in order, with what an item's owner needs to learn from it.

    `users` (U, d) and `bias` (U,) are those of a user before the operation that sampled; `user` (S,) numbers
    into them. `item` (S,) are rows, `label` (S,) 0 or 1, `weight` (S,) multiplies the error.
    """

    users: Float32
    bias: Float32
    user: Int32
    item: Int32
    label: Float32
    weight: Float32


def _trace(n_operations: int, n_samples: int, dim: int) -> Trace:
    """A trace with room for so much."""
    user, item = np.empty(n_samples, np.int32), np.empty(n_samples, np.int32)
    label, weight = np.empty(n_samples, np.float32), np.empty(n_samples, np.float32)
    users, bias = np.empty((n_operations, dim), np.float32), np.empty(n_operations, np.float32)
    return Trace(users, bias, user, item, label, weight, np.zeros(2, np.int64))


class _Columns:
    """Bias and step state of one side, grown along with its table; stamps and places come when it learns."""

    def __init__(self, table: EmbeddingTable) -> None:
        self.table = table
        self.state = np.zeros((0, 2), np.float32)
        self.stamp = np.zeros(0, np.int64)
        self.met = np.zeros(0, np.int32)
        self.touched = Touched()
        self.ensure()

    @property
    def size(self) -> int:
        return len(self.state)

    def ensure(self, rows: int = 0) -> None:
        capacity = max(self.table.capacity, rows)
        if capacity <= self.size:
            return
        self.state = grown(self.state, capacity).astype(np.float32, copy=False)
        self.touched.ensure(capacity)

    def arrays(self) -> tuple[Float32, Float32, Int64, Int64, Int32]:
        self.ensure()
        # Only who learns needs these: a replica keeps neither.
        if self.stamp.size < self.size:
            self.stamp = grown(self.stamp, self.size).astype(np.int64, copy=False)
            self.met = np.zeros(self.size, np.int32)
        return self.table.data, self.state, self.table.version, self.stamp, self.met

    def publish(self, n: int) -> Int32:
        rows = self.met[:n].copy()
        self.table.moved.add(rows)
        self.touched.add(rows)
        return rows

    def remove(self, rows: Int32) -> None:
        self.ensure()
        self.state[rows] = 0.0
        self.touched.add(rows)

    def snapshot(self) -> Frame:
        return {"state": self.state[: self.table.size].copy(), "touched": self.touched.peek()}

    def restore(self, frame: Frame) -> None:
        n = len(frame["state"])
        self.ensure(n)
        self.state[:n] = frame["state"]
        self.state[n:] = 0.0
        self.touched.put(frame["touched"])
        self.touched.ensure(self.size)

    def apply(self, rows: Int32, bias: Float32) -> None:
        self.ensure(int(rows.max()) + 1 if rows.size else 0)
        self.state[rows, 0] = bias


class MatrixFactorisation(Part):
    """Incremental implicit matrix factorisation over the vectors of two embedding tables.

    z(u, i) = mean + b_u + b_i + p_u . q_i, trained by the logistic loss (`learners.ops.factorisation` has
    its equations). A first or organic click is a positive with `negatives` sampled ones of weight
    `negative_weight`, drawn from the last `ring` clicked items in proportion to their count ^ `power`. A
    first or organic dislike (a reward below 0) is one negative of weight 1, and is drawn for nobody. When a
    slate closes, its places without a reward are negatives of weight `shown_weight` * place^-`examination` (a
    lower place was looked at less). Departures from Koren, Bell, Volinsky (IEEE Computer 2009): logistic
    loss, drawn negatives, one user step an operation. An item moves by the user vector from *before* the
    operation.

    `adaptive` divides the step of a row by sqrt(1 + its squared errors so far), AdaGrad for a row as one.
    What grows: 25 bytes a row of either table, 8 on a replica; vectors are the tables' own and are published
    by them.

    Example:
        >>> from learners.testing import organic_rows
        >>> users, items = EmbeddingTable(8, seed=1), EmbeddingTable(8, seed=2)
        >>> _ = users.rows(["ann", "bob"], 0), items.rows(["tea", "mate", "coffee", "cocoa"], 0)
        >>> model = MatrixFactorisation(users, items, learning_rate=0.3)
        >>> for _ in range(200):
        ...     touched = model.learn(organic_rows([(0, 0), (1, 2), (0, 1), (1, 3)]))
        >>> scores = model.scores(0, np.arange(4, dtype=np.int32))
        >>> bool(scores[:2].min() > scores[2:].max())
        True
    """

    def __init__(
        self,
        users: EmbeddingTable,
        items: EmbeddingTable,
        *,
        learning_rate: float = 0.1,
        l2: float = 0.001,
        negatives: int = 5,
        negative_weight: float = 1.0,
        shown_weight: float = 0.25,
        examination: float = 0.0,
        power: float = 0.75,
        mean: float = 0.0,
        adaptive: bool = False,
        ring: int = 16_384,
        seed: int = 0,
    ) -> None:
        if users.dim != items.dim:
            msg = f"users have vectors of {users.dim}, items of {items.dim}; give both tables the same dim"
            raise LearnerError(msg)
        if not 0 < learning_rate <= 1 or not 0 <= negatives <= 64 or ring < 1 or l2 < 0:
            msg = (
                "matrix factorisation needs 0 < learning_rate <= 1, 0 <= negatives <= 64, ring >= 1, l2 >= 0;"
                f" got {learning_rate}, {negatives}, {ring}, {l2}"
            )
            raise LearnerError(msg)
        bias = (Column("bias", "f4"),)
        vectors = Table((Column("vector", "f4", (users.dim,)), Column("bias", "f4")))
        self.spec = PartSpec({"user": bias, "item": bias}, {"users": vectors, "samples": _SAMPLES})
        self.users, self.items = users, items
        self.learning_rate, self.l2, self.adaptive, self.mean = learning_rate, l2, adaptive, mean
        self.negatives, self.negative_weight, self.power = negatives, negative_weight, power
        self.shown_weight, self.examination = shown_weight, examination
        self.ring, self.seed = ring, seed
        self._rates = Rates(
            np.float32(learning_rate), np.float32(l2), np.float32(mean), np.float32(negative_weight),
            np.float32(shown_weight), float(examination), negatives, adaptive, np.uint64(seed),
        )  # fmt: skip
        self._users, self._items = _Columns(users), _Columns(items)
        self._keep = (np.maximum(np.arange(1_024), 1) ** (power - 1.0)).astype(np.float32)
        self._ring = np.full(ring, -1, np.int32)
        self._counts = np.zeros(self._items.size, np.int32)
        self._cursor = np.zeros(3, np.int64)
        self._calls = 0
        self._untraced = _trace(0, 0, users.dim)

    @property
    def steps(self) -> int:
        """Clicks learned so far; it addresses the draws of negatives."""
        return int(self._cursor[2])

    # -- reading ---------------------------------------------------------------------------------------------

    def scores(self, user: int, rows: Int32) -> Float32:
        """Scores z (n,) of item `rows` for user row `user`; a negative or unknown user is the zero vector."""
        known = 0 <= user < min(self.users.size, self._users.size)
        p = self.users.data[user] if known else np.zeros(self.users.dim, np.float32)
        bias = self.mean + float(self._users.state[user, 0]) if known else self.mean
        rows = np.where(rows < min(self.items.size, self._items.size), rows, -1).astype(np.int32)
        return score_rows(p, bias, self.items.data, self._items.state, rows)

    def affinities(self, user: int, rows: Int32) -> Float32:
        """Dot products (n,) of user and item vectors without biases; 0 where either is unknown."""
        if not 0 <= user < self.users.size:
            return np.zeros(rows.size, np.float32)
        return dots(self.users.data[user], self.items.data, self.items.size, rows)

    def item_bias(self, rows: Int32) -> Float32:
        """Biases (n,) of item `rows`."""
        self._items.ensure()
        return self._items.state[:, 0][rows]

    def user_bias(self, rows: Int32) -> Float32:
        """Biases (n,) of user `rows`."""
        self._users.ensure()
        return self._users.state[:, 0][rows]

    # -- writing ---------------------------------------------------------------------------------------------

    def learn(self, rows: RowBlock) -> TouchedRows:
        """Learn the operations in order; cutting them into other blocks changes no bit."""
        return self._learn(rows, self._untraced)

    def learn_traced(self, rows: RowBlock) -> tuple[TouchedRows, Samples]:
        """As `learn`, and say what was sampled, for whoever owns the items.

        Example:
            >>> from learners.testing import organic_rows
            >>> users, items, theirs = (EmbeddingTable(4, seed=seed) for seed in (1, 2, 2))
            >>> _ = users.rows(["ann"], 0), items.rows(["a", "b"], 0), theirs.rows(["a", "b"], 0)
            >>> _, samples = MatrixFactorisation(users, items).learn_traced(organic_rows([(0, 0), (0, 1)]))
            >>> _ = MatrixFactorisation(EmbeddingTable(4), theirs).learn_samples(samples)
            >>> bool(np.allclose(items.data[:2], theirs.data[:2], atol=1e-6))
            True
        """
        is_click = (rows.kind == ORGANIC) | ((rows.kind == CLICK) & rows.first)
        closed = rows.slate[rows.kind == CLOSED]
        n_clicks, n_places = int(is_click.sum()), int((rows.start[closed + 1] - rows.start[closed]).sum())
        trace = _trace(n_clicks + closed.size, n_clicks * (self.negatives + 1) + n_places, self.users.dim)
        touched = self._learn(rows, trace)
        n_users, n = trace.used.tolist()
        return touched, Samples(
            users=trace.users[:n_users],
            bias=trace.bias[:n_users],
            user=trace.user[:n],
            item=trace.item[:n],
            label=trace.label[:n],
            weight=trace.weight[:n],
        )

    def learn_both(
        self, block: RowBlock, inbox: Mapping[str, Mapping[str, Columns]]
    ) -> Mapping[str, Columns]:
        """Both sides in one kernel, without a trace of what was sampled."""
        return {"moved": {"row": self.learn(block).users}}

    def learn_users(
        self, block: RowBlock, inbox: Mapping[str, Mapping[str, Columns]]
    ) -> Mapping[str, Columns]:
        """Move the users, and the copies of items that are here; what was sampled goes to items' owners."""
        moved, samples = self.learn_traced(block)
        users, bias, *rest = samples
        named = dict(zip(("user", "item", "label", "weight"), rest, strict=True))
        vectors = {"vector": users, "bias": bias}
        return {"users": vectors, "samples": named, "moved": {"row": moved.users}}

    def learn_items(self, block: RowBlock, parcel: Mapping[str, Columns]) -> None:
        """Learn what a users' owner sampled."""
        if "samples" in parcel:
            users, samples = parcel["users"], parcel["samples"]
            self.learn_samples(Samples(users["vector"], users["bias"], **samples))

    def learn_samples(self, samples: Samples) -> Int32:
        """The items' side of samples that another drew: the very arithmetic of `learn`; returns rows moved.

        Raises:
            LearnerError: the user vectors have another length than the items'.
        """
        if samples.users.shape[1] != self.items.dim:
            msg = (
                f"samples of user vectors of {samples.users.shape[1]} came to items of {self.items.dim}; "
                "give all workers the same learn.embedding_dim"
            )
            raise LearnerError(msg)
        self._calls += 1
        n = learn_samples(*samples, *self._items.arrays(), self._rates, self._calls)
        return self._items.publish(n)

    def _learn(self, rows: RowBlock, trace: Trace) -> TouchedRows:
        if not len(rows):
            return TouchedRows(_NO_ROWS, _NO_ROWS, 0)
        users, items = self._users.arrays(), self._items.arrays()
        if self._counts.size < self._items.size:
            self._counts = grown(self._counts, self._items.size).astype(np.int32, copy=False)
        self._calls += 1
        n_users, n_items, samples = learn_block(
            rows.kind, rows.first, rows.reward, rows.slate, rows.user, rows.item, rows.start, rows.items,
            rows.rewards,
            *users, *items, self._ring, self._counts, self._cursor, self._keep,
            self._rates, self._calls, trace,
        )  # fmt: skip
        return TouchedRows(self._users.publish(n_users), self._items.publish(n_items), samples)

    def remove(self, side: Side, rows: Int32) -> None:
        """Forget the state of these rows."""
        if side == "user":
            self.remove_users(rows)
        elif side == "item":
            self.remove_items(rows)

    def remove_items(self, rows: Int32) -> None:
        """Forget the state of these item rows; they are drawn as negatives no more."""
        self._items.remove(rows)
        if rows.size:
            self._ring[np.isin(self._ring, rows)] = -1
            self._counts[rows[rows < self._counts.size]] = 0

    def remove_users(self, rows: Int32) -> None:
        """Forget the state of these user rows."""
        self._users.remove(rows)

    # -- copying ---------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """Biases, step state and the ring; the vectors are in the tables' snapshots."""
        return {
            "dim": self.users.dim,
            "users": self._users.snapshot(),
            "items": self._items.snapshot(),
            "ring": self._ring.copy(),
            "cursor": self._cursor.copy(),
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; restore the tables first.

        Raises:
            ReplicaError: the frame is of a model with another dimension or ring.
        """
        if frame["dim"] != self.users.dim or len(frame["ring"]) != self.ring:
            msg = (
                f"the frame has dim {frame['dim']} and a ring of {len(frame['ring'])}, "
                f"this model {self.users.dim} and {self.ring}"
            )
            raise ReplicaError(msg)
        self._users.restore(frame["users"])
        self._items.restore(frame["items"])
        self._ring[:] = frame["ring"]
        self._cursor[:] = frame["cursor"]
        drawn = self._ring[self._ring >= 0]
        self._counts = np.bincount(drawn).astype(np.int32)

    def touched(self, side: Side) -> Int32:
        """Rows whose bias moved."""
        return self._side(side).touched.drain()

    def export(self, side: Side, rows: Int32) -> Columns:
        """Biases of `rows` (n,)."""
        columns = self._side(side)
        columns.ensure(int(rows.max(initial=-1)) + 1)
        return {"bias": columns.state[rows, 0]}

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over the biases of `rows` (n,) from whoever owns them."""
        self._side(side).apply(rows, columns["bias"])

    def _side(self, side: Side) -> _Columns:
        return self._users if side == "user" else self._items

    def upgraded(self, frame: Frame) -> Frame:
        """Frames of before had the rows of both sides in one map."""
        if "user_rows" not in frame:
            return frame
        return {
            side: {"rows": frame[f"{side}_rows"], "bias": frame[f"{side}_bias"]} for side in ("user", "item")
        }
