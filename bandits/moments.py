"""How large features are: the numbers that bring them to one scale."""

from __future__ import annotations

import numpy as np

from bandits.ops.arrays import Float64

__all__ = ["Moments"]

_CONSTANT = 1e-9  # of a feature's mean square: less variance is what rounding leaves of none


class Moments:
    """Number of rows, sum of x and sum of x^2, over the first `most` rows seen here, and what follows.

    A sum over shares is that of the whole, so several owners may keep a share each. `scaling` of the total:

    * the first, which is the constant 1, stays as it is, and so does a feature that was only ever 0 or 1, as
      words and switches are: scaled, a rare word would outweigh everything;
    * of others the mean is taken away, and they are divided by their standard deviation, which few rows make
      larger: var + (mean square) / n^2. One that never varied is divided by its own size.

    Example:
        >>> moments = Moments(3, most=100)
        >>> for x in ([1.0, 10.0, 0.0], [1.0, 14.0, 1.0]):
        ...     moments.add(np.array(x))
        >>> mean, scale = moments.scaling()
        >>> mean.tolist(), scale.round(2).tolist()
        ([0.0, 12.0, 0.0], [1.0, 6.4, 1.0])
    """

    def __init__(self, dim: int, *, most: float) -> None:
        self.dim = dim
        self.most = most
        self.sums = np.zeros(1 + 2 * dim)

    @property
    def n(self) -> int:
        """Rows that the moments rest on."""
        return int(self.sums[0])

    def add(self, x: Float64) -> None:
        """Count one row (dim,), unless there are enough."""
        if self.sums[0] < self.most:
            self.sums += np.concatenate([[1.0], x, x * x])

    def add_each(self, x: Float64) -> bool:
        """Count rows (n, dim) as they come, unless there are enough; whether they were counted."""
        if self.sums[0] >= self.most:
            return False
        self.sums += np.concatenate([[float(len(x))], x.sum(axis=0), (x * x).sum(axis=0)])
        return True

    def scaling(self) -> tuple[Float64, Float64]:
        """The mean and the scale (dim,) of each feature; 0 and 1 before the first row."""
        mean, scale = np.zeros(self.dim), np.ones(self.dim)
        n, total, squares = self.sums[0], self.sums[1 : 1 + self.dim], self.sums[1 + self.dim :]
        numbers = (total != squares) & (np.arange(self.dim) > 0)
        if n < 1 or not numbers.any():
            return mean, scale
        average, square = total[numbers] / n, squares[numbers] / n
        variance = square - average * average
        is_constant = variance <= _CONSTANT * square
        mean[numbers] = average
        scale[numbers] = np.where(
            is_constant, np.abs(average), np.sqrt(np.maximum(variance, 0.0) + square / (n * n))
        )
        return mean, scale
