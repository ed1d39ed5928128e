"""What a part is built into: what all parts share, and the parts that it asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from learners.item_keys import numbered_keys

__all__ = ["World"]


@dataclass(frozen=True, slots=True)
class World:
    """The second argument of every `build(settings, world)`.

    Args:
        dim: length of user and item vectors.
        request_dim: length of a request's feature vector, its constant 1 included.
        request_layout: tells that vector from one of other features; empty where none are named.
        rank_names: the ranker's features, in the order of `RowBlock.rank_features`.
        cap: the largest reward of one shown item.
        actions: the kinds that a click may have (`join.weights`), "click" first, by the numbers that
            `RowBlock.action` has. What is kept for longer than a process goes by their names.
        seed: what random numbers are derived from.
        partition, n_partitions: the share that is learned here; 0 of 1 where one process learns all.
        parts: the parts that the kind's `needs(settings)` names, by name.
        item_keys: 64-bit keys (n,) of item rows (n,) by their ids alone; 0 for -1 and rows without an owner.
            Those of `RowBlock.item_keys`, so that what hashes items does it alike wherever it runs.
        trains: whether whole lists are learned here (`Part.learn_lists`). False where parts are followed,
            served, or learned by rows: what only training needs is neither built nor imported there.
        name: that of the part that is built, as the settings have it, for its log and errors.

    Example:
        >>> World(seed=7).seed, World().n_partitions, World().trains
        (7, 1, False)
    """

    dim: int = 64
    request_dim: int = 1
    request_layout: str = ""
    rank_names: tuple[str, ...] = ()
    cap: float = 1.0
    actions: tuple[str, ...] = ("click",)
    seed: int = 0
    partition: int = 0
    n_partitions: int = 1
    parts: Mapping[str, Any] = field(default_factory=dict)
    item_keys: Callable[[npt.NDArray[np.int32]], npt.NDArray[np.uint64]] = numbered_keys
    trains: bool = False
    name: str = ""
