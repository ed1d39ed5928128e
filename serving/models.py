"""What a worker needs of the learned parts: the same classes that the learner feeds, fed by its changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from bandits import Centroids, ClusterItemGraph, Policy
from learners import (
    Catalogue,
    CoOccurrence,
    EmbeddingTable,
    Histories,
    MatrixFactorisation,
    Popularity,
    Ranker,
)
from monitor import Measures
from stream.step import Replicated

__all__ = ["Models"]


class Models(Protocol):
    """The learned parts; `policies` by name, the default first."""

    users: EmbeddingTable
    items: EmbeddingTable
    catalogue: Catalogue
    mf: MatrixFactorisation
    popularity: Popularity
    cooccurrence: CoOccurrence
    history: Histories
    ranker: Ranker
    centroids: Centroids
    graph: ClusterItemGraph
    measures: Measures

    @property
    def policies(self) -> Mapping[str, Policy]:
        """The policies that a request may name."""

    def named(self) -> Mapping[str, Replicated]:
        """Every part by the name that it has in frames."""
