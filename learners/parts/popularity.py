"""What is clicked now, on several time scales at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from learners.errors import LearnerError, ReplicaError
from learners.ops.popularity import add_clicks, faded, fill_pool, offer_all, order_pool, rebase
from learners.part import Column, Columns, Part, PartSpec, Side
from learners.rows import RowBlock
from learners.touched import Touched, grown, roomier
from learners.world import World
from stream.frame import Frame

__all__ = ["Popularity", "Settings", "build"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

SOURCE = "Cormode et al. 2009, Forward decay, ICDE, equation 2"

_DAY_MS = 86_400_000
_LARGEST_STEP = 1_000.0  # half-lives; beyond it nothing is left of a float64


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    half_lives_ms: Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(min_length=1, max_length=16)] = (
        3_600_000,
    )
    """Half-lives of the counts."""


class Popularity(Part):
    """Exponentially fading click counts for each item row, for every half-life in `half_lives_ms`.

    score_h(item, now) = sum over its clicks of 2^-((now - t) / half_life_h): forward decay after Cormode et
    al., "Forward decay", ICDE 2009, equation 2. First clicks and organic clicks count 1 each, first and
    organic dislikes (a reward below 0) -1, so that a score may be negative; such an item is never among the
    `top`. Beside it: `clicks`, `first_at`, `last_at` (event ms) of each row, without dislikes.

    The `pool` heaviest rows of each half-life are kept ready, exactly, at every click; `top` sorts only
    those, and only more than `pool` asked at once costs a pass over all rows. What grows: 8 bytes a
    half-life, 25 more an item row; rows are bounded by the item table.

    Example:
        >>> from learners.testing import organic_rows
        >>> popular = Popularity(half_lives_ms=(1_000,))
        >>> _ = popular.learn(organic_rows([(0, 3), (0, 4), (0, 4)], ts=[0, 1_000, 2_000]))
        >>> popular.scores(2_000, 0, np.array([3, 4, 99], np.int32)).tolist()
        [0.25, 1.5, 0.0]
        >>> popular.top(2, 0)
        array([4, 3], dtype=int32)
    """

    def __init__(
        self,
        *,
        half_lives_ms: Sequence[int] = (_DAY_MS, 4 * _DAY_MS),
        pool: int = 1_024,
    ) -> None:
        if not half_lives_ms or min(half_lives_ms) < 1 or pool < 1:
            msg = f"popularity needs half-lives of at least 1 ms and pool >= 1; got {half_lives_ms!r}, {pool}"
            raise LearnerError(msg)
        self.half_lives_ms = tuple(int(h) for h in half_lives_ms)
        self.pool = pool
        self._half_lives = np.array(self.half_lives_ms, np.float64)
        n = len(self.half_lives_ms)
        self.spec = PartSpec(
            {
                "item": (
                    Column("half_lives_ms", "i8", (n,), setting=True, expects=self.half_lives_ms),
                    Column("reference", "i8", (n,), setting=True),
                    Column("weights", "f8", (n,)), Column("clicks", "i8"), Column("first_at", "i8"),
                    Column("last_at", "i8"),
                )
            }
        )  # fmt: skip
        self._clear(1_024)

    def _clear(self, capacity: int) -> None:
        n = len(self.half_lives_ms)
        self._weights = np.zeros((n, capacity))
        self._reference = np.zeros(n, np.int64)
        self.clicks = np.zeros(capacity, np.int64)
        self.first_at = np.zeros(capacity, np.int64)
        self.last_at = np.zeros(capacity, np.int64)
        self._used = 0
        self._pools = np.zeros((n, self.pool), np.int32)
        self._inside = np.zeros((n, capacity), np.uint8)
        self._lengths = np.zeros(n, np.int64)
        self._keys = np.zeros((n, self.pool))
        self._touched = Touched(capacity)

    # -- reading ---------------------------------------------------------------------------------------------

    def nearest_half_life(self, ms: int) -> int:
        """The index of the half-life nearest to `ms`, of equally near ones the first."""
        return min(range(len(self.half_lives_ms)), key=lambda h: abs(self.half_lives_ms[h] - ms))

    def scores(self, now_ms: int, half_life: int, rows: Int32) -> Float64:
        """Fading counts of `rows` (n,) at `now_ms` for the half-life of this index; 0 for unknown rows."""
        one = slice(half_life, half_life + 1)
        out: Float64 = faded(self._weights[one], self._used, self._factors(now_ms)[one], rows)[0]
        return out

    def all_scores(self, now_ms: int, rows: Int32) -> Float64:
        """`scores` for every half-life, (H, n)."""
        return faded(self._weights, self._used, self._factors(now_ms), rows)

    def _factors(self, now_ms: int) -> Float64:
        ages = zip(self._reference.tolist(), self.half_lives_ms, strict=True)
        # At most 2^ROOM times the count: a time before the reference must not overflow the answer.
        return np.array([2.0 ** -max((now_ms - reference) / h, -64.0) for reference, h in ages])

    def top(self, k: int, half_life: int) -> Int32:
        """The `k` most popular rows at any time, best first; fewer if fewer were clicked."""
        weights = self._weights[half_life]
        if k <= self.pool:
            rows = self._pools[half_life, : self._lengths[half_life]]
        else:
            rows = np.flatnonzero(weights[: self._used]).astype(np.int32)
        values = weights[rows]
        if rows.size > 4 * k > 0:
            rows = rows[values >= np.partition(values, rows.size - k)[rows.size - k]]
            values = weights[rows]
        order = np.lexsort((rows, -values))[: max(k, 0)]
        best: Int32 = rows[order[values[order] > 0]]
        return best

    # -- writing ---------------------------------------------------------------------------------------------

    def ensure(self, rows: int) -> None:
        """Make room for item rows below `rows`."""
        self._used = max(self._used, rows)
        if rows <= self.clicks.size:
            return
        capacity = roomier(self.clicks.size, rows)
        self._weights = np.ascontiguousarray(grown(self._weights.T, capacity).T, np.float64)
        self._inside = np.ascontiguousarray(grown(self._inside.T, capacity).T, np.uint8)
        for name in ("clicks", "first_at", "last_at"):
            setattr(self, name, grown(getattr(self, name), capacity))
        self._touched.ensure(capacity)

    def learn(self, rows: RowBlock) -> int:
        """Count the block's clicks and dislikes in order; returns how many clicks there were."""
        if not len(rows):
            return 0
        self.ensure(int(rows.item.max()) + 1)
        touched = self._touched
        counted, has_fallen = add_clicks(
            rows.kind, rows.item, rows.first, rows.reward, rows.ts, self._half_lives, self._reference,
            self._weights, self._used, self.clicks, self.first_at, self.last_at, self._pools, self._inside,
            self._lengths, self._keys, touched.flags, touched.rows, touched.size,
        )  # fmt: skip
        if has_fallen:
            self._fill_pools()
        return counted

    def learn_items(self, block: RowBlock, parcel: Mapping[str, Columns]) -> None:
        """Count a block's clicks and dislikes."""
        self.learn(block)

    def remove(self, side: Side, rows: Int32) -> None:
        """Forget these items; nothing is kept by user."""
        if side == "item":
            self.remove_items(rows)

    def remove_items(self, rows: Int32) -> None:
        """Forget these items."""
        rows = rows[rows < self._used]
        if not rows.size:
            return
        self._weights[:, rows] = 0.0
        for array in (self.clicks, self.first_at, self.last_at):
            array[rows] = 0
        self._touched.add(rows)
        self._fill_pools()

    def remove_users(self, rows: Int32) -> None:
        """Nothing here is kept by user: a forgotten user's clicks stay in the sums."""

    def _fill_pools(self) -> None:
        self._inside[:] = 0
        for h, weights in enumerate(self._weights):
            self._lengths[h] = fill_pool(weights, self._used, self._pools[h], self._inside[h], self._keys[h])

    # -- copying ---------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """All rows that were ever clicked or disliked."""
        has_any = (self.clicks[: self._used] > 0) | (self._weights[:, : self._used] != 0).any(axis=0)
        rows = np.flatnonzero(has_any).astype(np.int32)
        return {
            "half_lives_ms": list(self.half_lives_ms),
            "reference": self._reference.copy(),
            "rows": rows,
            "weights": self._weights[:, rows],
            "clicks": self.clicks[rows],
            "first_at": self.first_at[rows],
            "last_at": self.last_at[rows],
            "used": self._used,
            "touched": self._touched.peek(),
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described.

        Raises:
            ReplicaError: the frame was written with other half-lives.
        """
        self._check(np.array([frame["half_lives_ms"]], np.int64))
        self._clear(1_024)
        self.ensure(frame["used"])
        self._reference[:] = frame["reference"]
        self._write(frame["rows"], frame["weights"], frame)
        self._touched.put(frame["touched"])
        self._touched.ensure(self.clicks.size)
        self._fill_pools()

    def touched(self, side: Side) -> Int32:
        """Rows that were clicked, disliked or removed."""
        return self._touched.drain()

    def export(self, side: Side, rows: Int32) -> Columns:
        """All that is kept of item `rows` (n,): `weights` (n, H) on their `reference` (n, H), and counts."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        shape = (rows.size, len(self.half_lives_ms))
        return {
            "half_lives_ms": np.broadcast_to(np.array(self.half_lives_ms, np.int64), shape).copy(),
            "reference": np.broadcast_to(self._reference, shape).copy(),
            "weights": np.ascontiguousarray(self._weights[:, rows].T),
            "clicks": self.clicks[rows],
            "first_at": self.first_at[rows],
            "last_at": self.last_at[rows],
        }

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over rows; they, or what is here, follow the newest reference by exact powers of two.

        Raises:
            ReplicaError: they were written with other half-lives.
        """
        if not rows.size:
            return
        # A row of which nothing is known says no half-lives either.
        weights, counted = columns["weights"], columns["half_lives_ms"].any(axis=1)
        self._check(columns["half_lives_ms"][counted])
        reference, steps = columns["reference"][counted], np.zeros(weights.shape)
        if len(reference):
            self._advance(reference.max(axis=0))
            steps[counted] = (self._reference - reference) / self._half_lives
        weights = np.ascontiguousarray((weights * 2.0 ** -np.minimum(steps, _LARGEST_STEP)).T)
        self.ensure(int(rows.max()) + 1)
        # A row that leads nowhere may sink as it likes.
        has_shrunk = bool(((weights < self._weights[:, rows]) & (self._inside[:, rows] > 0)).any())
        self._write(rows, weights, columns)
        if has_shrunk:
            self._fill_pools()
        else:
            self._offer(rows)

    def _advance(self, reference: Int64) -> None:
        for h, moved in enumerate((reference - self._reference) / self._half_lives):
            if moved > 0:
                rebase(self._weights[h], self._used, moved)
                order_pool(self._weights[h], self._pools[h], self._keys[h], self._lengths[h])
        self._reference = np.maximum(self._reference, reference)

    def _offer(self, rows: Int32) -> None:
        for h in range(len(self.half_lives_ms)):
            self._lengths[h] = offer_all(
                self._weights[h], self._pools[h], self._inside[h], self._lengths[h], self._keys[h], rows
            )

    def _write(self, rows: Int32, weights: Float64, counts: Mapping[str, npt.NDArray[Any]]) -> None:
        self._weights[:, rows] = weights
        for name in ("clicks", "first_at", "last_at"):
            getattr(self, name)[rows] = counts[name]

    def _check(self, half_lives_ms: Int64) -> None:
        wrong = np.flatnonzero((half_lives_ms != self.half_lives_ms).any(axis=1))
        if wrong.size:
            theirs = tuple(half_lives_ms[wrong[0]].tolist())
            msg = f"the frame has half-lives {theirs}, expected {self.half_lives_ms}"
            raise ReplicaError(msg)

    def upgraded(self, frame: Frame) -> Frame:
        """Frames of before had one reference for all rows, and weights by half-life."""
        if "rows" not in frame:
            return frame
        shape = (frame["rows"].size, len(frame["half_lives_ms"]))
        settings = {
            name: np.broadcast_to(np.array(frame[name], np.int64), shape)
            for name in ("half_lives_ms", "reference")
        }
        return {"item": {**frame, **settings, "weights": np.ascontiguousarray(frame["weights"].T)}}


def build(settings: Settings, world: World) -> Popularity:
    """Counts of their own, beside those of `[learn]`."""
    return Popularity(half_lives_ms=settings.half_lives_ms)
