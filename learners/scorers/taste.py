"""How well an item's vector fits the user's."""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from learners.ask import Ask
from learners.world import World

__all__ = ["Settings", "Taste", "build", "needs"]

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


class _Affinities(Protocol):
    def affinities(self, user: int, items: Int32) -> Float32: ...


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    weight: float = 0.0
    """Starting weight."""


class Taste:
    """The dot product of the user's and the item's vector; 0 for an unknown user or item.

    Example:
        >>> from learners import EmbeddingTable, MatrixFactorisation
        >>> scorer = Taste(Settings(), MatrixFactorisation(EmbeddingTable(2), EmbeddingTable(2)))
        >>> scorer.features(Ask(-1, 5), np.array([3], np.int32)).tolist()
        [[0.0]]
    """

    names = ("taste",)

    def __init__(self, settings: Settings, factorisation: _Affinities) -> None:
        self._factorisation = factorisation
        self.weights = (settings.weight,)

    def features(self, ask: Ask, rows: Int32) -> Float32:
        """See `learners.scorer.Scorer`."""
        return self._factorisation.affinities(ask.user, rows)[:, None]


def needs(settings: Settings) -> tuple[str, ...]:  # noqa: ARG001
    """The parts that it reads."""
    return ("mf",)


def build(settings: Settings, world: World) -> Taste:
    """Make it from the parts of this process."""
    return Taste(settings, world.parts["mf"])
