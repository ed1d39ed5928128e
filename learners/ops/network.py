"""A small network of fully connected layers in one flat array: starting it, asking it, and a step of it.

    h_0 = x,   h_l = max(0, [h_(l-1), 1] W_l) for the hidden layers,   f = [h_L, 1] v

`widths` holds the numbers of inputs and of units by layer, `offsets` where each matrix begins in `weights`.
The loops run over units, not over sums, so that they fill wide registers and every sum keeps its order.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from learners.ops.hashing import mix, uniform
from stream.kernel import kernel

__all__ = [
    "CENTRE",
    "activate",
    "draw_signs",
    "fill_inputs",
    "find_slots",
    "initial_weights",
    "learn_head",
    "mask_inactive",
    "move_weights",
    "predict",
    "take_slots",
]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]

_PROBES = 64
"""Places of the slot table that are looked at for one key."""

CENTRE = 0.5
"""Taken from each unit: a mean that all units have would let one direction decide how long a step may be."""

_ZERO, _CENTRE = np.float32(0.0), np.float32(CENTRE)
_LANES = 32
"""Signs in one word; so many sums run beside each other."""


# --- items by slot ---


@kernel
def _find_slot(keys: UInt64, key: np.uint64) -> np.int64:
    """The slot of an item's key: its own, that of others where all near its home are taken, or -1 for a key
    that has none yet, and for 0."""
    if key == 0 or keys.size == 0:
        return np.int64(-1)
    home = np.int64(key % np.uint64(keys.size))
    for i in range(min(_PROBES, keys.size)):
        at = (home + i) % keys.size
        if keys[at] == key:
            return at
        if keys[at] == 0:
            return np.int64(-1)
    return home


@kernel
def _take_slot(keys: UInt64, key: np.uint64) -> np.int64:
    """As `_find_slot`, and a key that has none takes a free one."""
    slot = _find_slot(keys, key)
    if slot >= 0 or key == 0 or keys.size == 0:
        return slot
    at = np.int64(key % np.uint64(keys.size))
    while keys[at] != 0:  # `_find_slot` has met a free one on this way
        at = (at + 1) % keys.size
    keys[at] = key
    return at


@kernel
def find_slots(keys: UInt64, wanted: UInt64) -> Int32:
    """Slots (n,) of items' keys (n,); -1 for none.

    Example:
        >>> keys = np.zeros(4, np.uint64)
        >>> take_slots(keys, np.array([6, 10, 0], np.uint64)).tolist()
        [2, 3, -1]
        >>> find_slots(keys, np.array([10, 7, 4], np.uint64)).tolist()
        [3, -1, -1]
    """
    out = np.empty(wanted.size, np.int32)
    for i in range(wanted.size):
        out[i] = _find_slot(keys, wanted[i])
    return out


@kernel
def take_slots(keys: UInt64, wanted: UInt64) -> Int32:
    """As `find_slots`, in order; keys that have none take free ones."""
    out = np.empty(wanted.size, np.int32)
    for i in range(wanted.size):
        out[i] = _take_slot(keys, wanted[i])
    return out


# --- inputs ---


@kernel
def _squash(value: float, mean: float, scale: float, most: float) -> np.float32:
    """A feature on the scale of the others, within -most..most; 0 for a missing one (NaN)."""
    if math.isnan(value):
        return np.float32(0.0)
    z = (value - mean) / scale
    return np.float32(min(max(z, -most), most))


@kernel
def fill_inputs(
    x: Float32,
    features: Float32,
    n_request: int,
    slots: Int32,
    n_slots: int,
    crossed: bool,
    mean: Float32,
    scale: Float32,
    most: float,
) -> None:
    """Write the inputs (n, D) of places into `x` (m, D + 1), n <= m, whose last column is 1.

    `features` (n, R + F) raw, those of the request first. Inputs are these on one scale, then the share of
    features that are missing, a 1 in the item's slot, and, `crossed`, the request's features in the block of
    that slot.
    """
    n_features = features.shape[1]
    for i in range(features.shape[0]):
        row = x[i]
        row[:-1] = 0.0
        missing = 0
        for j in range(n_features):
            missing += math.isnan(features[i, j])
            row[j] = _squash(features[i, j], mean[j], scale[j], most)
        row[n_features] = np.float32(missing / max(n_features, 1))
        slot = slots[i]
        if slot >= 0:
            row[n_features + 1 + slot] = 1.0
            if crossed:
                first = n_features + 1 + n_slots + slot * n_request
                for j in range(n_request):
                    row[first + j] = row[j]


# --- asking ---


@kernel
def _add(h: Float32, amount: np.float32, row: Float32) -> None:
    """h += amount row, without an array between."""
    for k in range(h.size):
        h[k] += amount * row[k]


@kernel
def predict(
    weights: Float32,
    offsets: Int64,
    widths: Int64,
    request: Float32,
    others: Float32,
    slots: Int32,
    n_slots: int,
    crossed: bool,
    mean: Float32,
    scale: Float32,
    most: float,
) -> Float32:
    """Outputs f (n,) for n candidates of one request; as a pass through `fill_inputs`, without the zeros.

    `request` (R,) raw, `others` (n, F) raw features of the candidates.
    """
    n_request, n_others, m = request.size, others.shape[1], widths[1]
    n_features = n_request + n_others
    first = weights[offsets[0] : offsets[0] + (widths[0] + 1) * m].reshape((widths[0] + 1, m))
    z, missing = np.empty(n_request, np.float32), 0
    base = first[widths[0]].copy()  # the bias, and what the request alone adds: the same for all
    for j in range(n_request):
        missing += math.isnan(request[j])
        z[j] = _squash(request[j], mean[j], scale[j], most)
        if z[j] != 0.0:
            _add(base, z[j], first[j])
    out = np.empty(slots.size, np.float32)
    width = widths[1:].max()
    here, there = np.empty(width, np.float32), np.empty(width, np.float32)
    for i in range(slots.size):
        h, n_missing = here[:m], missing
        h[:] = base
        for j in range(n_others):
            n_missing += math.isnan(others[i, j])
            at = n_request + j
            value = _squash(others[i, j], mean[at], scale[at], most)
            if value != 0.0:
                _add(h, value, first[at])
        if n_missing:
            _add(h, np.float32(n_missing / n_features), first[n_features])
        if slots[i] >= 0:
            _add(h, np.float32(1.0), first[n_features + 1 + slots[i]])
            if crossed:
                block = n_features + 1 + n_slots + slots[i] * n_request
                for j in range(n_request):
                    if z[j] != 0.0:
                        _add(h, z[j], first[block + j])
        out[i] = _through(weights, offsets, widths, here, there)
    return out


@kernel
def _through(weights: Float32, offsets: Int64, widths: Int64, here: Float32, there: Float32) -> np.float32:
    """The output, from what the first layer adds up; both arrays are written."""
    n_layers = widths.size - 1
    for layer in range(1, n_layers):
        n_in, n_out = widths[layer], widths[layer + 1]
        matrix = weights[offsets[layer] : offsets[layer] + (n_in + 1) * n_out].reshape((n_in + 1, n_out))
        h = there[:n_out]
        h[:] = matrix[n_in]
        for j in range(n_in):
            _add(h, max(here[j], _ZERO) - _CENTRE, matrix[j])
        here, there = there, here
    n_in = widths[n_layers]
    head = weights[offsets[n_layers] : offsets[n_layers] + n_in + 1]
    f = np.float32(head[n_in])
    for j in range(n_in):
        f += (max(here[j], _ZERO) - _CENTRE) * head[j]
    return f


# --- learning ---


@kernel
def initial_weights(
    weights: Float32, offsets: Int64, widths: Int64, n_active: int, bias: float, key: np.uint64
) -> None:
    """Start: hidden weights uniform with variance 2 / (inputs that are not 0), `n_active` of the first layer;
    biases 0; the head 0 with bias `bias`, so that at first every item is predicted alike. Numbers are those
    of counters."""
    weights[:] = 0.0
    n_layers = widths.size - 1
    for layer in range(n_layers):
        n_in, n_out = widths[layer], widths[layer + 1]
        span = math.sqrt(24.0 / (n_active if layer == 0 else n_in))
        for at in range(n_in * n_out):
            where = offsets[layer] + at
            weights[where] = np.float32((uniform(key, np.uint64(where)) - 0.5) * span)
    weights[offsets[n_layers] + widths[n_layers]] = bias


@kernel
def _sign(bits: np.int32, j: int) -> np.float32:
    """+1 or -1, as bit j says; in 32 bits, which are turned into floats by whole registers."""
    return np.float32(1.0) - np.float32(2.0) * np.float32((bits >> np.int32(j)) & np.int32(1))


@kernel
def draw_signs(
    weights: Float32, start: Float32, key: np.uint64, scale: np.float32, signs: UInt32, sums: Float32
) -> None:
    """Signs of S draws, one bit a weight, into `signs` (S, words), and `scale` times the sum over weights of
    (weights - start) sign into `sums` (S,)."""
    n_words = signs.shape[1]
    moved = np.empty(weights.size, np.float32)
    for i in range(weights.size):
        moved[i] = weights[i] - start[i]
    lane = np.empty(_LANES, np.float32)
    for s in range(signs.shape[0]):
        # Words first: a loop that only draws and one that only adds are both compiled to whole registers.
        for word in range(n_words):
            signs[s, word] = np.uint32(mix(key, np.uint64(s * n_words + word)) >> np.uint64(32))
        lane[:] = 0.0
        for word in range(n_words):
            bits, low = np.int32(signs[s, word]), word * _LANES
            for j in range(_LANES):
                lane[j] += _sign(bits, j) * moved[low + j]
        total = np.float32(0.0)
        for j in range(_LANES):
            total += lane[j]
        sums[s] = scale * total


@kernel
def learn_head(
    hidden: Float32,
    head: Float32,
    losses: Float32,
    amounts: Float32,
    shifts: Float32,
    logistic: bool,
    head_gradient: Float32,
    hidden_gradient: Float32,
    shift_gradient: Float32,
) -> float:
    """The last layer of a step: outputs, the loss and where it falls; returns the mean loss.

    `hidden` (n, m + 1) with its column of 1, `losses` (n,) the targets in 0..1, `amounts` (n,) how much each
    counts, `shifts` (S,) what the perturbation adds to the output in each draw; an example's loss is the mean
    over draws: half the squared error, or, `logistic`, the cross-entropy of a sigmoid. Gradients of the
    weighted mean are written: of the head (m + 1,), of hidden units that are active (n, m), of shifts (S,).
    """
    n, m, n_draws = hidden.shape[0], hidden.shape[1] - 1, shifts.size
    total, amount = 0.0, 0.0
    for i in range(n):
        amount += amounts[i]
    head_gradient[:] = 0.0
    shift_gradient[:] = 0.0
    for i in range(n):
        f = np.float32(0.0)
        for j in range(m + 1):
            f += hidden[i, j] * head[j]
        slope, share = np.float32(0.0), np.float32(amounts[i] / (amount * n_draws))
        for s in range(n_draws):
            out = f + shifts[s]
            if logistic:
                # log(1 + e^-|f|) does not overflow, whatever f is.
                small = math.exp(-abs(out))
                p = 1.0 / (1.0 + small) if out >= 0.0 else small / (1.0 + small)
                total += share * (max(out, 0.0) - out * losses[i] + math.log1p(small))
                fall = np.float32(p - losses[i])
            else:
                fall = out - losses[i]
                total += share * 0.5 * fall * fall
            slope += fall * share
            shift_gradient[s] += fall * share
        for j in range(m + 1):
            head_gradient[j] += slope * hidden[i, j]
        for j in range(m):
            hidden_gradient[i, j] = slope * head[j] if hidden[i, j] > -_CENTRE else _ZERO
    return total


@kernel
def activate(units: Float32) -> None:
    """max(0, z) - CENTRE of units (n, m + 1); the last column is the 1 that biases go by."""
    for i in range(units.shape[0]):
        for j in range(units.shape[1] - 1):
            units[i, j] = max(units[i, j], _ZERO) - _CENTRE


@kernel
def mask_inactive(gradient: Float32, hidden: Float32) -> None:
    """What reaches units (n, m) that are not active ends there."""
    for i in range(gradient.shape[0]):
        for j in range(gradient.shape[1]):
            if hidden[i, j] <= -_CENTRE:
                gradient[i, j] = 0.0


@kernel
def move_weights(
    weights: Float32,
    start: Float32,
    gradient: Float32,
    signs: UInt32,
    shares: Float32,
    scale: np.float32,
    gaps: Int64,
    rate: float,
    radius: float,
) -> float:
    """One step down the gradient, S draws of signs times `scale` `shares` added to it, and back into the
    ball of `radius` around `start`; returns how far from there the weights are, before they are put back.
    `gaps` (n, 2) between matrices are no weights, and stay as they are."""
    for s in range(signs.shape[0]):
        share = scale * shares[s]
        for word in range(weights.size // _LANES):
            bits, low = np.int32(signs[s, word]), word * _LANES
            for j in range(_LANES):
                gradient[low + j] += _sign(bits, j) * share
    for i in range(gaps.shape[0]):
        gradient[gaps[i, 0] : gaps[i, 1]] = 0.0
    lanes, rate32 = np.zeros(_LANES, np.float32), np.float32(rate)
    for word in range(weights.size // _LANES):
        low = word * _LANES
        for j in range(_LANES):
            weights[low + j] -= rate32 * gradient[low + j]
            away = weights[low + j] - start[low + j]
            lanes[j] += away * away
    total = 0.0
    for j in range(_LANES):
        total += lanes[j]
    distance = math.sqrt(total)
    if distance > radius:
        back = np.float32(radius / distance)
        for i in range(weights.size):
            weights[i] = start[i] + back * (weights[i] - start[i])
    return distance
