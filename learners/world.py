"""What a part is built into: what all parts share, and the parts that it asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["World"]


@dataclass(frozen=True, slots=True)
class World:
    """The second argument of every `build(settings, world)`.

    Args:
        dim: length of user and item vectors.
        request_dim: length of a request's feature vector, its constant 1 included.
        request_layout: tells that vector from one of other features; empty where none are named.
        cap: the largest reward of one shown item.
        seed: what random numbers are derived from.
        partition, n_partitions: the share that is learned here; 0 of 1 where one process learns all.
        parts: the parts that the kind's `needs(settings)` names, by name.

    Example:
        >>> World(seed=7).seed, World().n_partitions
        (7, 1)
    """

    dim: int = 64
    request_dim: int = 1
    request_layout: str = ""
    cap: float = 1.0
    seed: int = 0
    partition: int = 0
    n_partitions: int = 1
    parts: Mapping[str, Any] = field(default_factory=dict)
