"""Who is near, now: rows of vectors that move while they are searched.

`LiveIndex` serves, `ExactIndex` is the oracle, both behind `VectorIndex`. The space is cosine: a row counts
as if it had unit length, because inner product is no metric, and the norm is left to the ranker.
`Maintenance` keeps links and recall good in a background thread; `save_index` and `load_index` keep an index
on disk.
"""

from __future__ import annotations

from index.base import Answers, Mask, VectorIndex
from index.errors import GraphLayoutError, IndexFullError, IndexInputError, VectorIndexError
from index.exact import ExactIndex
from index.live import LiveIndex
from index.maintenance import Maintenance
from index.quality import Recall, RecallProbe
from index.relinker import Relinked, Relinker
from index.settings import LiveSettings
from index.snapshot import load_index, save_index
from index.warm_search import warm_up

__all__ = [
    "Answers",
    "ExactIndex",
    "GraphLayoutError",
    "IndexFullError",
    "IndexInputError",
    "LiveIndex",
    "LiveSettings",
    "Maintenance",
    "Mask",
    "Recall",
    "RecallProbe",
    "Relinked",
    "Relinker",
    "VectorIndex",
    "VectorIndexError",
    "load_index",
    "save_index",
    "warm_up",
]
