"""What a block says, whatever its own numbering: for tests that cut and merge blocks."""

from __future__ import annotations

from typing import Any

from stream.block_codec import encode_segment
from stream.blocks import Segment
from stream.item_blocks import ItemOutcomes, ItemPairs, ItemSamples

__all__ = ["told"]


def told(segment: Segment) -> list[tuple[Any, ...]]:
    """An entry for each place, sample or pair of an item block, in order; of any other segment its bytes.

    Example:
        >>> import numpy as np
        >>> ids, times = np.array([1, 0], np.int32), np.array([5, 6])
        >>> told(ItemPairs(["a", "b"], ids, ids[::-1], times, times - 1))
        [('b', 'a', 5, 4), ('a', 'b', 6, 5)]
    """
    if isinstance(segment, ItemOutcomes):
        return _outcomes(segment)
    if isinstance(segment, ItemSamples):
        samples = zip(segment.item, segment.user, segment.label, segment.weight, strict=True)
        return [
            (segment.names[i], segment.users[u].tolist(), segment.bias[u].item(), float(y), float(w))
            for i, u, y, w in samples
        ]
    if isinstance(segment, ItemPairs):
        pairs = zip(segment.item, segment.other, segment.ts, segment.other_ts, strict=True)
        return [(segment.names[i], segment.names[j], int(ts), int(before)) for i, j, ts, before in pairs]
    return [(encode_segment(segment),)]


def _outcomes(block: ItemOutcomes) -> list[tuple[Any, ...]]:
    columns: tuple[Any, ...] = (block.kind, block.ts, block.reward, block.before, block.first, block.decided)
    return [
        (
            *(column[o].item() for column in columns),
            block.clusters[o].tolist(),
            block.weights[o].tolist(),
            block.request[o].tolist(),
            "" if block.policy[o] < 0 else block.policies[block.policy[o]],
            block.layout,
            str(block.propensity[place]),
            block.names[block.items[place]],
        )
        for o in range(len(block))
        for place in range(block.start[o], block.start[o + 1])
    ]
