"""The catalogue: what the items' owner said about them, by item row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from learners.base import Int32
from learners.byte_strings import ByteStrings
from learners.groups import GroupNames
from learners.touched import Touched, grown, roomier
from stream.events import ItemEvent
from stream.frame import Frame

__all__ = ["ALWAYS_MS", "Catalogue"]

ALWAYS_MS = np.iinfo(np.int64).max
"""`until_ms` of an item without an end."""

_COLUMNS = ("known", "deleted", "group", "from_ms", "until_ms", "ts", "entered_ms")

_attributes = msgspec.json.Decoder(dict[str, Any])
_encoder = msgspec.json.Encoder()


class Catalogue:
    """Items as last sent: group, availability and attributes; only items that were sent can be served.

    An item event replaces the item as a whole; one older than what is known is ignored (`put` says so).
    Deleting keeps the row, so that late clicks still teach, and withdraws it from every answer. An item of
    which there was never an `item` event is not `known`: it is learned and never served.

    Grows with the item rows: 65 bytes each, plus the attributes as JSON, plus the names of the groups that
    have items.

    Example:
        >>> catalogue = Catalogue()
        >>> catalogue.put(0, ItemEvent(item_id="a", ts=5, group="film", attributes={"title": "A"}))
        True
        >>> catalogue.servable(np.array([0, 1], np.int32), now_ms=9).tolist(), catalogue.attributes(0)
        ([True, False], {'title': 'A'})
        >>> catalogue.put(0, ItemEvent(item_id="a", ts=4, deleted=True))
        False
    """

    def __init__(self) -> None:
        self.known = np.zeros(0, np.bool_)
        self.deleted = np.zeros(0, np.bool_)
        self.group = np.zeros(0, np.int32)
        self.from_ms = np.zeros(0, np.int64)
        self.until_ms = np.zeros(0, np.int64)
        self.ts = np.zeros(0, np.int64)
        self.entered_ms = np.zeros(0, np.int64)
        self._raw = ByteStrings()
        self.groups = GroupNames()
        self._touched = Touched()
        self.version = 0
        """Rows that have changed here so far; each copy counts for itself."""
        self.stamps = np.zeros(0, np.int64)
        """The `version` (size,) with which each row changed last; 0 while it never did."""

    @property
    def size(self) -> int:
        """Rows that the columns hold; `known` says which of them are items."""
        return int(self.known.size)

    def ensure(self, n: int) -> None:
        """Make room for rows below `n`."""
        if n > self.size:
            capacity = max(1_024, roomier(self.size, n))
            for name in _COLUMNS:
                array = getattr(self, name)
                setattr(self, name, grown(array, capacity, -1 if name == "group" else 0).astype(array.dtype))
            self.stamps = grown(self.stamps, capacity).astype(np.int64, copy=False)
            self._touched.ensure(capacity)

    def put(self, row: int, item: ItemEvent) -> bool:
        """Replace what is known of the item in `row`; False when the event is older than that."""
        return bool(self.put_each(np.array([row], np.int32), [item])[0])

    def put_each(self, rows: Int32, items: Sequence[ItemEvent]) -> npt.NDArray[np.bool_]:
        """`put` for `items` in as many distinct `rows` (n,); which of them were taken, (n,)."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        ts = np.array([item.ts for item in items], np.int64)
        was_known = self.known[rows]
        is_taken: npt.NDArray[np.bool_] = ~was_known | (ts >= self.ts[rows])
        new = rows[~was_known]
        self.entered_ms[new] = ts[~was_known]
        rows, ts = rows[is_taken], ts[is_taken]
        items = [item for item, taken in zip(items, is_taken.tolist(), strict=True) if taken]
        self.known[rows] = True
        self.ts[rows] = ts
        self.deleted[rows] = [bool(item.deleted) for item in items]
        for row, item in zip(rows.tolist(), items, strict=True):
            self._assign(row, item.group)
        self.from_ms[rows] = [item.available_from or 0 for item in items]
        until = (item.available_until for item in items)
        self.until_ms[rows] = [ALWAYS_MS if at is None else at for at in until]
        for row, item in zip(rows.tolist(), items, strict=True):
            self._raw.put(row, _encoder.encode(item.attributes) if item.attributes else None)
        self._touched.add(rows)
        self._stamp(rows)
        return is_taken

    def servable(self, rows: Int32, now_ms: int) -> npt.NDArray[np.bool_]:
        """Which of `rows` (n,) may be shown at `now_ms`: sent, not deleted, within their availability."""
        out = np.zeros(rows.shape, np.bool_)
        inside = (rows >= 0) & (rows < self.size)
        at = rows[inside]
        out[inside] = (
            self.known[at] & ~self.deleted[at] & (self.from_ms[at] <= now_ms) & (now_ms < self.until_ms[at])
        )
        return out

    @property
    def listed(self) -> npt.NDArray[np.bool_]:
        """Which rows (size,) hold an item that is not deleted, available now or not."""
        return self.known & ~self.deleted

    def newest_first(self) -> Int32:
        """All listed rows, the last entered first; of those that entered together the lower row."""
        rows = np.flatnonzero(self.listed).astype(np.int32)
        return rows[np.argsort(-self.entered_ms[rows], kind="stable")]

    def group_codes(self, names: list[str]) -> Int32:
        """Numbers of the groups that exist among `names`."""
        codes = np.array([self.groups.code_of(name) for name in names], np.int32)
        return codes[codes >= 0]

    def group_name(self, row: int) -> str | None:
        """The group of an item, if it has one."""
        return self.groups.name_of(int(self.group[row])) if 0 <= row < self.size else None

    def _assign(self, row: int, name: str | None) -> None:
        """Put a row into a group; the new one before it leaves the old, which it may be."""
        old = int(self.group[row])
        self.group[row] = -1 if name is None else self.groups.enter(name)
        self.groups.leave(old)

    def attributes(self, row: int) -> dict[str, Any]:
        """The attributes of an item as they were sent."""
        raw = self._raw.get(row)
        return _attributes.decode(raw) if raw is not None else {}

    def raw_attributes(self, row: int) -> bytes | None:
        """The attributes of an item as JSON; None where it has none."""
        return self._raw.get(row)

    def remove_items(self, rows: Int32) -> None:
        """Empty these rows for their next owners."""
        rows = rows[(rows >= 0) & (rows < self.size)]
        for code in self.group[rows].tolist():
            self.groups.leave(code)
        for name in _COLUMNS:
            getattr(self, name)[rows] = -1 if name == "group" else 0
        for row in rows.tolist():
            self._raw.put(row, None)
        self._touched.add(rows)
        self._stamp(rows)

    def _stamp(self, rows: Int32) -> None:
        self.version += rows.size
        self.stamps[rows] = self.version

    def snapshot(self) -> Frame:
        """All state."""
        raw = dict(self._raw.items())
        return {
            **{name: getattr(self, name).copy() for name in _COLUMNS},
            "group_names": self.groups.snapshot(),
            "raw_rows": np.array(list(raw), np.int32),
            "raw": list(raw.values()),
            "touched": self._touched.peek(),
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        for name in _COLUMNS:
            setattr(self, name, frame[name].copy())
        self._raw.fill(frame["raw_rows"], frame["raw"])
        if "group_names" in frame:
            self.groups.restore(frame["group_names"])
        else:  # written before groups could leave
            self.groups.restore_names(frame["groups"], self.group, frame["published_groups"])
        self._touched.ensure(self.size)
        self._touched.put(frame["touched"])
        self._touched.ensure(self.size)
        self.version += max(self.size, 1)
        self.stamps = np.full(self.size, self.version, np.int64)

    def changes(self) -> Frame:
        """Rows put or emptied since the last call, and new group names."""
        rows = self._touched.drain()
        if not rows.size:
            return {}
        return {
            "rows": rows,
            **{name: getattr(self, name)[rows] for name in _COLUMNS},
            "raw": [self._raw.get(row) for row in rows.tolist()],
            **self.groups.changes(),
        }

    def apply(self, frame: Frame) -> None:
        """On a replica: take over the rows of `changes`."""
        if not frame:
            return
        rows = frame["rows"]
        self.ensure(int(rows.max()) + 1)
        self._stamp(rows)
        for name in _COLUMNS:
            getattr(self, name)[rows] = frame[name]
        for row, raw in zip(rows.tolist(), frame["raw"], strict=True):
            self._raw.put(row, raw)
        if "groups_from" in frame:  # written before groups could leave
            names = frame["groups"]
            codes = np.arange(frame["groups_from"], frame["groups_from"] + len(names), dtype=np.int32)
            frame = {"group_codes": codes, "group_names": names}
        self.groups.apply(frame)
