"""Counter-based numbers look random, and each is a function of its key alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from learners.ops.hashing import mix, uniform


def test_uniforms_fill_the_interval_evenly() -> None:
    draws = [uniform(np.uint64(key), np.uint64(n)) for key in range(20) for n in range(500)]
    counts = np.histogram(draws, bins=10, range=(0, 1))[0]
    # Chi-square with 9 degrees of freedom: 27.9 is its 99.9 % point.
    assert ((counts - 1_000) ** 2 / 1_000).sum() < 27.9
    assert max(draws) < 1.0


def test_neighbouring_keys_and_counters_share_half_their_bits() -> None:
    numbers = [int(mix(np.uint64(n // 64), np.uint64(n % 64))) for n in range(4_096)]
    flips = [(a ^ b).bit_count() for a, b in pairwise(numbers)]
    assert abs(np.mean(flips) - 32) < 0.3
    assert len(set(numbers)) == 4_096
