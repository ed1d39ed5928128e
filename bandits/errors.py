"""What can go wrong in the bandits room.

FreshetError
└── PolicyError    a policy, graph or slate was given something it cannot work with
"""

from __future__ import annotations

from stream.errors import FreshetError

__all__ = ["PolicyError"]


class PolicyError(FreshetError):
    """A setting, shape or frame that a policy, graph or slate cannot work with."""
