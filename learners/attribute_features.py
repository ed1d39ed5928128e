"""Features of items, from the attributes in the catalogue."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from learners.base import Int32
from learners.catalogue import Catalogue
from learners.request_features import RequestFeatures
from learners.touched import grown, roomier

__all__ = ["AttributeFeatures"]

Float32 = npt.NDArray[np.float32]


class AttributeFeatures:
    """The vectors (n, I) of item rows: `features` of their attributes as last sent.

    They are computed when somebody asks, and again once the catalogue has changed. An item without attributes
    has the constant 1 and zeros.

    Grows with the item rows that are asked for: 4 I + 8 bytes each.

    Example:
        >>> from stream.events import ItemEvent
        >>> catalogue = Catalogue()
        >>> _ = catalogue.put(3, ItemEvent(item_id="a", ts=5, attributes={"price": 9.5}))
        >>> features_of = AttributeFeatures(catalogue, RequestFeatures(["price"], dim=0))
        >>> features_of(np.array([3, 4], np.int32)).tolist()
        [[1.0, 9.5], [1.0, 0.0]]
    """

    def __init__(self, catalogue: Catalogue, features: RequestFeatures) -> None:
        self._catalogue, self._features = catalogue, features
        self._rows = np.zeros((0, features.width), np.float32)
        self._asked_at = np.zeros(0, np.int64)

    def __call__(self, rows: Int32) -> Float32:
        """The vectors of `rows` (n,); of a row below 0 that of an item without attributes."""
        n = int(rows.max(initial=0)) + 1
        if n > self._asked_at.size:
            capacity = roomier(self._asked_at.size, n)
            self._rows = grown(self._rows, capacity).astype(np.float32, copy=False)
            self._asked_at = grown(self._asked_at, capacity, -1).astype(np.int64, copy=False)
        version = self._catalogue.version
        old = np.unique(rows[(rows >= 0) & (self._asked_at[rows] != version)])
        if old.size:
            self._rows[old] = self._features.many(
                [self._catalogue.raw_attributes(row) for row in old.tolist()]
            )
            self._asked_at[old] = version
        out: Float32 = self._rows[rows]
        out[rows < 0] = 0.0
        out[rows < 0, 0] = 1.0
        return out
