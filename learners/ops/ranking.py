"""The ranker's score: one dot product for each candidate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel

__all__ = ["score_rows"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@kernel
def score_rows(features: Float32, weights: Float64, scores: Float64) -> None:
    """scores[n] = sum over k of weights[k] f[n, k], or weights[F + k] where f[n, k] is NaN: missing.

    `features` (n, F), `weights` (2 F,). An infinite feature makes a score that is not finite.
    """
    n_features = features.shape[1]
    for n in range(features.shape[0]):
        score = 0.0
        for k in range(n_features):
            feature = float(features[n, k])
            score += weights[n_features + k] if np.isnan(feature) else weights[k] * feature
        scores[n] = score
