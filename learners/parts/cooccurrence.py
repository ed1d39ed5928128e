"""What goes with what: items clicked by the same users shortly after each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from learners.ask import Ask
from learners.errors import LearnerError, ReplicaError
from learners.ops.cooccurrence import (
    Lists,
    accumulate,
    add_pairs,
    best_of,
    drop_rows,
    lengths_of,
    read_lists,
    rebase,
    sums_of,
    write_lists,
)
from learners.part import Column, Columns, Part, PartSpec, Side, Table
from learners.parts.history import Pairs
from learners.rows import RowBlock
from learners.touched import Touched, grown, roomier
from learners.world import World
from stream.frame import Frame

__all__ = ["CoOccurrence", "Linked", "Settings", "build"]

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

SOURCE = "Linden et al. 2003, IEEE Internet Computing 7(1)"

_DAY_MS = 86_400_000
_NO_ROWS = np.zeros(0, np.int32)
_CLASSES = 32
_LARGEST_STEP = 1_000.0  # half-lives; beyond it nothing is left of a float64
_PAIRS = Table(
    (
        Column("item", "i4", ref="item"), Column("other", "i4", ref="item"), Column("ts", "i8"),
        Column("other_ts", "i8"),
    ),
    ("item", "other"),
)  # fmt: skip


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    slots: Annotated[int, Meta(ge=1, le=10_000)] = 100
    """Co-occurring items kept for each item."""
    half_life_ms: Annotated[int, Meta(ge=1)] = 180 * _DAY_MS
    """Time in which a pair's weight halves."""
    gap_half_life_ms: Annotated[int, Meta(ge=0)] = 0
    """Time between two clicks at which their pair counts half; 0 counts all pairs alike."""


class Linked(NamedTuple):
    """What goes with some items, at one instant; `CoOccurrence.linked` gives it.

    `recent` (q,) are those items; `keys` (m,) and `sums` (m,) are a hash table of rows and scores of which
    the places `met` (n,) are taken.
    """

    recent: Int32
    keys: Int32
    sums: Float64
    met: Int32

    def score(self, rows: Int32) -> Float64:
        """Scores (n,) of `rows` (n,); 0 where nothing links."""
        return sums_of(rows, self.keys, self.sums)

    def best(self, k: int, *, exclude: Int32 = _NO_ROWS) -> tuple[Int32, Float64]:
        """The `k` best rows without `recent` and `exclude`: (rows, scores)."""
        without = np.concatenate([self.recent, exclude]) if exclude.size else self.recent
        return best_of(k, without, self.keys, self.sums, self.met)


class CoOccurrence(Part):
    """For each item row up to `slots` neighbours with weights that halve every `half_life_ms`.

    A pair that `Histories.learn` found adds 2^-(gap / `gap_half_life_ms`) (0: always 1) to both directions. A
    full list gives up its lightest entry. A user's recent items i_0 (the newest), i_1, ... score an item j by

        sum over q of rank_decay^q * w(i_q, j) / ((d(i_q) + smoothing) * (d(j) + smoothing))^power

    with d an item's sum of weights: `power` 0 counts pairs, 0.5 is the cosine of item-to-item filtering
    (Linden et al., IEEE Internet Computing 2003), in between tempers popularity. What grows: 17 bytes an item
    row and 8 an entry, in blocks that double as a list grows, at most 8 * `slots` an item; rows are bounded
    by the item table.

    Example:
        >>> pairs = Pairs(np.array([[1, 0, 50, 40, 0], [2, 0, 60, 40, 0], [2, 0, 70, 60, 0]]))
        >>> together = CoOccurrence(slots=4, power=0.0)
        >>> together.learn_pairs(pairs)
        >>> together.neighbours(0, 2)[0]
        array([2, 1], dtype=int32)
        >>> together.recommend(np.array([1], np.int32), k=3, now_ms=70)[0]
        array([0], dtype=int32)
    """

    def __init__(
        self,
        *,
        slots: int = 100,
        half_life_ms: int = 180 * _DAY_MS,
        gap_half_life_ms: int = 0,
        rank_decay: float = 0.8,
        smoothing: float = 3.0,
        power: float = 0.5,
    ) -> None:
        if slots < 1 or half_life_ms < 1 or gap_half_life_ms < 0 or smoothing <= 0:
            msg = (
                "co-occurrence needs slots >= 1, half_life_ms >= 1, gap_half_life_ms >= 0, smoothing > 0; "
                f"got {slots}, {half_life_ms}, {gap_half_life_ms}, {smoothing}"
            )
            raise LearnerError(msg)
        self.slots, self.half_life_ms, self.gap_half_life_ms = slots, half_life_ms, gap_half_life_ms
        self.rank_decay, self.smoothing, self.power = rank_decay, smoothing, power
        half_life = Column("half_life_ms", "i8", setting=True, expects=(half_life_ms,))
        neighbours = Column("neighbours", "i4", ("lengths",), ref="item", most=slots)
        self.spec = PartSpec(
            {
                "item": (
                    half_life, Column("reference", "i8", setting=True), neighbours,
                    Column("weights", "f4", ("lengths",)), Column("degree", "f8"),
                )
            },
            {"pairs": _PAIRS},
            needs=("history",),
        )  # fmt: skip
        self._clear(1_024)

    def _clear(self, capacity: int) -> None:
        self._lists = Lists(
            entry=np.full(4 * self.slots, -1, np.int32),
            weight=np.zeros(4 * self.slots, np.float32),
            offset=np.zeros(capacity, np.int64),
            size_class=np.full(capacity, -1, np.int8),
            heads=np.full(_CLASSES, -1, np.int64),
            used=np.zeros(1, np.int64),
            degree=np.zeros(capacity),
        )
        self._reference = np.zeros(1, np.int64)
        self._used = 0
        self._touched = Touched(capacity)

    # -- reading ---------------------------------------------------------------------------------------------

    def neighbours(self, row: int, k: int) -> tuple[Int32, Float64]:
        """The `k` rows most often clicked with `row` and their shares of its pairs, best first."""
        if not 0 <= row < self._used:
            return _NO_ROWS, np.zeros(0)
        rows, entries = self._read(np.array([row], np.int32))[1:]
        weights = entries.astype(np.float64)
        order = np.lexsort((rows, -weights))[:k]
        order = order[rows[order] >= 0]
        return rows[order], weights[order] / max(float(self._lists.degree[row]), 1e-300)

    def score(self, recent: Int32, candidates: Int32, now_ms: int) -> Float64:
        """How well `candidates` (c,) go with the items `recent` (q,), newest first; 0 where nothing links."""
        return self.linked(recent, now_ms).score(candidates)

    def recommend(
        self, recent: Int32, k: int, now_ms: int, *, exclude: Int32 = _NO_ROWS
    ) -> tuple[Int32, Float64]:
        """The `k` items that go best with `recent`, without those and `exclude`: (rows, scores)."""
        return self.linked(recent, now_ms).best(k, exclude=exclude)

    def linked(self, recent: Int32, now_ms: int) -> Linked:
        """Everything that goes with `recent` (q,), for those who ask more than once."""
        recent = np.ascontiguousarray(recent, np.int32)
        age = (now_ms - int(self._reference[0])) / self.half_life_ms
        fade = 2.0 ** -min(max(age, -64.0), 1_000.0)
        found = accumulate(recent, self._lists, self.slots, fade, self.rank_decay, self.smoothing, self.power)
        return Linked(recent, *found)

    def linked_to(self, ask: Ask, recent: Int32) -> Linked:
        """`linked` at the time of a request, worked out once however many sources and scorers ask for it."""
        key = (self, recent.tobytes())
        found: Linked | None = ask.known.get(key)
        if found is None:
            found = ask.known[key] = self.linked(recent, ask.now_ms)
        return found

    # -- writing ---------------------------------------------------------------------------------------------

    def ensure(self, rows: int) -> None:
        """Make room for item rows below `rows`."""
        self._used = max(self._used, rows)
        lists = self._lists
        if rows <= lists.degree.size:
            return
        capacity = roomier(lists.degree.size, rows)
        self._lists = lists._replace(
            offset=grown(lists.offset, capacity).astype(np.int64, copy=False),
            size_class=grown(lists.size_class, capacity, -1).astype(np.int8, copy=False),
            degree=grown(lists.degree, capacity).astype(np.float64, copy=False),
        )
        self._touched.ensure(capacity)

    def _grow_pool(self, more: int = 0) -> None:
        """Make room for `more` entries."""
        lists, size = self._lists, self._lists.entry.size
        entries = roomier(size, int(lists.used[0]) + more) + 2 * self.slots
        self._lists = lists._replace(
            entry=grown(lists.entry, entries, -1).astype(np.int32, copy=False),
            weight=grown(lists.weight, entries).astype(np.float32, copy=False),
        )

    def learn_pairs(self, pairs: Pairs) -> None:
        """Add pairs in order; cutting them into other blocks changes no bit."""
        self._add(pairs.item, pairs.other, pairs.ts, pairs.other_ts)

    def _add(self, items: Int32, others: Int32, ts: Int64, other_ts: Int64) -> None:
        n = items.size
        if not n:
            return
        self.ensure(int(max(items.max(), others.max())) + 1)
        touched, done = self._touched, 0
        while done < n:
            done = add_pairs(
                items, others, ts, other_ts, float(self.half_life_ms), float(self.gap_half_life_ms),
                self._reference, self._lists, self._used, self.slots, done, touched.flags, touched.rows,
                touched.size,
            )  # fmt: skip
            if done < n:
                self._grow_pool()

    def learn_users(
        self, block: RowBlock, inbox: Mapping[str, Mapping[str, Columns]]
    ) -> Mapping[str, Columns]:
        """The pairs that the histories found; their items' owners learn them."""
        return {"pairs": inbox["history"]["pairs"]}

    def learn_items(self, block: RowBlock, parcel: Mapping[str, Columns]) -> None:
        """Learn pairs, of which either item may be somebody else's."""
        if "pairs" in parcel:
            one, other, ts, other_ts = (parcel["pairs"][name] for name in ("item", "other", "ts", "other_ts"))
            if not one.size:
                return
            known = (one >= 0) & (other >= 0)
            # Copies: kernels are compiled apart for arrays that may not be written.
            rows = (one[known].astype(np.int32, copy=False), other[known].astype(np.int32, copy=False))
            times = (ts[known].astype(np.int64, copy=False), other_ts[known].astype(np.int64, copy=False))
            self._add(*rows, *times)

    def remove(self, side: Side, rows: Int32) -> None:
        """Forget these items; nothing is kept by user."""
        if side == "item":
            self.remove_items(rows)

    def remove_items(self, rows: Int32) -> None:
        """Forget these items, in every list; one pass over all lists."""
        rows = rows[rows < self._used]
        if not rows.size:
            return
        gone = np.zeros(int(rows.max()) + 1, np.bool_)
        gone[rows] = True
        touched = self._touched
        drop_rows(self._lists, self._used, self.slots, gone, touched.flags, touched.rows, touched.size)

    def remove_users(self, rows: Int32) -> None:
        """Nothing here is kept by user: a forgotten user's pairs stay in the sums."""

    # -- copying ---------------------------------------------------------------------------------------------

    def _read(self, rows: Int32) -> tuple[Int32, Int32, Float32]:
        """Lengths (n,) of these rows' lists and their entries and weights, packed."""
        lengths = lengths_of(rows, self._lists, self.slots)
        total = int(lengths.sum())
        entries, weights = np.empty(total, np.int32), np.empty(total, np.float32)
        read_lists(rows, lengths, self._lists, entries, weights)
        return lengths, entries, weights

    def snapshot(self) -> Frame:
        """All rows with a neighbour or a sum of weights."""
        every = np.arange(self._used, dtype=np.int32)
        is_used = (lengths_of(every, self._lists, self.slots) > 0) | (self._lists.degree[every] > 0)
        rows = every[is_used]
        lengths, entries, weights = self._read(rows)
        return {
            "half_life_ms": self.half_life_ms,
            "slots": self.slots,
            "reference": int(self._reference[0]),
            "rows": rows,
            "lengths": lengths,
            "neighbours": entries,
            "weights": weights,
            "degree": self._lists.degree[rows],
            "used": self._used,
            "touched": self._touched.peek(),
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described.

        Raises:
            ReplicaError: the frame was written with another half-life or number of slots.
        """
        self._check(frame)
        self._clear(1_024)
        self.ensure(frame["used"])
        self._reference[0] = frame["reference"]
        self._write(
            *(np.array(frame[name]) for name in ("rows", "lengths", "neighbours", "weights", "degree"))
        )
        self._touched.put(frame["touched"])
        self._touched.ensure(self._lists.degree.size)

    def touched(self, side: Side) -> Int32:
        """Rows whose lists or sums changed."""
        return self._touched.drain()

    def export(self, side: Side, rows: Int32) -> Columns:
        """All that is kept of item `rows` (n,): lists of `lengths` (n,), packed as `neighbours` (-1 where an
        entry is empty) and `weights`, and `degree` (n,), as of `reference`."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        lengths, entries, weights = self._read(rows)
        return {
            "half_life_ms": np.full(rows.size, self.half_life_ms, np.int64),
            "reference": np.full(rows.size, self._reference[0], np.int64),
            "lengths": lengths,
            "neighbours": entries,
            "weights": weights,
            "degree": self._lists.degree[rows],
        }

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over lists; they, or what is here, follow the newest reference by exact powers of two.

        Raises:
            ReplicaError: they were written with another half-life, or are longer than `slots`.
        """
        if not rows.size:
            return
        # A row of which nothing is known says no half-life either.
        told = columns["half_life_ms"] != 0
        wrong = told & (columns["half_life_ms"] != self.half_life_ms)
        if wrong.any() or (columns["lengths"] > self.slots).any():
            theirs = int(columns["half_life_ms"][wrong][0]) if wrong.any() else self.half_life_ms
            mine = (self.half_life_ms, self.slots)
            longest = int(columns["lengths"].max())
            msg = f"co-occurrence with (half-life, slots) {mine} cannot follow one with {theirs}, {longest}"
            raise ReplicaError(msg)
        reference = np.where(told, columns["reference"], self._reference[0])
        self._advance(int(reference.max()))
        steps = (self._reference[0] - reference) / self.half_life_ms
        fade = 2.0 ** -np.minimum(np.where(told, steps, 0.0), _LARGEST_STEP)
        weights = (columns["weights"] * np.repeat(fade, columns["lengths"])).astype(np.float32)
        self.ensure(int(rows.max()) + 1)
        lists = columns["lengths"], columns["neighbours"], weights, columns["degree"] * fade
        self._write(np.array(rows), *map(np.array, lists))

    def _advance(self, reference: int) -> None:
        moved = (reference - int(self._reference[0])) / self.half_life_ms
        if moved > 0:
            rebase(self._lists, self._used, self.slots, moved)
            self._reference[0] = reference

    def upgraded(self, frame: Frame) -> Frame:
        """Frames of before had one reference for all rows."""
        if "rows" not in frame:
            return frame
        n = frame["rows"].size
        settings = {name: np.full(n, frame[name], np.int64) for name in ("half_life_ms", "reference")}
        gone = {"removed": {"item": frame["gone"]}} if "gone" in frame else {}
        return {"item": {**frame, **settings}, **gone}

    def _write(self, rows: Int32, lengths: Int32, entries: Int32, weights: Float32, degree: Float64) -> None:
        if int(lengths.sum()) != entries.size or (lengths > self.slots).any():
            msg = f"a frame tells of lists with {int(lengths.sum())} neighbours and holds {entries.size}"
            raise ReplicaError(msg)
        done, low = 0, 0
        while done < rows.size:
            done, low = write_lists(rows, lengths, entries, weights, self._lists, self.slots, done, low)
            if done < rows.size:
                self._grow_pool(2 * (entries.size - low))
        self._lists.degree[rows] = degree

    def _check(self, frame: Frame) -> None:
        theirs, mine = (frame["half_life_ms"], frame["slots"]), (self.half_life_ms, self.slots)
        if theirs != mine:
            msg = f"co-occurrence with (half-life, slots) {mine} cannot follow one with {theirs}"
            raise ReplicaError(msg)


def build(settings: Settings, world: World) -> CoOccurrence:
    """Pairs of their own, beside those of `[learn]`; they come from the same histories."""
    return CoOccurrence(
        slots=settings.slots, half_life_ms=settings.half_life_ms, gap_half_life_ms=settings.gap_half_life_ms
    )
