"""Item blocks by the partition of their items, and in two halves: pure cutting of columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from stream.item_blocks import ItemOutcomes

__all__ = ["cut_in_two", "route_outcomes"]

Bool = npt.NDArray[np.bool_]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


def route_outcomes(block: ItemOutcomes, home: Int32) -> dict[int, ItemOutcomes]:
    """What each partition gets, in order; `home` (names,) is the partition of each name.

    Example:
        >>> one = ItemOutcomes(
        ...     ["a", "b", "c"], np.array([0], np.int8), np.array([5]), np.zeros(1), np.zeros(1, bool),
        ...     np.ones(1, bool), np.zeros((1, 1), np.int32), np.ones((1, 1), np.float32),
        ...     np.array([0, 3], np.int32), np.array([2, 0, 1], np.int32))
        >>> routed = route_outcomes(one, np.array([0, 1, 0], np.int32))
        >>> [(p, [mine.names[n] for n in mine.items]) for p, mine in routed.items()]
        [(0, ['c', 'a']), (1, ['b'])]
    """
    return {partition: _outcomes_at(block, is_here) for partition, is_here in _masks(home[block.items])}


def cut_in_two(block: ItemOutcomes) -> tuple[ItemOutcomes, ItemOutcomes]:
    """The two halves of a block of two or more, each with the names that it needs."""
    is_first = np.repeat(np.arange(len(block)) < len(block) // 2, np.diff(block.start))
    return _outcomes_at(block, is_first), _outcomes_at(block, ~is_first)


def _masks(homes: Int32) -> list[tuple[int, Bool]]:
    """For each partition that gets something, what that is."""
    return [(partition, homes == partition) for partition in np.unique(homes).tolist()]


def _kept(is_kept: Bool) -> tuple[Any, Int32]:
    """Where the kept ones are, and their new numbers, by old number."""
    return np.flatnonzero(is_kept), (np.cumsum(is_kept) - 1).astype(np.int32)


def _used(size: int, *indices: Int32) -> Bool:
    flags = np.zeros(size, np.bool_)
    for index in indices:
        flags[index] = True
    return flags


def _outcomes_at(block: ItemOutcomes, is_here: Bool) -> ItemOutcomes:
    """The operations that have a place here, with those places."""
    counts = np.add.reduceat(np.append(is_here, False).astype(np.int32), block.start[:-1])
    counts[np.diff(block.start) == 0] = 0  # an empty slice reads as the number where it stands
    ops = np.flatnonzero(counts)
    start = np.zeros(ops.size + 1, np.int32)
    np.cumsum(counts[ops], out=start[1:])
    items = block.items[is_here]
    kept, number = _kept(_used(len(block.names), items))
    return ItemOutcomes(
        names=[block.names[n] for n in kept.tolist()],
        kind=block.kind[ops],
        ts=block.ts[ops],
        reward=block.reward[ops],
        first=block.first[ops],
        decided=block.decided[ops],
        clusters=block.clusters[ops],
        weights=block.weights[ops],
        start=start,
        items=number[items],
        before=block.before[ops],
        action=block.action[ops],
        accepted=block.accepted[ops],
        request=block.request[ops],
        propensity=block.propensity[is_here],
        policy=block.policy[ops],
        policies=block.policies,
        layout=block.layout,
        shown_at=block.shown_at[ops],
    )
