"""Counter-based randomness: a number for every (seed, key, counter), in any order of asking.

The mixer is SplitMix64's finaliser (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
OOPSLA 2014); a stream is addressed by adding odd multiples of the golden ratio to its key.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel

__all__ = ["fill_vectors", "mix", "uniform"]


@kernel
def mix(key: np.uint64, counter: np.uint64) -> np.uint64:
    """A well-mixed uint64 of two uint64."""
    z = key + (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def uniform(key: np.uint64, counter: np.uint64) -> float:
    """A float64 in [0, 1) for (key, counter)."""
    return float(mix(key, counter) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def fill_vectors(
    data: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int32],
    keys: npt.NDArray[np.uint64],
    seed: int,
    scale: float,
) -> None:
    """Set `data[rows[n]]` to the initial vector of `keys[n]`: uniform, mean 0, standard deviation `scale`.

    `data` is (capacity, d), `rows` and `keys` are (n,). The vector depends on seed and key only, so the
    order in which ids arrive does not matter.
    """
    span = scale * np.sqrt(12.0)
    for n in range(rows.size):
        key = mix(keys[n], np.uint64(seed))
        for d in range(data.shape[1]):
            data[rows[n], d] = np.float32((uniform(key, np.uint64(d)) - 0.5) * span)
