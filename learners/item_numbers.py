"""Numbers that are known of items, in a fixed set of slots: some by name, the others by a hash of their
name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from learners.base import Int32
from learners.catalogue import Catalogue
from learners.count_filter import key_of
from learners.touched import grown, roomier

__all__ = ["ItemNumbers"]

Float64 = npt.NDArray[np.float64]

_MOST_NAMES = 64
"""Names of one list that are looked at, in alphabetical order: nobody has so many, and each costs time."""
_PLAIN = {int, float}


class ItemNumbers:
    """Numbers of items out of what came with a list, and where that has none, of the catalogue's attributes.

    Each of `names` has a slot of its own. Any other name has the one of the last `more` slots that a hash of
    it says, so that the same name always has the same; of several in one slot the alphabetically first that
    an item has counts. Words, lists and truths are no numbers. Attributes are kept by row once they were
    asked for: 8 bytes a slot and 8 more each.

    Example:
        >>> numbers = ItemNumbers(Catalogue(), ("price",), 1)
        >>> numbers(np.array([4, -1], np.int32), [{"price": 3, "stars": 4.5}, {"price": "3"}]).tolist()
        [[3.0, nan], [4.5, nan]]
    """

    def __init__(self, catalogue: Catalogue, names: Sequence[str], more: int) -> None:
        self._catalogue, self._more = catalogue, more
        self._own = {name: n for n, name in enumerate(names)}
        self._slots = len(names) + more
        self._known = np.zeros((0, self._slots))
        self._read_at = np.zeros(0, np.int64)

    def __call__(self, rows: Int32, contexts: Sequence[Mapping[str, Any]] = ()) -> Float64:
        """Numbers (S, n) of item `rows` (n,), -1 for an unknown one, with what came with each; NaN where
        there is none."""
        found = self._of_contexts(contexts, rows.size)
        missing = np.isnan(found)
        if missing.any() and self._catalogue.size:
            found[missing] = self._of_rows(rows).T[missing]
        return found

    def _of_contexts(self, contexts: Sequence[Mapping[str, Any]], n: int) -> Float64:
        out = np.full((self._slots, n), np.nan)
        if len(contexts) != n:
            return out
        for name in self._looked_at(set().union(*contexts)):
            if (slot := self._slot(name)) < 0:
                continue
            values = [one.get(name) for one in contexts]
            column = np.array(values, np.float64) if {*map(type, values)} <= {float} else _numbers(values)
            gaps = np.isnan(out[slot])
            out[slot, gaps] = column[gaps]
        return out

    def _looked_at(self, names: set[str]) -> list[str]:
        # A name of one's own is never among those that are too many.
        return sorted(names, key=lambda name: (name not in self._own, name))[:_MOST_NAMES]

    def _slot(self, name: str) -> int:
        own = self._own.get(name)
        if own is None:
            return self._slots - self._more + key_of(name) % self._more if self._more else -1
        return own

    def _of_rows(self, rows: Int32) -> Float64:
        """Numbers (n, S) that the catalogue has, read again where it has changed."""
        n, stamps = self._catalogue.size, self._catalogue.stamps
        if n > self._read_at.size:
            capacity = roomier(self._read_at.size, n)
            self._known = grown(self._known, capacity, np.nan).astype(np.float64, copy=False)
            self._read_at = grown(self._read_at, capacity, 0).astype(np.int64, copy=False)
        is_known = (rows >= 0) & (rows < n)
        at = np.where(is_known, rows, 0)
        has_changed = self._read_at[at] != stamps[at]
        for row in np.unique(at[has_changed]).tolist() if has_changed.any() else ():
            self._known[row] = self._of_attributes(self._catalogue.attributes(row))
            self._read_at[row] = stamps[row]
        out: Float64 = self._known[at]
        out[~is_known] = np.nan
        return out

    def _of_attributes(self, attributes: Mapping[str, Any]) -> Float64:
        return self._of_contexts([attributes], 1)[:, 0]


def _numbers(values: Iterable[Any]) -> Float64:
    return np.array([_number(value) for value in values], np.float64)


def _number(value: Any) -> float:
    # A truth is an int, too, and says nothing as a number; a whole number may be larger than any float.
    if type(value) not in _PLAIN:
        return np.nan
    try:
        return float(value)
    except OverflowError:
        return np.nan
