"""Names for the array types that this room passes around, and arrays that grow with the item rows."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["Bool", "Float32", "Float64", "Int8", "Int32", "Int64", "with_room"]

Bool = npt.NDArray[np.bool_]
Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

T = TypeVar("T", bound=np.generic)


def with_room(array: npt.NDArray[T], n: int, fill: Any = 0) -> npt.NDArray[T]:
    """`array` itself if it has `n` rows or more, else a copy with a quarter more at least, new ones `fill`.

    Example:
        >>> with_room(np.array([5, 6]), 3, -1).tolist()
        [5, 6, -1, -1]
    """
    if array.shape[0] >= n:
        return array
    room = max(n, array.shape[0] + array.shape[0] // 4 + 2)  # what is doubled stands half empty
    bigger = np.full((room, *array.shape[1:]), fill, array.dtype)
    bigger[: array.shape[0]] = array
    return bigger
