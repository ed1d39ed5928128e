"""Who likes what: embedding tables, factors, popularity, co-occurrence, histories, the ranker."""

from __future__ import annotations

from learners.admission import Admission
from learners.base import Learner
from learners.catalogue import Catalogue
from learners.encode import encode
from learners.errors import LearnerError, ReplicaError, ShapeError
from learners.part import Column, Part, PartSpec, Table
from learners.parts.cooccurrence import CoOccurrence
from learners.parts.factorisation import MatrixFactorisation, TouchedRows
from learners.parts.history import Histories, Pairs
from learners.parts.popularity import Popularity
from learners.parts.ranker import Ranker
from learners.rows import RowBlock
from learners.table import EmbeddingTable

__all__ = [
    "Admission",
    "Catalogue",
    "CoOccurrence",
    "Column",
    "EmbeddingTable",
    "Histories",
    "Learner",
    "LearnerError",
    "MatrixFactorisation",
    "Pairs",
    "Part",
    "PartSpec",
    "Popularity",
    "Ranker",
    "ReplicaError",
    "RowBlock",
    "ShapeError",
    "Table",
    "TouchedRows",
    "encode",
]
