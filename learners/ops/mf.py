"""Incremental implicit matrix factorisation: one pass over operations, in order, in machine code.

The score of user u and item i is z = m + b_u + b_i + p_u . q_i; the loss of a label y in {0, 1} is the
logistic one, so the error is e = y - 1 / (1 + exp(-z)), and with step a and shrinkage r

    q_i += a_i * (w e p_u - r q_i)      b_i += a_i * (w e - r b_i)
    p_u += a_u * (sum of w e q_i - r p_u)    b_u likewise

where every right side holds the values before the operation (so an item's owner can be handed the user's
vector and come to the same result). Steps are constant or AdaGrad's for a whole row: a / sqrt(G), with G the
sum of mean squared gradients. (Koren, Bell, Volinsky, IEEE Computer 2009, equations 5 to 7, with the logistic
loss.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

from learners.ops.hashing import mix, uniform
from learners.ops.table import mark

__all__ = ["Rates", "Side", "draw_negative", "learn_block", "score_rows"]

F = TypeVar("F", bound=Callable[..., Any])
Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


def _vector_kernel(function: F) -> F:
    # Sums over a vector may be re-associated, which lets them use vector registers. The compiled order is
    # fixed by `dim` alone, never by how operations are cut into blocks, so the same binary repeats its bits.
    flags = {"reassoc", "contract", "nsz", "arcp"}
    return cast(F, njit(cache=True, nogil=True, fastmath=flags)(function))


@_vector_kernel
def draw_negative(ring: Int32, counts: Int32, filled: int, power: float, key: np.uint64, avoid: int) -> int:
    """A row drawn from the recent positives `ring[:filled]` in proportion to its count there ^ `power`.

    A draw from the ring is proportional to counts (rows,); keeping it with probability count^(power - 1)
    makes it count^power. After eight refusals, or where only `avoid` and freed rows (-1) come, the answer is
    -1 or the last draw. `key` addresses the draw.
    """
    row = -1
    for attempt in range(8):
        at = int(uniform(key, np.uint64(2 * attempt)) * filled)
        candidate = ring[at]
        if candidate < 0 or candidate == avoid:
            continue
        row = candidate
        if uniform(key, np.uint64(2 * attempt + 1)) < float(counts[row]) ** (power - 1.0):
            return int(row)
    return int(row)


class Side(NamedTuple):
    """The columns of one side, users or items: all are indexed by row, `data` is (capacity, d).

    `squares` sums squared errors (AdaGrad); `moved_*` and `marked_*` are sets of touched rows (flags,
    members, size); `stamp` holds the number of the call that touched a row last, `met` and `n_met` that
    call's rows.
    """

    data: Float32
    bias: Float32
    squares: Float32
    version: Int64
    moved_flags: npt.NDArray[np.uint8]
    moved_rows: Int32
    moved_size: Int64
    marked_flags: npt.NDArray[np.uint8]
    marked_rows: Int32
    marked_size: Int64
    stamp: Int64
    met: Int32
    n_met: Int64


class Rates(NamedTuple):
    """Numbers that steer learning; see `MatrixFactorisation`."""

    rate: np.float32
    l2: np.float32
    mean: np.float32
    negative_weight: np.float32
    shown_weight: np.float32
    examination: float
    power: float
    negatives: int
    is_adaptive: bool
    seed: np.uint64


@_vector_kernel
def _note(side: Side, row: int, call: int) -> None:
    side.version[row] += 1
    if side.stamp[row] == call:
        return
    side.stamp[row] = call
    side.met[side.n_met[0]] = row
    side.n_met[0] += 1
    mark(side.moved_flags, side.moved_rows, side.moved_size, row)
    mark(side.marked_flags, side.marked_rows, side.marked_size, row)


@_vector_kernel
def _learn_item(
    users: Side, items: Side, u: int, i: int, label: np.float32, weight: np.float32, rates: Rates,
    pull: Float32,
) -> None:  # fmt: skip
    """One sample: move the item, and add what the user owes to `pull` (d + 2,): gradient, bias, squares."""
    dim = users.data.shape[1]
    z = rates.mean + users.bias[u] + items.bias[i]
    for d in range(dim):
        z += users.data[u, d] * items.data[i, d]
    z = min(max(z, np.float32(-30.0)), np.float32(30.0))
    error = weight * (label - np.float32(1.0) / (np.float32(1.0) + np.exp(-z)))
    rate = rates.rate
    if rates.is_adaptive:
        items.squares[i] += error * error
        rate /= np.sqrt(np.float32(1.0) + items.squares[i])
    keep = np.float32(1.0) - rate * rates.l2
    push = rate * error
    for d in range(dim):
        q = items.data[i, d]
        pull[d] += error * q
        items.data[i, d] = keep * q + push * users.data[u, d]
    items.bias[i] = keep * items.bias[i] + push
    pull[dim] += error
    pull[dim + 1] += error * error


@_vector_kernel
def _learn_user(users: Side, u: int, rates: Rates, pull: Float32) -> None:
    """Move the user by what its samples summed up in `pull`, and empty `pull`."""
    dim = users.data.shape[1]
    rate = rates.rate
    if rates.is_adaptive:
        users.squares[u] += pull[dim + 1]
        rate /= np.sqrt(np.float32(1.0) + users.squares[u])
    keep = np.float32(1.0) - rate * rates.l2
    for d in range(dim):
        users.data[u, d] = keep * users.data[u, d] + rate * pull[d]
    users.bias[u] = keep * users.bias[u] + rate * pull[dim]
    for d in range(dim + 2):
        pull[d] = np.float32(0.0)


@_vector_kernel
def _remember(ring: Int32, counts: Int32, cursor: Int64, row: int) -> None:
    head = cursor[0]
    if cursor[1] == ring.size and ring[head] >= 0:
        counts[ring[head]] -= 1
    ring[head] = row
    counts[row] += 1
    cursor[0] = (head + 1) % ring.size
    cursor[1] = min(cursor[1] + 1, ring.size)


@_vector_kernel
def _learn_positive(
    users: Side, items: Side, u: int, i: int, ring: Int32, counts: Int32, cursor: Int64, rates: Rates,
    pull: Float32, call: int,
) -> int:  # fmt: skip
    """A click: one positive sample and `negatives` drawn ones; returns the samples learned."""
    n = 1
    _learn_item(users, items, u, i, np.float32(1.0), np.float32(1.0), rates, pull)
    _note(items, i, call)
    for draw in range(rates.negatives):
        key = mix(rates.seed, np.uint64(cursor[2] * 64 + draw))
        j = draw_negative(ring, counts, cursor[1], rates.power, key, i)
        if j >= 0:
            _learn_item(users, items, u, j, np.float32(0.0), rates.negative_weight, rates, pull)
            _note(items, j, call)
            n += 1
    _learn_user(users, u, rates, pull)
    _note(users, u, call)
    return n


@_vector_kernel
def learn_block(
    kind: npt.NDArray[np.int8],
    first: npt.NDArray[np.bool_],
    slate: Int32,
    user: Int32,
    item: Int32,
    start: Int32,
    shown: Int32,
    rewards: Float32,
    users: Side,
    items: Side,
    ring: Int32,
    counts: Int32,
    cursor: Int64,
    rates: Rates,
    call: int,
) -> int:
    """Learn a block's operations in order; returns the samples learned.

    `cursor` (3,): head and length of the ring of recent positives, and the number of positives so far, which
    addresses the draws of negatives.
    """
    pull = np.zeros(users.data.shape[1] + 2, np.float32)
    samples = 0
    for o in range(kind.size):
        u, i = user[o], item[o]
        if kind[o] == 3 or (kind[o] == 1 and first[o]):
            if u >= 0 and i >= 0:
                samples += _learn_positive(users, items, u, i, ring, counts, cursor, rates, pull, call)
            if i >= 0:
                _remember(ring, counts, cursor, i)
            cursor[2] += 1
        elif kind[o] == 2 and u >= 0 and rates.shown_weight > 0:
            begin, before = start[slate[o]], samples
            for n in range(begin, start[slate[o] + 1]):
                if shown[n] >= 0 and rewards[n] <= 0:
                    weight = rates.shown_weight * np.float32(float(n - begin + 1) ** -rates.examination)
                    _learn_item(users, items, u, shown[n], np.float32(0.0), weight, rates, pull)
                    _note(items, shown[n], call)
                    samples += 1
            if samples > before:
                _learn_user(users, u, rates, pull)
                _note(users, u, call)
    return samples


@_vector_kernel
def score_rows(p: Float32, bias: float, data: Float32, item_bias: Float32, rows: Int32) -> Float32:
    """Scores (n,) of item `rows` for the user vector `p` (d,); NaN for negative rows."""
    out = np.empty(rows.size, np.float32)
    for n in range(rows.size):
        if rows[n] < 0:
            out[n] = np.float32(np.nan)
            continue
        total = np.float32(bias) + item_bias[rows[n]]
        for d in range(p.size):
            total += p[d] * data[rows[n], d]
        out[n] = total
    return out
