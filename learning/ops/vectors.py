"""Small questions about one vector, each in one pass."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel

__all__ = ["is_usable"]

Float32 = npt.NDArray[np.float32]


@kernel
def is_usable(vector: Float32) -> bool:
    """Whether a vector (d,) is finite and has a direction.

    Example:
        >>> is_usable(np.array([0, 1], np.float32)), is_usable(np.array([1, np.nan], np.float32))
        (True, False)
    """
    has_direction = False
    for value in vector:
        if not np.isfinite(value):
            return False
        has_direction = has_direction or value != 0.0
    return has_direction
