"""Rows of items and of the catalogue as changes of everything that is kept by item, except policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from learners.catalogue import ALWAYS_MS
from learners.groups import GroupNames
from learning.rows.checks import check_id
from learning.rows.codec import ItemRow, PolicyRow
from learning.rows.follow_owners import owner_changes
from learning.rows.follow_parts import FollowedParts
from learning.rows.places import OWNED, ItemPlaces
from learning.rows.row_reader import RowReader
from stream.block_codec import decode_item
from stream.events import ItemEvent
from stream.frame import Frame

__all__ = ["ItemFrames"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

_NOBODY = ItemEvent(item_id="-", ts=0)
_json = msgspec.json.Encoder()


class ItemFrames:
    """The newest row of each item, and the item as last sent, that came since the last `take`.

    The topics come in any order, so an id gets its row from whoever names it first: its own row, the
    policies, a history or a list of neighbours. It is in the item table while `item-vectors` has a row of
    it, and is served while the catalogue has it, too. Rows that are only named, by histories and neighbours,
    are let go together when they are more than an eighth of `max_rows`, or when others need them. Where more
    than `max_rows` are followed the catalogue's own come first (`ItemPlaces`).

    Grows with the ids: what `Numbering` takes and 21 bytes each; and with the catalogue, whose rows are kept
    as they came, 100 bytes more each, and those that find no place whole.

    Args:
        dim: of vectors.
        max_rows: ids at most.
        reader: of items' rows.
        policies: of rows of policies, which are kept while an item has no place.
    """

    def __init__(
        self, dim: int, max_rows: int, reader: RowReader[ItemRow], policies: RowReader[PolicyRow]
    ) -> None:
        self.places = ItemPlaces(max_rows, self._is_listed, reader, policies)
        self.numbering = self.places.numbering
        self._last_put: dict[str, bytes] = {}
        self._deleted: set[str] = set()
        self._changed: dict[str, ItemEvent | None] = {}
        self._groups, self._group = GroupNames(), np.zeros(0, np.int32)
        self._dim = dim
        self._reader = reader
        self.parts = FollowedParts(reader, "item", self.rows_of)
        self._entered = np.zeros(0, np.int64)
        self.refused = 0
        """Rows passed over because something in them is no finite number."""

    # -- records ---------------------------------------------------------------------------------------------

    def put_item(self, name: str, value: bytes | None) -> None:
        """Take note of what the items' owner says of an item, as the record holds it; None: withdrawn.

        Raises:
            FrameError: the bytes are no item, or another one.
        """
        if value is None:
            self._last_put.pop(name, None)
            self._deleted.discard(name)
            self._changed[name] = None
        else:
            item = decode_item(value)
            check_id(name, item.item_id)
            self._last_put[name], self._changed[name] = value, item
            (self._deleted.add if item.deleted else self._deleted.discard)(name)

    def _is_listed(self, name: str) -> bool:
        return name in self._last_put and name not in self._deleted

    # -- rows ------------------------------------------------------------------------------------------------

    def mention(self, names: Sequence[str]) -> Int32:
        """Rows (n,) of ids that something else than their own row names; -1 where all are taken."""
        rows = self.places.give(names)
        size = self.numbering.size
        if size > self._entered.size:
            more = max(size, self._entered.size * 5 // 4) - self._entered.size
            self._entered = np.append(self._entered, np.zeros(more, np.int64))
            self._group = np.append(self._group, np.full(more, -1, np.int32))
        return rows

    def rows_of(self, side: str, names: Sequence[str]) -> Int32:
        """As `mention`, for whatever refers to items."""
        return self.mention(names)

    def settle(self, policies: dict[str, int | None]) -> Int32:
        """As `ItemPlaces.settle`, whose rules it follows; `policies` is what came of them."""
        self.places.relist(list(self._changed))
        gone = self.places.settle(self.parts.pending, policies)
        self.mention([])  # room for what has been placed
        return gone

    # -- frames ----------------------------------------------------------------------------------------------

    def take(self) -> Frame:
        """Changes of `items` and `catalogue`, and the items' side of all parts."""
        found, gone_names = self.parts.taken()
        put, self._changed = self._changed, {}
        if not (found or gone_names or put or self.places.evicted.size):
            return {}  # as in most rounds
        gone = self.numbering.known(gone_names)
        items = self.parts.fitting(found)
        self.refused += len(found) - len(items)
        names, entered = self.parts.names_of(items), self._reader.entered_at(items)
        places, rows = self.places, self.numbering.find(names)
        new = ~places.has(rows, OWNED)
        places.mark(rows, OWNED, on=True)
        left = gone[places.has(gone, OWNED)]
        places.mark(left, OWNED, on=False)
        emptied = np.concatenate([left, places.evicted])
        self._entered[emptied] = 0
        removed = emptied[~np.isin(emptied, rows)]  # the others have new owners already
        frame: Frame = {}
        if rows.size or emptied.size:
            frame["items"] = owner_changes(self._dim, rows, names, new, emptied)
            frame |= self.parts.frames(rows, items, removed)
            places.touch(rows, frame["counts"]["item"]["touched_at"][: rows.size])
        other = rows[new | (entered != self._entered[rows])]
        self._entered[rows] = entered
        told = self.numbering.known(list(put))
        changed = np.union1d(other, told[places.has(told, OWNED)]).astype(np.int32)
        if changed.size or removed.size:
            frame["catalogue"] = self._catalogue(changed, removed, put)
        self.parts.clear()
        return frame

    # -- the catalogue ---------------------------------------------------------------------------------------

    def _catalogue(self, rows: Int32, removed: Int32, put: Mapping[str, ItemEvent | None]) -> Frame:
        """What the items' owner said of those in `rows` (n,), and nothing of the `removed`."""
        names = [self.numbering.id_of(row) or "" for row in rows.tolist()]
        items = [put[name] if name in put else self._read(name) for name in names]
        known = [item is not None for item in items]
        some = [_NOBODY if item is None else item for item in items]
        entered = self._entered[rows]
        ts = np.array([item.ts for item in some], np.int64)
        until = (item.available_until for item in some)
        group = [-1 if item.group is None else self._groups.enter(item.group) for item in some]
        for old in (*self._group[rows].tolist(), *self._group[removed].tolist()):
            self._groups.leave(old)
        self._group[rows], self._group[removed] = group, -1
        raw = [_json.encode(item.attributes) if item.attributes else None for item in some]
        blank = np.zeros(removed.size, np.int64)
        return {
            "rows": np.concatenate([rows, removed]),
            "known": np.concatenate([np.array(known, np.bool_), blank.astype(np.bool_)]),
            "deleted": np.array([*(bool(item.deleted) for item in some), *blank.tolist()], np.bool_),
            "group": np.concatenate([np.array(group, np.int32), np.full(removed.size, -1, np.int32)]),
            "from_ms": np.array([*(item.available_from or 0 for item in some), *blank.tolist()], np.int64),
            "until_ms": np.array(
                [*(ALWAYS_MS if at is None else at for at in until), *blank.tolist()], np.int64
            ),
            "ts": np.concatenate([ts, blank]),
            "entered_ms": np.concatenate([np.where(entered > 0, entered, ts), blank]),
            "raw": [*raw, *[None] * removed.size],
            **self._groups.changes(),
        }

    def _read(self, name: str) -> ItemEvent | None:
        value = self._last_put.get(name)
        return None if value is None else decode_item(value)

    # -- state -----------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """All that was followed up to the last `take`."""
        size = self.numbering.size
        return {
            **self.places.snapshot(),
            "said": dict(self._last_put),
            "deleted": sorted(self._deleted),
            "group_names": self._groups.snapshot(),
            "group": self._group[:size].copy(),
            "entered": self._entered[:size].copy(),
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self._last_put, self._changed = dict(frame["said"]), {}
        if "deleted" in frame:
            self._deleted = set(frame["deleted"])
        else:
            self._deleted = {name for name, value in self._last_put.items() if decode_item(value).deleted}
        self.places.restore(frame)
        if "group" in frame:
            self._group = frame["group"].copy()
            self._groups.restore(frame["group_names"])
        else:  # written before groups could leave: those of then stay
            names = frame["groups"]
            self._group = np.full(frame["marks"].size, -1, np.int32)
            self._groups.restore_names(names, np.arange(len(names), dtype=np.int32), len(names))
        self._entered = frame["entered"].copy()
        self.parts.clear()
