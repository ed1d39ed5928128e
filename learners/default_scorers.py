"""The scorers that are there when the settings name none."""

from __future__ import annotations

from learners.parts.cooccurrence import CoOccurrence
from learners.parts.factorisation import MatrixFactorisation
from learners.parts.popularity import Popularity
from learners.scorer import Scorer

__all__ = ["default_scorers"]


def default_scorers(
    popularity: Popularity, cooccurrence: CoOccurrence, mf: MatrixFactorisation
) -> list[Scorer]:
    """Popularity, co-occurrence twice, and taste, as their own settings have them by default."""
    # Imported here: a process has the kinds that it was told to run.
    from learners.scorers import popular, taste, together, together_by_history

    return [
        popular.Popular(popular.Settings(), popularity),
        together.Together(together.Settings(), cooccurrence),
        together_by_history.TogetherByHistory(together_by_history.Settings(), cooccurrence),
        taste.Taste(taste.Settings(), mf),
    ]
