"""What an item is, and a map from that to what clicks would make of it: a new item starts near its kind."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from learners.catalogue import Catalogue
from learners.content_features import ContentFeatures
from learners.errors import LearnerError
from learners.ops.content import CONTENT_ONE, blended, mean_length, moved_items, ridge, sum_items, take_items
from learners.part import Column, Columns, Part, PartSpec, Side
from learners.table import EmbeddingTable
from learners.touched import Touched, grown, roomier
from learners.world import World
from stream.events import ItemEvent
from stream.frame import Frame

__all__ = ["ContentMap", "Settings", "build", "needs"]

_log = logging.getLogger(__name__)

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]

_MOST_BYTES = 900_000  # of the shared columns: on Kafka they travel in one record
_PER_TICK = (
    16_384  # items summed at a tick: 6 ms at most (64 and 64 numbers) of a learner that others wait for
)
_LOOKED_AT = 1 << 20  # rows looked through at a tick for those: 1.5 ms
_READ_PER_TICK = 8_192  # rows of the catalogue looked through at a tick, after the map was switched on
_SHORTEST = 1e-9
_NO_ROWS, _ONE_ROW = np.zeros(0, np.int32), np.zeros(1, np.int32)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is looked at, and how soon clicks take over."""

    attributes: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(max_length=256)] = ()
    """Keys of an item's `attributes` that say what it is; all of them where none are given."""
    dim: Annotated[int, Meta(ge=0, le=512)] = 64
    """Slots that attributes are hashed to; 0 leaves them out."""
    vectors: bool = True
    """Whether an item's own `vector`, if it has one, says what it is, and not its attributes."""
    l2: Annotated[float, Meta(gt=0, le=1_000_000)] = 1.0
    """Weight, in items, of what the map is before it has learned: attributes say nothing, and a vector is the
    item's factor."""
    enough: Annotated[float, Meta(gt=0, le=1_000_000)] = 5.0
    """Feedback from which the map learns from an item: its clicks and `shown_weight` x its impressions."""
    handover: Annotated[float, Meta(gt=0, le=1_000_000)] = 20.0
    """Feedback at which an item's content and what was learned of it count the same."""
    shown_weight: Annotated[float, Meta(ge=0, le=100)] = 0.25
    """What an impression is of feedback, against a click's 1."""


class ContentMap(Part):
    """An item's content c (K,), and an online ridge map W (K, d) from it to the factors of `mf`.

    c = [1, the item's own vector, its attributes hashed], where an item with a vector has no attributes: of
    two that say the same, a map might believe the one that the next item lacks. Vectors longer than 1 are
    brought to 1, attributes have length 1. W minimises sum |f_i - c_i W|^2 + l2 |W - W0|^2 over the items
    with content and `enough` feedback, f_i being their factors; W0 takes a vector of the item for its factor,
    as the item table does at first, and knows nothing of attributes. With n the feedback of an item and
    h = `handover`, content has the share h / (n + h) in it: at first all, later nothing.

    The sums A = sum c c^T and B = sum c f^T are whole numbers, so they hold exactly what the items in them
    have added, in whatever order. At ticks an item whose factor has moved replaces what it had added, at most
    16,384 a tick, the others at the next; when its content changes or its row is freed, its share leaves at
    once. Partitions have shares of the sums; whoever follows solves for W once a change.

    What grows: 2 K bytes an item row, and 4 d + 8 where it learns or was restored; K^2 + K d numbers in all.

    Example:
        >>> items, catalogue = EmbeddingTable(2), Catalogue()
        >>> part = ContentMap(items, catalogue, dim=8, enough=1)
        >>> sent = [ItemEvent(item_id=name, ts=5, attributes={"genre": name[0]}) for name in ("a1", "a2")]
        >>> rows = items.rows(["a1", "a2"], 5)
        >>> part.put_items(rows, sent)
        >>> items.data[0], items.version[0], items.clicks[0] = [3.0, -1.0], 7, 95
        >>> part.tick(60_000)
        >>> part.estimates(rows[1:]).round(1).tolist(), part.shares(rows).round(2).tolist()
        ([[2.0, -0.7]], [0.17, 1.0])
    """

    def __init__(
        self,
        items: EmbeddingTable,
        catalogue: Catalogue,
        *,
        attributes: Sequence[str] = (),
        dim: int = 64,
        vectors: bool = True,
        l2: float = 1.0,
        enough: float = 5.0,
        handover: float = 20.0,
        shown_weight: float = 0.25,
    ) -> None:
        self._own = items.dim if vectors else 0
        self.width = 1 + self._own + dim
        if self.width == 1 or l2 <= 0 or handover <= 0:
            msg = (
                f"content is an item's vector or attributes: expected vectors = true or dim >= 1, l2 > 0 and "
                f"handover > 0; got vectors = {str(vectors).lower()}, dim = {dim}, l2 = {l2}, "
                f"handover = {handover}"
            )
            raise LearnerError(msg)
        n_seen = self.width * (self.width + 1) // 2
        n_bytes = 8 * (n_seen + self.width * items.dim)
        if n_bytes > _MOST_BYTES:
            msg = (
                f"a map from {self.width} numbers of content to {items.dim} takes {n_bytes} bytes, a record "
                f"on Kafka {_MOST_BYTES}; lower `dim` or learn.embedding_dim, or say vectors = false"
            )
            raise LearnerError(msg)
        self.spec = PartSpec(
            {
                "item": (Column("content", "i2", (self.width,)),),
                "shared": (
                    Column("seen", "i8", (n_seen,), merge="sum"),
                    Column("targets", "i8", (self.width, items.dim), merge="sum"),
                ),
            }
        )
        self._items, self._catalogue = items, catalogue
        self._features = ContentFeatures(attributes, dim=dim)
        self.l2, self.enough, self.handover, self.shown_weight = l2, enough, handover, shown_weight
        self._prior = np.zeros((self.width, items.dim))
        self._prior[1 : 1 + self._own] = np.eye(items.dim)[: self._own]
        self._clear()

    def _clear(self) -> None:
        self._content = np.zeros((0, self.width), np.int16)
        self._added = np.zeros((0, self._items.dim), np.int32)
        self._summed = np.zeros(0, np.int64)
        self._a = np.zeros((self.width, self.width), np.int64)
        self._b = np.zeros((self.width, self._items.dim), np.int64)
        self._weights: Float64 | None = None
        self._length = 1.0
        self._changed = Touched()
        self._has_moved = False
        self._next = self._read = self._refused = 0

    # -- reading ---------------------------------------------------------------------------------------------

    @property
    def weights(self) -> Float64:
        """The map W (K, d)."""
        if self._weights is None:
            self._weights = ridge(self._a, self._b, self._prior, self.l2)
            self._length = mean_length(self._a, self._weights)
        return self._weights

    def has_content(self, rows: Int32) -> Bool:
        """Which of item `rows` (n,) came with a vector or attributes."""
        inside = (rows >= 0) & (rows < len(self._content))
        return inside & (self._content[:, 0][np.where(inside, rows, 0)] != 0) if inside.any() else inside

    def feedback(self, rows: Int32) -> Float64:
        """How much is known of item `rows` (n,) from users: clicks, and a share of the impressions."""
        feedback: Float64 = self._items.clicks[rows] + self.shown_weight * self._items.impressions[rows]
        return feedback

    def shares(self, rows: Int32) -> Float64:
        """The share of content (n,) in what is said of item `rows`; 0 of those without."""
        shares: Float64 = np.where(
            self.has_content(rows), self.handover / (self.feedback(rows) + self.handover), 0.0
        )
        return shares

    def estimates(self, rows: Int32) -> Float64:
        """Factors (n, d) that item `rows` would have by their content; zeros without."""
        estimates = np.zeros((rows.size, self._items.dim))
        here = self.has_content(rows)
        estimates[here] = self._content[rows[here]] @ self.weights / CONTENT_ONE
        return estimates

    def blended(self, vector: Float32 | None, rows: Int32) -> Float32:
        """Two columns (n, 2) of item `rows` for a user's vector (d,): how near that is to an item's factor
        and to its estimate, each by its share; and the share of content. Without a vector the first is 0.

        Near is the cosine, but an estimate is as long as it is against the others: a short one says little.
        """
        out = np.empty((rows.size, 2), np.float32)
        items, user = self._items, np.zeros(self._items.dim, np.float32) if vector is None else vector
        length = float(np.sqrt(user @ user))
        user = user / np.float32(length) if length > 0 else user
        blended(
            user, self._wanted(user), items.data, items.size, self._content, items.clicks, items.impressions,
            self.shown_weight, self.handover, rows, out,
        )  # fmt: skip
        return out

    def scores(self, vector: Float32, rows: Int32) -> Float32:
        """How near (n,) a user's vector is to the estimates of item `rows`, which have content; their order
        alone has a meaning."""
        scores: Float32 = self._content[rows].astype(np.float32) @ self._wanted(vector)
        return scores

    def _wanted(self, vector: Float32) -> Float32:
        """W p / |c W| (K,), what a user would have content be, by the units of `_content`."""
        wanted = self.weights @ vector
        return (wanted / (max(self._length, _SHORTEST) * CONTENT_ONE)).astype(np.float32)

    # -- writing ---------------------------------------------------------------------------------------------

    def ensure(self, rows: int) -> None:
        """Make room for item rows below `rows`."""
        if rows > len(self._content):
            capacity = roomier(len(self._content), rows)
            self._content = grown(self._content, capacity).astype(np.int16, copy=False)
            self._changed.ensure(capacity)

    def put_items(self, rows: Int32, items: Sequence[ItemEvent]) -> None:
        """Take over what items say of themselves."""
        self._put(rows, np.array([self._content_of(item) for item in items]))

    def _put(self, rows: Int32, content: Int16) -> None:
        self.ensure(int(rows.max(initial=-1)) + 1)
        is_new = (content != self._content[rows]).any(axis=1)
        rows = rows[is_new]
        self._take_out(rows)
        self._content[rows] = content[is_new]
        self._changed.add(rows)

    def _content_of(self, item: ItemEvent) -> Int16:
        """c (K,) of an item; zeros where it says nothing."""
        c, own = np.zeros(self.width), self._own
        if item.vector is not None and own and not item.deleted:
            if len(item.vector) == own:
                vector = np.array(item.vector, np.float64)
                c[1 : 1 + own] = vector / max(1.0, float(np.sqrt(vector @ vector)))
            else:
                self._refuse(item)
        if item.attributes and not item.deleted and not c.any():
            c[1 + own :] = self._features.of(item.attributes)
        return self._whole(c)

    def _whole(self, c: Float64) -> Int16:
        """In whole numbers; with its constant, if it says anything."""
        c[0] = c.any()
        whole: Int16 = np.rint(c * CONTENT_ONE).astype(np.int16)
        return whole

    def _refuse(self, item: ItemEvent) -> None:
        """A vector of another length: the door takes none, but a log from before may hold some."""
        if not self._refused:
            _log.warning(
                "item %r came with a vector of %d numbers, expected %d: it says nothing; send it again. "
                "Said once, the note wrong_vectors counts them",
                item.item_id,
                len(item.vector or ()),
                self._own,
            )
        self._refused += 1

    def tick(self, now_ms: int) -> None:
        """Let the map learn from items that have moved since they were summed, whose turn it is."""
        self._read_catalogue()
        self._ensure_sums()
        size = min(self._items.size, len(self._content))
        first = self._next if self._next < size else 0
        items, rows = self._items, np.empty(_PER_TICK, np.int32)
        found, self._next = moved_items(
            first, min(first + _LOOKED_AT, size), self._content, items.clicks, items.impressions,
            self.shown_weight, self.enough, items.version, self._summed, rows,
        )  # fmt: skip
        # Also for none, so that a learner that warms up compiles it.
        sum_items(
            rows[:found],
            self._content,
            items.data,
            items.version,
            self._added,
            self._summed,
            self._a,
            self._b,
        )
        if found:
            self._has_moved, self._weights = True, None

    def _read_catalogue(self) -> None:
        """Items that were sent before the map was switched on: what the catalogue still says of them."""
        if self._read >= self._catalogue.size:
            return
        rows = np.arange(self._read, min(self._read + _READ_PER_TICK, self._catalogue.size), dtype=np.int32)
        self._read = int(rows[-1]) + 1
        rows = rows[self._catalogue.listed[rows]]
        rows = rows[~self.has_content(rows)]
        content = np.zeros((rows.size, self.width))
        for n, row in enumerate(rows.tolist()):
            if self._catalogue.raw_attributes(row) is not None:
                content[n, 1 + self._own :] = self._features.of(self._catalogue.attributes(row))
        self._put(rows, np.array([self._whole(c) for c in content]).reshape(rows.size, self.width))

    def _ensure_sums(self) -> None:
        """Only who learns keeps what each item has added."""
        capacity = len(self._content)
        if self._summed.size < capacity:
            self._added = grown(self._added, capacity).astype(np.int32, copy=False)
            self._summed = grown(self._summed, capacity, -1).astype(np.int64, copy=False)

    def _take_out(self, rows: Int32) -> None:
        rows = rows[rows < self._summed.size]
        rows = rows[self._summed[rows] >= 0]
        take_items(rows, self._content, self._added, self._summed, self._a, self._b)
        if rows.size:
            self._has_moved, self._weights = True, None

    def remove(self, side: Side, rows: Int32) -> None:
        """Forget these items, and what the map has learned from them; nothing is kept by user."""
        if side == "item":
            rows = rows[rows < len(self._content)]
            self._take_out(rows)
            self._content[rows] = 0
            self._changed.add(rows)

    # -- copying ---------------------------------------------------------------------------------------------

    def touched(self, side: Side) -> Int32:
        """Rows whose content was sent or removed; of "shared" the sums."""
        if side == "item":
            return self._changed.drain()
        has_moved, self._has_moved = self._has_moved, False
        return _ONE_ROW if has_moved else _NO_ROWS

    def export(self, side: Side, rows: Int32) -> Columns:
        """Content (n, K) of item `rows`; of "shared" A on and above its diagonal, and B."""
        if side == "item":
            self.ensure(int(rows.max(initial=-1)) + 1)
            return {"content": self._content[rows]}
        return {"seen": self._a[np.triu_indices(self.width)], "targets": self._b.copy()}

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over content, or the sums of all partitions."""
        if side == "item":
            self.ensure(int(rows.max(initial=-1)) + 1)
            self._content[rows] = columns["content"]
        else:
            self._a[np.triu_indices(self.width)] = columns["seen"]
            self._b[:] = columns["targets"]
            self._weights = None

    def check_shared(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Sums that no items can have added up to are refused.

        Raises:
            LearnerError: a sum of squares is negative.
        """
        a = np.zeros((self.width, self.width), np.int64)
        a[np.triu_indices(self.width)] = columns["seen"]
        if (np.diag(a) < 0).any():
            msg = f"`seen` has a sum of squares of {np.diag(a).min()}, which no content has"
            raise LearnerError(msg)

    def notes(self) -> Columns:
        """How many items the map has learned from, and how many vectors had another length."""
        n_items = self._a[0, 0] // CONTENT_ONE**2
        return {"items": np.array(n_items), "wrong_vectors": np.array(self._refused)}

    def _layout(self) -> list[Any]:
        """What content is: under other settings it means something else."""
        return [self._own, self._features.dim, list(self._features.names)]

    def snapshot(self) -> Frame:
        """Content of all items that have some, and what each has added to the sums."""
        rows = np.flatnonzero(self._content[:, 0]).astype(np.int32)
        within = np.flatnonzero(self._summed >= 0).astype(np.int32)
        return {
            "layout": self._layout(),
            "rows": rows, "content": self._content[rows], "within": within, "added": self._added[within],
            "summed": self._summed[within], "a": self._a.copy(), "b": self._b.copy(),
            "changed": self._changed.peek(), "has_moved": self._has_moved, "next": self._next,
            "read": self._read, "refused": self._refused,
        }  # fmt: skip

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described.

        Raises:
            LearnerError: content was made under other settings.
        """
        if list(frame["layout"]) != self._layout():
            names = "numbers of a vector, dim and attributes"
            msg = f"content was learned with {names} {frame['layout']}, now they are {self._layout()}"
            raise LearnerError(msg)
        self._clear()
        self.ensure(max([int(rows.max(initial=-1)) for rows in (frame["rows"], frame["changed"])]) + 1)
        self._content[frame["rows"]] = frame["content"]
        within = frame["within"]
        if within.size:
            self._ensure_sums()
            self._summed[within], self._added[within] = frame["summed"], frame["added"]
        self._a[:], self._b[:] = frame["a"], frame["b"]
        self._changed.add(frame["changed"])
        self._has_moved, self._next = frame["has_moved"], frame["next"]
        self._read, self._refused = frame["read"], frame["refused"]


def needs(settings: Settings) -> dict[str, type]:
    """The parts that it reads."""
    return {"items": EmbeddingTable, "catalogue": Catalogue}


def build(settings: Settings, world: World) -> ContentMap:
    """A map of its own, over the items of this process."""
    return ContentMap(world.parts["items"], world.parts["catalogue"], **msgspec.structs.asdict(settings))
