"""Stable keys of items, for models that hash an item's id into slots instead of keeping a row for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from learners.ask import Ask
from learners.count_filter import key_of
from learners.ops.item_keys import gather_keys
from learners.table import EmbeddingTable
from learners.touched import roomier
from stream.blocks import Slate

__all__ = ["ItemKeys", "keys_of_ask", "numbered_keys"]

Int32 = npt.NDArray[np.int32]
UInt64 = npt.NDArray[np.uint64]

_FIRST = 1_024


def numbered_keys(rows: Int32) -> UInt64:
    """Keys of items that have no ids but a number: one more than that; 0 for -1.

    Example:
        >>> numbered_keys(np.array([0, 7, -1], np.int32)).tolist()
        [1, 8, 0]
    """
    return (rows.astype(np.int64) + 1).astype(np.uint64)


def keys_of_ask(ask: Ask, rows: Int32, item_keys: Callable[[Int32], UInt64]) -> UInt64:
    """Keys (n,) of candidate `rows` (n,), looked up once a request for all scorers that go by keys.

    Example:
        >>> ask, rows = Ask(0, 5), np.array([7], np.int32)
        >>> keys = keys_of_ask(ask, rows, numbered_keys)
        >>> keys.tolist(), keys_of_ask(ask, rows, numbered_keys) is keys
        ([8], True)
    """
    found: tuple[Int32, UInt64] | None = ask.known.get("item keys")
    if found is not None and found[0] is rows:
        return found[1]
    keys = item_keys(rows)
    ask.known["item keys"] = rows, keys
    return keys


class ItemKeys:
    """Keys of the items of a table: 64 bits of the id alone (`key_of`), on every machine and for good.

    They are computed when they are asked for, and kept by row: 24 bytes for each row up to the highest one
    that was asked for, and nothing before. A row that was given to another item has the key of that one.

    Example:
        >>> table = EmbeddingTable(2)
        >>> keys, rows = ItemKeys(table), table.rows(["a", "b"], ts=5)
        >>> keys.of_rows(np.append(rows, -1)).tolist() == [key_of("a"), key_of("b"), 0]
        True
        >>> keys.of_ids(["b", "stranger"]).tolist() == [key_of("b"), key_of("stranger")]
        True
    """

    def __init__(self, table: EmbeddingTable) -> None:
        self._table = table
        self._keys = np.zeros(0, np.uint64)
        self._names = np.zeros(0, np.object_)
        self._looked_at = np.zeros(0, np.int64)
        self._round, self._token = 0, table.token

    def of_rows(self, rows: Int32) -> UInt64:
        """Keys (n,) of item rows (n,); 0 for -1, and for rows that nobody owns."""
        highest = int(rows.max(initial=-1))
        if highest < 0:
            return np.zeros(rows.size, np.uint64)
        if highest >= self._keys.size:
            self._grow(highest + 1)
        if self._table.token is not self._token:
            # Rows may have changed hands since: each is looked at again, once, when it is asked for.
            self._token, self._round = self._table.token, self._round + 1
        found = np.empty(rows.size, np.uint64)
        if gather_keys(rows, self._keys, self._looked_at, self._round, found):
            known = rows[rows >= 0]
            self._look_at(known[self._looked_at[known] < self._round])
            gather_keys(rows, self._keys, self._looked_at, self._round, found)
        return found

    def of_ids(self, ids: Sequence[str]) -> UInt64:
        """Keys (n,) of ids (n,), known to the table or not."""
        rows = self._table.find_many(ids)
        found = self.of_rows(rows)
        for n in np.flatnonzero(rows < 0).tolist():
            found[n] = key_of(ids[n])
        return found

    def of_places(self, rows: Int32, start: Int32, slates: Sequence[Slate]) -> UInt64:
        """Keys (N,) of shown items: place n is item row `rows[n]`, -1 where it has none; slate s has the
        places `start[s]` to `start[s + 1]`."""
        found = self.of_rows(rows)
        for place in np.flatnonzero(rows < 0).tolist():  # not admitted: its id is known all the same
            s = int(np.searchsorted(start, place, side="right")) - 1
            found[place] = key_of(slates[s].items[place - int(start[s])])
        return found

    def _look_at(self, rows: Int32) -> None:
        names = self._table.ids_of(rows)
        for row, name, before in zip(rows.tolist(), names, self._names[rows].tolist(), strict=True):
            if name is not before:  # compared as objects: to hash an equal id again is no mistake
                self._names[row] = name
                self._keys[row] = 0 if name is None else key_of(name)
            if name is not None:  # a row without an owner may get one and no token tells of it
                self._looked_at[row] = self._round

    def _grow(self, rows: int) -> None:
        n, capacity = self._keys.size, roomier(max(self._keys.size, _FIRST), rows)
        keys, names = np.zeros(capacity, np.uint64), np.full(capacity, None, np.object_)
        looked_at = np.full(capacity, -1, np.int64)
        keys[:n], names[:n], looked_at[:n] = self._keys, self._names, self._looked_at
        self._keys, self._names, self._looked_at = keys, names, looked_at
