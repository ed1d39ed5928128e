"""Who likes what: embedding tables, factors, popularity, co-occurrence, histories, the ranker."""

from __future__ import annotations

from learners.admission import Admission
from learners.base import Learner
from learners.encode import encode
from learners.errors import LearnerError, ReplicaError, ShapeError
from learners.rows import RowBlock
from learners.table import EmbeddingTable

__all__ = [
    "Admission",
    "EmbeddingTable",
    "Learner",
    "LearnerError",
    "ReplicaError",
    "RowBlock",
    "ShapeError",
    "encode",
]
