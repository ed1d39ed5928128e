"""Uniform numbers as a function of a counter: the same place of the same request always draws the same.

``uniform(key, place, lane)`` is the SplitMix64 output function on ``key + G * (place * 2**32 + lane + 1)``,
all modulo 2**64, with G = 0x9E3779B97F4A7C15; the upper 53 bits times 2**-53. No state, so draws of one place
do not depend on how many another place used, and a foreign program can repeat them from a decision's seed and
id.
"""

from __future__ import annotations

import numpy as np

from stream.kernel import kernel

__all__ = ["mix64", "uniform"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S32, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32), np.uint64(11)
_ONE = np.uint64(1)


@kernel
def mix64(x: np.uint64) -> np.uint64:
    """The SplitMix64 output function: a bijection of 64 bits in which each input bit moves half the
    output."""
    x = (x ^ (x >> _S30)) * _FIRST
    x = (x ^ (x >> _S27)) * _SECOND
    return x ^ (x >> _S31)


@kernel
def uniform(key: np.uint64, place: int, lane: int) -> float:
    """A uniform double in [0, 1) for (key, place, lane); `place` and `lane` in 0..2**32 - 1.

    Example:
        >>> round(uniform(np.uint64(1), 0, 0), 6), round(uniform(np.uint64(1), 0, 1), 6)
        (0.566562, 0.745782)
    """
    counter = ((np.uint64(place) << _S32) | np.uint64(lane)) + _ONE
    return float(mix64(key + _GOLDEN * counter) >> _S11) * (1.0 / 9007199254740992.0)
