"""Nearest centroids, context weights and the online k-means step."""

from __future__ import annotations

import math

import numpy as np

from bandits.ops.arrays import Float32, Float64, Int32, Int64
from stream.kernel import kernel

__all__ = ["nearest", "observe", "to_unit", "top_context"]


@kernel
def nearest(vector: Float32, centroids: Float32, n: int) -> tuple[int, float]:
    """Index of the centroid at the smallest Euclidean distance among the first `n`, and that distance."""
    best, least = -1, np.inf
    for i in range(n):
        distance = 0.0
        for j in range(vector.size):
            gap = float(vector[j]) - float(centroids[i, j])
            distance += gap * gap
        if distance < least:
            best, least = i, distance
    return best, math.sqrt(least)


@kernel
def to_unit(vector: Float32, unit: Float32) -> bool:
    """Write the vector at length 1 into `unit` (d,); False where it is zero or not finite."""
    square = 0.0
    for j in range(vector.size):
        square += float(vector[j]) * float(vector[j])
    if not 0.0 < square < np.inf:
        return False
    length = math.sqrt(square)
    for j in range(vector.size):
        unit[j] = np.float32(float(vector[j]) / length)
    return True


@kernel
def _give_birth(
    unit: Float32, parent: int, state: Int64, ids: Int32, vectors: Float32, counts: Int64
) -> None:
    n = state[3]
    ids[n, 0], ids[n, 1] = state[2], parent
    vectors[n] = unit
    counts[n] = 1
    state[1] += 1
    state[2] += 1
    state[3] += 1


@kernel
def _bury_weakest(state: Int64, ids: Int32, vectors: Float32, counts: Int64, spread: Float64) -> None:
    """Remove the centroid with the fewest late vectors if it had less than a sixteenth of the average."""
    n = state[3]
    weakest, total = 0, 0
    for i in range(n):
        total += counts[i, 2]
        if counts[i, 2] < counts[weakest, 2]:
            weakest = i
    if n == ids.shape[0] and n > 1 and counts[weakest, 2] * 16 * n < total:
        for i in range(weakest, n - 1):
            ids[i], vectors[i], counts[i], spread[i] = (
                ids[i + 1],
                vectors[i + 1],
                counts[i + 1],
                spread[i + 1],
            )
        state[1] += 1
        state[3] -= 1
    for i in range(state[3]):
        counts[i, 2] //= 2


@kernel
def observe(
    many: Float32,
    memory: int,
    split_after: int,
    review_after: int,
    state: Int64,
    ids: Int32,
    vectors: Float32,
    counts: Int64,
    spread: Float64,
) -> None:
    """Sequential k-means over `many` (n, d), one after the other.

    `state` = (vectors taken, births and deaths, next id, living); `ids` (C, 2) id and parent; `counts` (C, 3)
    vectors taken in all, since the last split, of late; `spread` (C,) mean distance to the vectors taken.
    """
    unit = np.empty(many.shape[1], np.float32)
    for row in range(many.shape[0]):
        if not to_unit(many[row], unit):
            continue
        state[0] += 1
        place, distance = nearest(unit, vectors, state[3])
        if place < 0:
            spread[0] = 0.0
            _give_birth(unit, 0, state, ids, vectors, counts)
            continue
        counts[place] += 1
        # Only a cluster about as wide as the widest splits: a tight one has nothing to tell apart.
        is_far = distance > spread[place] >= 0.8 * spread[: state[3]].max()
        rate = 1.0 / min(counts[place, 0], memory)
        spread[place] += rate * (distance - spread[place])
        if is_far and distance > 0.0 and state[3] < ids.shape[0] and counts[place, 1] >= split_after:
            counts[place, 1] = 0
            spread[state[3]] = 0.0
            _give_birth(unit, ids[place, 0], state, ids, vectors, counts)
        else:
            for j in range(unit.size):
                vectors[place, j] += np.float32(rate * (float(unit[j]) - float(vectors[place, j])))
        if state[0] % review_after == 0:
            _bury_weakest(state, ids, vectors, counts, spread)


@kernel
def top_context(vector: Float32, centroids: Float32, n: int, k: int, tau: float) -> tuple[Int32, Float32]:
    """Indices (k,) of the largest inner products, best first, and their softmax with temperature tau (Eq.
    10)."""
    chosen, products = np.full(k, -1, np.int32), np.full(k, -np.inf)
    for i in range(n):
        product = 0.0
        for j in range(vector.size):
            product += float(vector[j]) * float(centroids[i, j])
        if product <= products[k - 1]:
            continue
        place = k - 1
        while place > 0 and products[place - 1] < product:
            products[place], chosen[place] = products[place - 1], chosen[place - 1]
            place -= 1
        products[place], chosen[place] = product, i
    weights: Float64 = np.exp((products - products[0]) / tau)
    return chosen, (weights / weights.sum()).astype(np.float32)
