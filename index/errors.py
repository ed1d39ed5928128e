"""What can go wrong in the index room.

VectorIndexError
├── IndexInputError   an argument is not what the index takes; nothing was changed
├── IndexFullError    a row number lies beyond the reserved room
└── GraphLayoutError  the graph builder's memory is not laid out as this program reads it
"""

from __future__ import annotations

from stream.errors import FreshetError

__all__ = ["GraphLayoutError", "IndexFullError", "IndexInputError", "VectorIndexError"]


class VectorIndexError(FreshetError):
    """Root of the errors of a vector index."""


class IndexInputError(VectorIndexError):
    """An argument has another type, shape or value than the index takes; nothing was changed."""


class IndexFullError(VectorIndexError):
    """A row number lies beyond `max_rows`, the room that was reserved when the index was made."""


class GraphLayoutError(VectorIndexError):
    """The graph builder's exported memory fails a check; the graph was not taken over."""
