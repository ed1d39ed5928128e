"""What can go wrong among the learners.

FreshetError
└── LearnerError          a learner was built or fed with something it cannot use
    ├── ShapeError        an array has the wrong shape, length or dimension
    └── ReplicaError      a frame does not fit this learner (another kind, dimension or order)
"""

from __future__ import annotations

from stream.errors import FreshetError

__all__ = ["LearnerError", "ReplicaError", "ShapeError"]


class LearnerError(FreshetError):
    """A learner was built or fed with something it cannot use."""


class ShapeError(LearnerError):
    """An array has the wrong shape, length or dimension."""


class ReplicaError(LearnerError):
    """A frame does not fit this learner: another kind, dimension, or out of order."""
