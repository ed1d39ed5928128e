"""Where the vectors of a replica may live."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["VectorHome"]

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


class VectorHome(Protocol):
    """Where the vectors of a replica's table live when somebody else has them anyway, as an index has."""

    @property
    def data(self) -> Float32:
        """The vectors (max_rows, dim) by row; the array stays the same for ever."""

    def put(self, rows: Int32, vectors: Float32) -> None:
        """Give distinct `rows` (n,) these vectors (n, dim)."""

    def clear(self, rows: Int32) -> None:
        """`rows` (n,) have no owner any more; what stands in them is read by nobody until the next `put`."""
