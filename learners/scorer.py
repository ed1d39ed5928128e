"""What a scorer is: features of (request, candidate) that the ranker weighs."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from learners.ask import Ask

__all__ = ["Renamed", "Scorer"]

Int32 = npt.NDArray[np.int32]
Floats = npt.NDArray[np.floating[Any]]


class Scorer(Protocol):
    """Some features of each candidate; kinds are the modules of `learners.scorers`.

    `names` are those of its features, and `weights` what each starts at. A name stands for a meaning: the
    ranker's weights, snapshots and logged decisions go by it, so what means something else has another name.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its F features."""

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights (F,) that they start at."""

    def features(self, ask: Ask, rows: Int32) -> Floats:
        """Features (n, F) of candidate item `rows` (n,), -1 for an unknown item; they are logged and learned
        as float32. NaN stands for what is missing, which the ranker weighs by itself; no feature is
        infinite."""


class Renamed:
    """A scorer whose features have another name in front, so that two of one kind can stand side by side.

    Example:
        >>> from learners.scorers.taste import Settings, Taste
        >>> Renamed(Taste(Settings(), None), "mine").names
        ('mine.taste',)
    """

    def __init__(self, scorer: Scorer, name: str) -> None:
        self._scorer = scorer
        self.names = tuple(f"{name}.{each}" for each in scorer.names)
        self.weights = scorer.weights

    def features(self, ask: Ask, rows: Int32) -> Floats:
        """Those of the scorer."""
        return self._scorer.features(ask, rows)
