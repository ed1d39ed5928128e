"""Who likes what: embedding tables, factors, popularity, co-occurrence, histories, the ranker."""

from __future__ import annotations

from learners.admission import Admission
from learners.ask import Ask, Listed
from learners.base import Learner
from learners.catalogue import Catalogue
from learners.default_scorers import default_scorers
from learners.encode import encode
from learners.errors import LearnerError, ReplicaError, ShapeError
from learners.feature_schema import FeatureSchemas
from learners.part import Column, Part, PartSpec, Table
from learners.parts.cooccurrence import CoOccurrence
from learners.parts.factorisation import MatrixFactorisation, TouchedRows
from learners.parts.history import Histories, Pairs
from learners.parts.popularity import Popularity
from learners.parts.ranker import Ranker
from learners.parts.table_columns import Counts, Vectors
from learners.rows import RowBlock
from learners.scorer import Renamed, Scorer
from learners.table import EmbeddingTable

__all__ = [
    "Admission",
    "Ask",
    "Catalogue",
    "CoOccurrence",
    "Column",
    "Counts",
    "EmbeddingTable",
    "FeatureSchemas",
    "Histories",
    "Learner",
    "LearnerError",
    "Listed",
    "MatrixFactorisation",
    "Pairs",
    "Part",
    "PartSpec",
    "Popularity",
    "Ranker",
    "Renamed",
    "ReplicaError",
    "RowBlock",
    "Scorer",
    "ShapeError",
    "Table",
    "TouchedRows",
    "Vectors",
    "default_scorers",
    "encode",
]
