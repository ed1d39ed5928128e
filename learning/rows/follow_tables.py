"""Changes of an embedding table out of rows by id: users and items have the same columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from learning.rows.codec import ItemRow, UserRow, vectors_of
from stream.frame import Frame

__all__ = ["table_changes"]

Int32 = npt.NDArray[np.int32]


def table_changes(
    dim: int,
    rows: Int32,
    names: Sequence[str],
    found: Sequence[UserRow] | Sequence[ItemRow],
    new: npt.NDArray[np.bool_],
    removed: Int32,
) -> Frame:
    """What `EmbeddingTable.apply` takes: `found` (n,) in `rows` (n,), owned by `names` (n,), some of them
    `new` (n,), after the `removed` rows have lost their owners.

    Example:
        >>> row = ItemRow(item_id="tea", vector=bytes(8), clicks=3)
        >>> nothing = np.zeros(0, np.int32)
        >>> frame = table_changes(2, np.array([5], np.int32), ["tea"], [row], np.array([True]), nothing)
        >>> frame["new_ids"], frame["rows"], frame["clicks"]
        (['tea'], array([5], dtype=int32), array([3]))
    """
    return {
        "dim": dim,
        "removed": removed,
        "new_rows": rows[new],
        "new_ids": [name for name, is_new in zip(names, new.tolist(), strict=True) if is_new],
        "rows": rows,
        "vectors": vectors_of(found, dim),
        "version": np.array([row.version for row in found], np.int64),
        "count_rows": rows,
        "clicks": np.array([row.clicks for row in found], np.int64),
        "impressions": np.array([row.impressions for row in found], np.int64),
        "touched_at": np.array([row.touched_at for row in found], np.int64),
    }
