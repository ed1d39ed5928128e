"""Who owns the rows of an embedding table, out of rows by id: users and items alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stream.frame import Frame

__all__ = ["owner_changes"]

Int32 = npt.NDArray[np.int32]


def owner_changes(
    dim: int, rows: Int32, names: Sequence[str], new: npt.NDArray[np.bool_], removed: Int32
) -> Frame:
    """What `EmbeddingTable.apply` takes: of `rows` (n,), owned by `names` (n,), some are `new` (n,), after
    the `removed` rows have lost their owners.

    Example:
        >>> nothing = np.zeros(0, np.int32)
        >>> frame = owner_changes(2, np.array([5], np.int32), ["tea"], np.array([True]), nothing)
        >>> frame["new_ids"], frame["new_rows"]
        (['tea'], array([5], dtype=int32))
    """
    return {
        "dim": dim,
        "removed": removed,
        "new_rows": rows[new],
        "new_ids": [name for name, is_new in zip(names, new.tolist(), strict=True) if is_new],
    }
