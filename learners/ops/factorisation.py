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

from learners.ops.hashing import mix
from learners.ops.prefetch import prefetch, prefetch_row
from stream.ops.kinds import CLICK, CLOSED, ORGANIC

__all__ = ["Rates", "Trace", "dots", "draw_negative", "learn_block", "learn_samples", "score_rows"]

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
def draw_negative(ring: Int32, counts: Int32, filled: int, keep: Float32, key: np.uint64, avoid: int) -> int:
    """A row drawn from the recent positives `ring[:filled]` in proportion to its count there ^ power.

    A draw from the ring is proportional to counts (rows,); keeping it with probability `keep[count]` =
    count^(power - 1) makes it count^power. Counts beyond the table's end are kept like the last. After eight
    refusals the last draw is taken; -1 where only `avoid` and freed rows (-1) came. `key` addresses the draw.
    """
    row = -1
    for attempt in range(8):
        bits = mix(key, np.uint64(attempt))
        # Upper half of the bits times the length, shifted back: uniform without a division.
        at = int(np.int64(bits >> np.uint64(32)) * np.int64(filled) >> np.int64(32))
        candidate = ring[at]
        if candidate < 0 or candidate == avoid:
            continue
        row = candidate
        # The lower 24 bits, all that a float32 in [0, 1) can tell apart.
        low = np.float32(np.int64(bits & np.uint64(0xFFFFFF))) * np.float32(1.0 / 16_777_216.0)
        if low < keep[min(counts[row], keep.size - 1)]:
            break
    return int(row)


class Rates(NamedTuple):
    """Numbers that steer learning; see `MatrixFactorisation`."""

    rate: np.float32
    l2: np.float32
    mean: np.float32
    negative_weight: np.float32
    shown_weight: np.float32
    examination: float
    negatives: int
    is_adaptive: bool
    seed: np.uint64


class Trace(NamedTuple):
    """Where `learn_block` writes down what it sampled; with room for nothing it writes nothing down.

    `users` (U, d) and `bias` (U,): the user of an operation as it was before; `user`, `item`, `label`,
    `weight` (S,): for each sample its number in `users`, its row, and what it was learned with. `used` (2,):
    operations and samples written.
    """

    users: Float32
    bias: Float32
    user: Int32
    item: Int32
    label: Float32
    weight: Float32
    used: Int64


# The helpers below take plain arrays: a tuple of arrays costs a reference count an array and call.
@_vector_kernel
def _note(version: Int64, stamp: Int64, met: Int32, n_met: int, row: int, call: int) -> int:
    """Count an update of `row` and list it if this call meets it first; returns how many are listed."""
    version[row] += 1
    if stamp[row] != call:
        stamp[row] = call
        met[n_met] = row
        n_met += 1
    return n_met


@_vector_kernel
def _learn_item(
    p: Float32, q: Float32, p_state: Float32, q_state: Float32, u: int, i: int, label: np.float32,
    weight: np.float32, rates: Rates, pull: Float32,
) -> None:  # fmt: skip
    """One sample: move the item, and add what the user owes to `pull` (d + 2,): gradient, bias, squares."""
    dim = p.shape[1]
    z = rates.mean + p_state[u, 0] + q_state[i, 0]
    for d in range(dim):
        z += p[u, d] * q[i, d]
    # Beyond 30 the sigmoid is 0 or 1 in float32; the bound keeps exp from overflowing.
    z = min(max(z, np.float32(-30.0)), np.float32(30.0))
    error = weight * (label - np.float32(1.0) / (np.float32(1.0) + np.exp(-z)))
    rate = rates.rate
    if rates.is_adaptive:
        q_state[i, 1] += error * error
        rate /= np.sqrt(np.float32(1.0) + q_state[i, 1])
    keep = np.float32(1.0) - rate * rates.l2
    push = rate * error
    for d in range(dim):
        # The user's gradient uses the item as it was: both sides step from the same point.
        old = q[i, d]
        pull[d] += error * old
        q[i, d] = keep * old + push * p[u, d]
    q_state[i, 0] = keep * q_state[i, 0] + push
    pull[dim] += error
    pull[dim + 1] += error * error


@_vector_kernel
def _learn_user(p: Float32, state: Float32, u: int, rates: Rates, pull: Float32) -> None:
    """Move the user by what its samples summed up in `pull`, and empty `pull`."""
    dim = p.shape[1]
    rate = rates.rate
    if rates.is_adaptive:
        state[u, 1] += pull[dim + 1]
        rate /= np.sqrt(np.float32(1.0) + state[u, 1])
    keep = np.float32(1.0) - rate * rates.l2
    for d in range(dim):
        p[u, d] = keep * p[u, d] + rate * pull[d]
    state[u, 0] = keep * state[u, 0] + rate * pull[dim]
    for d in range(dim + 2):
        pull[d] = np.float32(0.0)


@_vector_kernel
def _remember(ring: Int32, counts: Int32, cursor: Int64, row: int) -> None:
    head = cursor[0]
    # The ring is full: the oldest positive leaves the counts. A freed row is -1 and left them before.
    if cursor[1] == ring.size and ring[head] >= 0:
        counts[ring[head]] -= 1
    ring[head] = row
    counts[row] += 1
    cursor[0] = (head + 1) % ring.size
    cursor[1] = min(cursor[1] + 1, ring.size)


@_vector_kernel
def _lesson(kind: int, first: bool, reward: float) -> int:
    """1 for a click that is a positive, -1 for a dislike, 2 for a slate that closes, 0 for all else."""
    if kind == CLOSED:
        return 2
    if kind == ORGANIC or (kind == CLICK and first):
        return 1 if reward > 0.0 else (-1 if reward < 0.0 else 0)
    return 0


@_vector_kernel
def _pick_clicked(
    is_click: bool, item: int, ring: Int32, counts: Int32, cursor: Int64, keep: Float32, rates: Rates,
    picked: Int32, labels: Float32,
) -> int:  # fmt: skip
    """The samples of a click: the item, then drawn negatives; of a dislike the item alone. Returns how
    many."""
    picked[0], labels[0] = item, np.float32(1.0 if is_click else 0.0)
    n = 1
    if not is_click:
        return n
    for draw in range(rates.negatives):
        # Addressed by the number of the positive, so batches cut anywhere draw the same; `negatives` is at
        # most 64.
        key = mix(rates.seed, np.uint64(cursor[2] * 64 + draw))
        row = draw_negative(ring, counts, cursor[1], keep, key, item)
        if row >= 0:
            picked[n], labels[n] = row, np.float32(0.0)
            n += 1
    return n


@_vector_kernel
def _pick_shown(shown: Int32, rewards: Float32, begin: int, end: int, picked: Int32, places: Int32) -> int:
    """The samples of a closed slate: its places without a reward; returns how many."""
    n = 0
    for at in range(begin, end):
        if shown[at] >= 0 and rewards[at] <= 0:
            picked[n], places[n] = shown[at], at - begin
            n += 1
    return n


@_vector_kernel
def _prefetch(q: Float32, q_state: Float32, q_version: Int64, q_stamp: Int64, row: int) -> None:
    """Have what `_learn_item` and `_note` need of a row brought near."""
    if row < 0:
        return
    prefetch(q_state, row)
    prefetch(q_version, row)
    prefetch(q_stamp, row)
    prefetch_row(q, row)


@_vector_kernel
def _ask_ahead(
    o: int, kind: npt.NDArray[np.int8], slate: Int32, start: Int32, shown: Int32, user: Int32, p: Float32,
    q: Float32, q_state: Float32, q_version: Int64, q_stamp: Int64,
) -> None:  # fmt: skip
    """The same for the next operation, if it closes a slate: what a click draws is not known before."""
    if o + 1 < kind.size and kind[o + 1] == CLOSED:
        s = slate[o + 1]
        for at in range(start[s], start[s + 1]):
            _prefetch(q, q_state, q_version, q_stamp, shown[at])
        if user[o + 1] >= 0:
            prefetch_row(p, user[o + 1])


@_vector_kernel
def _weigh(
    lesson: int, n: int, places: Int32, falling: Float32, rates: Rates, labels: Float32, weights: Float32
) -> None:
    """Weights of the `n` samples of an operation; those of a closed slate, by place, are all negatives."""
    for m in range(n):
        if lesson == 2:
            labels[m], weights[m] = np.float32(0.0), falling[places[m]]
        else:
            weights[m] = np.float32(1.0) if m == 0 else rates.negative_weight


@_vector_kernel
def _write_down(
    p: Float32, p_state: Float32, u: int, picked: Int32, labels: Float32, weights: Float32, n: int,
    users: Float32, bias: Float32, user: Int32, item: Int32, label: Float32, weight: Float32, used: Int64,
) -> None:  # fmt: skip
    """Keep the `n` samples of one operation and its user as it is now, before they are learned."""
    number, at = used[0], used[1]
    for d in range(p.shape[1]):
        users[number, d] = p[u, d]
    bias[number] = p_state[u, 0]
    for m in range(n):
        user[at + m], item[at + m] = number, picked[m]
        label[at + m], weight[at + m] = labels[m], weights[m]
    used[0], used[1] = number + 1, at + n


@_vector_kernel
def learn_samples(
    users: Float32, bias: Float32, user: Int32, item: Int32, label: Float32, weight: Float32, q: Float32,
    q_state: Float32, q_version: Int64, q_stamp: Int64, q_met: Int32, rates: Rates, call: int,
) -> int:  # fmt: skip
    """The item's side of samples that somebody else drew, in order; returns how many rows it met.

    `users` (U, d) and `bias` (U,) are what `Trace` says. Rows of -1 are passed over.
    """
    p_state = np.zeros((bias.size, 2), np.float32)
    p_state[:, 0] = bias
    pull = np.zeros(users.shape[1] + 2, np.float32)  # what the user owes is its owner's affair
    n_items = 0
    for m in range(item.size):
        if item[m] >= 0:
            _learn_item(users, q, p_state, q_state, user[m], item[m], label[m], weight[m], rates, pull)
            n_items = _note(q_version, q_stamp, q_met, n_items, item[m], call)
    return n_items


@_vector_kernel
def learn_block(
    kind: npt.NDArray[np.int8], first: npt.NDArray[np.bool_], reward: npt.NDArray[np.float64], slate: Int32,
    user: Int32, item: Int32, start: Int32, shown: Int32, rewards: Float32, p: Float32, p_state: Float32,
    p_version: Int64, p_stamp: Int64, p_met: Int32, q: Float32, q_state: Float32, q_version: Int64, q_stamp:
    Int64, q_met: Int32, ring: Int32, counts: Int32, cursor: Int64, keep: Float32, rates: Rates, call: int,
    trace: Trace,
) -> tuple[int, int, int]:  # fmt: skip
    """Learn a block's operations in order; returns (user rows met, item rows met, samples learned).

    Vectors `p` (users, d) and `q` (items, d); states (rows, 2) hold bias and squared errors; `version` counts
    updates, `stamp` the call that met a row last, `met` that call's rows. `cursor` (3,): head and length of
    the ring of recent positives, and the number of positives so far, which addresses the draws of negatives.
    `keep` as in `draw_negative`; `trace` has room for every operation and sample, or for none.
    """
    widest = rates.negatives + 1
    for s in range(start.size - 1):
        widest = max(widest, start[s + 1] - start[s])
    picked, places = np.empty(widest, np.int32), np.empty(widest, np.int32)
    labels, pull = np.zeros(widest, np.float32), np.zeros(p.shape[1] + 2, np.float32)
    weights, is_traced = np.empty(widest, np.float32), trace.user.size > 0
    falling = np.empty(widest, np.float32)
    for place in range(widest):
        falling[place] = rates.shown_weight * np.float32((place + 1.0) ** -rates.examination)
    n_users, n_items, samples = 0, 0, 0
    for o in range(kind.size):
        u, i, n = user[o], item[o], 0
        lesson = _lesson(kind[o], first[o], reward[o])
        is_click = lesson == 1
        # A place without a click is a weak negative, and weaker the lower it stood: it may not have been
        # seen (position-based examination).
        if lesson == 2:
            if u >= 0 and rates.shown_weight > 0:
                n = _pick_shown(shown, rewards, start[slate[o]], start[slate[o] + 1], picked, places)
        elif lesson != 0 and u >= 0 and i >= 0:
            n = _pick_clicked(is_click, i, ring, counts, cursor, keep, rates, picked, labels)
        # Reads are asked for one operation early, so that they arrive while this one is computed.
        _ask_ahead(o, kind, slate, start, shown, user, p, q, q_state, q_version, q_stamp)
        if is_click:
            for m in range(n):
                _prefetch(q, q_state, q_version, q_stamp, picked[m])
        _weigh(lesson, n, places, falling, rates, labels, weights)
        if is_traced and n:
            _write_down(
                p, p_state, u, picked, labels, weights, n, trace.users, trace.bias, trace.user, trace.item,
                trace.label, trace.weight, trace.used,
            )  # fmt: skip
        for m in range(n):
            _learn_item(p, q, p_state, q_state, u, picked[m], labels[m], weights[m], rates, pull)
            n_items = _note(q_version, q_stamp, q_met, n_items, picked[m], call)
        if n:
            _learn_user(p, p_state, u, rates, pull)
            n_users = _note(p_version, p_stamp, p_met, n_users, u, call)
        if is_click:
            if i >= 0:
                _remember(ring, counts, cursor, i)
            cursor[2] += 1
        samples += n
    return n_users, n_items, samples


@_vector_kernel
def score_rows(p: Float32, bias: float, data: Float32, state: Float32, rows: Int32) -> Float32:
    """Scores (n,) of item `rows` for the user vector `p` (d,); NaN for negative rows."""
    out = np.empty(rows.size, np.float32)
    for n in range(rows.size):
        if rows[n] < 0:
            out[n] = np.float32(np.nan)
            continue
        total = np.float32(bias) + state[rows[n], 0]
        for d in range(p.size):
            total += p[d] * data[rows[n], d]
        out[n] = total
    return out


@_vector_kernel
def dots(p: Float32, data: Float32, size: int, rows: Int32) -> Float32:
    """Dot products (n,) of `p` (d,) with item `rows` of `data`; 0 for rows outside the first `size`."""
    out = np.zeros(rows.size, np.float32)
    for n in range(rows.size):
        total = np.float32(0.0)
        if 0 <= rows[n] < size:
            for d in range(p.size):
                total += p[d] * data[rows[n], d]
        out[n] = total
    return out
