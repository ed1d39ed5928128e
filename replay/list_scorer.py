"""Who orders a list while a log is replayed: by scores of its items, or of their features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stream.blocks import Slate

__all__ = ["FeatureScorer", "ListScorer"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


class ListScorer(Protocol):
    """The current state as somebody who orders a list; reading it changes nothing."""

    def scores(self, slate: Slate, ts: int, *, as_logged: bool = False) -> Float64:
        """Scores (n,) of the slate's items for its user at `ts` (ms), higher first; of two, the difference is
        the logarithm of how much likelier a click is. Not finite: nothing is known of the item.

        `as_logged` asks for the features that the decision logged, as far as they can be read: the client
        named the candidates, and in which order they came only those tell."""


class FeatureScorer(Protocol):
    """The same, taken apart: features of the items, and what they come to."""

    @property
    def features(self) -> Mapping[str, Sequence[str]]:
        """The names of the features in their order, by the scorer that they come from."""

    @property
    def shares(self) -> Mapping[str, float]:
        """The share that each of the orders it mixes has in its own now, the largest first; none if it mixes
        none."""

    def list_features(self, slate: Slate, ts: int, *, as_logged: bool = False) -> Float32:
        """Features (n, F) of the slate's items at `ts` (ms), or as the decision logged them; NaN is
        missing."""

    def score(self, features: Float32) -> Float64:
        """Scores (n,) of features (n, F) by the weights of now; not finite where all are missing."""
