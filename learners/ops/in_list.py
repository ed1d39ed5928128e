"""How a number of each item stands among those of its list."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel

__all__ = ["place_features", "standing"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@kernel
def place_features(out: Float32) -> None:
    """Fill the first two of `out` (n, F): minus the log of the place, counted from 1, and whether it is the
    first."""
    for n in range(out.shape[0]):
        out[n, 0] = 0.0 - np.log(n + 1.0)
        out[n, 1] = 1.0 if n == 0 else 0.0


@kernel
def standing(values: Float64, out: Float32) -> None:
    """Fill `out` (n, 2 S) for `values` (S, n): minus the log of 1 + how many lie below, and how many standard
    deviations above the mean, of sign(x) log(1 + |x|): so 1e300 is a large number and not all of them.

    NaN where a number is missing or not finite. Where all are equal they are at the mean.
    """
    n_all = values.shape[1]
    known, logs = np.empty(n_all), np.empty(n_all)
    for s in range(values.shape[0]):
        n_known, total = 0, 0.0
        for n in range(n_all):
            x = values[s, n]
            if np.isfinite(x):
                logs[n] = np.log1p(abs(x)) if x >= 0 else -np.log1p(abs(x))
                known[n_known] = x
                n_known += 1
                total += logs[n]
        ordered = np.sort(known[:n_known])
        mean, squares = total / max(n_known, 1), 0.0
        for n in range(n_all):
            if np.isfinite(values[s, n]):
                squares += (logs[n] - mean) ** 2
        deviation = np.sqrt(squares / max(n_known, 1))
        for n in range(n_all):
            if not np.isfinite(values[s, n]):
                out[n, 2 * s], out[n, 2 * s + 1] = np.nan, np.nan
                continue
            below = np.searchsorted(ordered, values[s, n])
            out[n, 2 * s] = 0.0 - np.log(1.0 + below)
            # What rounding leaves of equal numbers is no deviation.
            is_spread = deviation > 1e-9 * (1.0 + abs(mean))
            out[n, 2 * s + 1] = (logs[n] - mean) / deviation if is_spread else 0.0
