"""Who gets one of the rows of a server's items, and who gives one back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from learners.ids import some_of
from learning.rows.codec import ItemRow, PolicyRow
from learning.rows.kept import KeptRows
from learning.rows.numbering import Numbering
from learning.rows.row_reader import RowReader
from stream.frame import Frame

__all__ = ["HAS_POLICY", "OWNED", "ItemPlaces"]

Int32 = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
_Numbers = dict[str, int | None]

OWNED, HAS_POLICY, _LISTED = 1, 2, 4
_HELD = OWNED | HAS_POLICY
_NO_ROWS = np.zeros(0, np.int32)
_SPARE = 64  # where rows must be given back, this part of all goes at once: each time costs a look at all


class ItemPlaces:
    """Rows for items, at most `max_rows`; an id of the catalogue takes that of one outside it.

    Those outside go longest untouched first, and never the reverse: an item that is outside the catalogue
    takes what is free. Topics come in any order, so the catalogue may name an id long after its rows. What
    finds no place is therefore kept as it came (`KeptRows`), and gets one with all its rows as soon as
    there is one, or it is in the catalogue. Policies' rows of ids outside the catalogue are kept beside
    those that are served: such an item may be evicted, and comes back with the next row of its own.

    Args:
        max_rows: ids at most.
        is_listed: whether an id is in the catalogue, and not deleted.
        items: has the rows of items that came, and reads those that come back.
        policies: as `items`, of policies.

    Attributes:
        evicted: rows that the last `settle` took from items outside the catalogue; perhaps given on already.
        refused: items that came and found no place.
    """

    def __init__(
        self,
        max_rows: int,
        is_listed: Callable[[str], bool],
        items: RowReader[ItemRow],
        policies: RowReader[PolicyRow],
    ) -> None:
        self.numbering = Numbering(max_rows)
        self.items, self.policies = KeptRows(), KeptRows()
        self.evicted = _NO_ROWS
        self.refused = 0
        self._is_listed = is_listed
        self._came_items, self._came_policies = items, policies
        self._marks = np.zeros(0, np.uint8)
        self._touched = np.zeros(0, np.int64)

    # -- what a row has --------------------------------------------------------------------------------------

    def give(self, names: Sequence[str]) -> Int32:
        """Rows (n,) of ids, given where they had none; -1 where all are taken."""
        rows, new = self.numbering.enter(names)
        size = self.numbering.size
        if size > self._marks.size:
            more = max(size, self._marks.size * 5 // 4) - self._marks.size
            self._marks = np.append(self._marks, np.zeros(more, np.uint8))
            self._touched = np.append(self._touched, np.zeros(more, np.int64))
        at = np.flatnonzero(new & (rows >= 0))
        if at.size:
            listed = self._listed(some_of(names, at.tolist()))
            self._marks[rows[at]] = np.where(listed, _LISTED, 0)
            self._touched[rows[at]] = 0
        return rows

    def has(self, rows: Int32, mark: int) -> Bools:
        """Which of `rows` (n,) have something."""
        out: Bools = self._marks[rows] & mark != 0
        return out

    def mark(self, rows: Int32, mark: int, *, on: bool) -> None:
        """Note that `rows` (n,) have something, or have it no longer."""
        if on:
            self._marks[rows] |= np.uint8(mark)
        else:
            self._marks[rows] &= np.uint8(0xFF ^ mark)

    def touch(self, rows: Int32, at: npt.NDArray[np.int64]) -> None:
        """When the items in `rows` (n,) were last touched."""
        self._touched[rows] = at

    @property
    def n_owned(self) -> int:
        """Items with a row in `item-vectors`."""
        return int(np.count_nonzero(self._marks & OWNED))

    def _listed(self, names: Iterable[str]) -> Bools:
        return np.array(list(map(self._is_listed, names)), np.bool_)

    def relist(self, names: list[str]) -> None:
        """The catalogue has said something of these ids."""
        if not names:
            return
        rows, listed = self.numbering.find(names), self._listed(names)
        here = rows >= 0
        self.mark(rows[here & listed], _LISTED, on=True)
        self.mark(rows[here & ~listed], _LISTED, on=False)
        self.items.relist(names, listed.tolist())
        self.policies.relist(names, listed.tolist())
        served = np.flatnonzero(here & listed) if len(self.policies) else _NO_ROWS
        for n in served[self.has(rows[served], HAS_POLICY)].tolist():
            self.policies.pop(names[n])  # it is not evicted any more

    def keep_policies(self, rows: Int32, found: list[int]) -> None:
        """Keep those of `found` (n,) whose id has no row (-1 in `rows`), or could lose it."""
        outside = rows < 0
        outside[~outside] = ~self.has(rows[~outside], _LISTED)
        for n in np.flatnonzero(outside).tolist():
            name = self._came_policies.names[found[n]]
            self.policies.put(name, self._came_policies.values[found[n]], listed=self._is_listed(name))

    # -- rounds ----------------------------------------------------------------------------------------------

    def settle(self, items: _Numbers, policies: _Numbers) -> Int32:
        """To be called before each round of frames, with what came since the last: each item that can have
        a row has one then, and the others are out of `items`, kept for later. Those kept that have found a
        place are in it.

        Returns rows that are let go, mostly none. They may be given out again at once: who knows them lets
        go of them before anything else.
        """
        self.numbering.settle()
        self.evicted = _NO_ROWS
        self._let_go_deleted(items, policies)
        gone = self._let_go_named(len(self._without_row(items)))
        new = self._without_row(items)
        if new or len(self.items):
            self._place(items, self._make_room(new, items))
        if len(self.policies):
            self._complete(items, policies)
        return np.concatenate([gone, self.evicted])

    def _let_go_deleted(self, items: _Numbers, policies: _Numbers) -> None:
        if len(self.items):
            for name in [name for name, item in items.items() if item is None]:
                self.items.pop(name)
        if len(self.policies):
            for name in [name for name, policy in policies.items() if policy is None]:
                self.policies.pop(name)

    def _without_row(self, items: _Numbers) -> list[str]:
        names = [name for name, row in items.items() if row is not None]
        if not names:
            return names
        return [names[n] for n in np.flatnonzero(self.numbering.find(names) < 0).tolist()]

    def _let_go_named(self, n_new: int) -> Int32:
        """Ids that only histories and neighbours name go together: when they are many, or are in the way."""
        numbering = self.numbering
        n, most = len(numbering), numbering.max_rows
        if n <= most // 8 and n + n_new + len(self.items.listed) <= most:
            return _NO_ROWS  # not even if nothing held them
        held = self._marks[: numbering.size] & _HELD != 0
        n_named = n - int(np.count_nonzero(held))
        if n_named <= most // 8 and n + n_new + len(self.items.listed) <= most:
            return _NO_ROWS
        return self._free(np.flatnonzero(numbering.taken & ~held).astype(np.int32))

    def _make_room(self, new: list[str], items: _Numbers) -> list[str]:
        """Take rows from items outside the catalogue if its own need them; which items want a row."""
        if len(self.items):
            for name in new:
                self.items.pop(name)  # there is a newer row of it
        most, wanting = self.numbering.max_rows, len(self.items.listed) + int(self._listed(new).sum())
        need = wanting - (most - len(self.numbering))
        if need <= 0:
            return new
        names = [name for name, row in items.items() if row is not None]
        rows = self.numbering.find(names)
        at = _touched_at(self._came_items, [row for row in items.values() if row is not None])
        self.touch(rows[rows >= 0], at[rows >= 0])
        marks = self._marks[: self.numbering.size]
        outside = np.flatnonzero((marks & _HELD != 0) & (marks & _LISTED == 0)).astype(np.int32)
        oldest = np.argsort(self._touched[outside], kind="stable")[: need + most // _SPARE]
        self.evicted = self._free(np.sort(outside[oldest]))
        return self._without_row(items)

    def _place(self, items: _Numbers, new: list[str]) -> None:
        room = self.numbering.max_rows - len(self.numbering)
        listed = self._listed(new).tolist()
        own = [name for name, is_listed in zip(new, listed, strict=True) if is_listed]
        others = [name for name, is_listed in zip(new, listed, strict=True) if not is_listed]
        waiting = self.items.first(room)
        n_first = min(len(self.items.listed), len(waiting))
        chosen = [*waiting[:n_first], *own, *others, *waiting[n_first:]][:room]
        self.give(chosen)
        placed = set(chosen)
        for name, is_listed in zip(new, listed, strict=True):
            if name not in placed:
                row = items.pop(name)
                assert row is not None, "what was deleted wants no place"
                self.items.put(name, self._came_items.values[row], listed=is_listed)
                self.refused += 1
        for name in waiting:
            if name in placed:
                items[name] = self._came_items.read_again(name, self.items.pop(name) or b"")

    def _complete(self, items: _Numbers, policies: _Numbers) -> None:
        """Let items that have just got their place have their policies' rows, too."""
        names = [name for name, row in items.items() if row is not None and name not in policies]
        names = [name for name in names if self.policies.get(name) is not None]
        rows = self.numbering.find(names)
        for n in np.flatnonzero(~self.has(rows, HAS_POLICY)).tolist():
            row = self.policies.pop(names[n]) or b""
            policies[names[n]] = self._came_policies.read_again(names[n], row)

    def _free(self, rows: Int32) -> Int32:
        if rows.size:
            self.numbering.drop(rows.tolist())
            self.numbering.settle()
            self._marks[rows] = 0
        return rows

    # -- state -----------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """All of it."""
        size = self.numbering.size
        return {
            "numbering": self.numbering.snapshot(),
            "marks": self._marks[:size].copy(),
            "touched": self._touched[:size].copy(),
            "kept_items": self.items.snapshot(),
            "kept_policies": self.policies.snapshot(),
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; the catalogue must be here before."""
        self.numbering.restore(frame["numbering"])
        self._marks = frame["marks"].copy()
        self.items.restore(frame.get("kept_items", {}))
        self.policies.restore(frame.get("kept_policies", {}))
        if "touched" in frame:
            self._touched = frame["touched"].copy()
        else:  # written when whoever came last was refused
            self._touched = np.zeros(self._marks.size, np.int64)
            self.relist([name for name in frame["numbering"]["ids"] if name is not None])


def _touched_at(items: RowReader[ItemRow], numbers: Sequence[int]) -> npt.NDArray[np.int64]:
    """When each of these rows (n,) was touched last; 0 where it cannot be read."""
    return items.numbers(numbers)["counts"]["touched_at"].astype(np.int64)
