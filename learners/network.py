"""The shape of a small network and its weights in one flat array, as serving reads them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from learners.errors import LearnerError
from learners.ops.network import initial_weights

__all__ = ["MOST_WEIGHTS", "NetworkShape"]

MOST_WEIGHTS = 200_000
"""They travel as one row, and a record of a broker holds 1 MB by default."""

_ALIGNED = 32  # floats: a matrix begins at a border of registers, and the signs of 32 weights are one word


@dataclass(frozen=True)
class NetworkShape:
    """Fully connected: `inputs`, then `hidden` layers of units, then one output; each layer has biases.

    Raises:
        LearnerError: there is no hidden layer, or there are more weights than one row may hold.

    Example:
        >>> shape = NetworkShape(64, (64, 64))
        >>> shape.n_weights, [int(at) for at in shape.offsets]
        (8416, [0, 4160, 8320])
    """

    inputs: int
    hidden: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse what cannot be, and what would be too large to travel."""
        if self.inputs < 1 or not self.hidden or min(self.hidden) < 1:
            msg = (
                f"a network needs inputs and hidden layers of at least one; got {self.inputs}, {self.hidden}"
            )
            raise LearnerError(msg)
        if self.n_weights > MOST_WEIGHTS:
            msg = (
                f"a network of {self.inputs} inputs and layers {self.hidden} has {self.n_weights:,} weights, "
                f"more than {MOST_WEIGHTS:,}; lower item_slots or width, or do not cross request and item"
            )
            raise LearnerError(msg)

    @property
    def widths(self) -> npt.NDArray[np.int64]:
        """Inputs and units by layer."""
        return np.array((self.inputs, *self.hidden), np.int64)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Rows and columns of each layer's matrix; the last row holds the biases."""
        widths = (self.inputs, *self.hidden, 1)
        return [(n_in + 1, n_out) for n_in, n_out in pairwise(widths)]

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Where each matrix begins."""
        ends = np.cumsum([0, *(_aligned(rows * columns) for rows, columns in self.sizes)])
        return ends[:-1].astype(np.int64)

    @property
    def gaps(self) -> npt.NDArray[np.int64]:
        """First and last + 1 of what lies between matrices and is no weight: (n, 2)."""
        ends = [at + rows * columns for at, (rows, columns) in zip(self.offsets, self.sizes, strict=True)]
        return np.stack([ends, [*self.offsets[1:], self.n_weights]], axis=1).astype(np.int64)

    @property
    def n_weights(self) -> int:
        """All, gaps between matrices included."""
        return sum(_aligned(rows * columns) for rows, columns in self.sizes)

    def start(self, *, n_active: int, bias: float, key: int) -> npt.NDArray[np.float32]:
        """Weights before anything is learned; see `learners.ops.network.initial_weights`."""
        weights = np.zeros(self.n_weights, np.float32)
        initial_weights(weights, self.offsets, self.widths, n_active, bias, np.uint64(key % 2**64))
        return weights


def _aligned(n: int) -> int:
    return -(-n // _ALIGNED) * _ALIGNED
