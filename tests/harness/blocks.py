"""What a block says, whatever its own numbering: for tests that cut and merge blocks."""

from __future__ import annotations

from typing import Any

from stream.block_codec import encode_segment
from stream.blocks import Segment
from stream.item_blocks import ItemOutcomes
from stream.parcels import ITEM, Parcel
from stream.training import TrainingLists

__all__ = ["told"]


def told(segment: Segment) -> list[tuple[Any, ...]]:
    """An entry for each place of an item block, row of a parcel or operation on a list, in order; of others
    their bytes.

    Example:
        >>> import numpy as np
        >>> from stream.parcels import ITEM, Parcel
        >>> pairs = {"one": np.array([1, 0]), "ts": np.array([5, 6])}
        >>> told(Parcel("p", ["a", "b"], {"pairs": pairs}, {"pairs": {"one": ITEM}}, {"pairs": ("one",)}))
        [('b', 5), ('a', 6)]
    """
    if isinstance(segment, ItemOutcomes):
        return _outcomes(segment)
    if isinstance(segment, TrainingLists):
        return _lists(segment)
    if isinstance(segment, Parcel):
        return [row for table in sorted(segment.to) for row in _rows(segment, table)]
    return [(encode_segment(segment),)]


def _rows(parcel: Parcel, table: str) -> list[tuple[Any, ...]]:
    """Rows of a table, with what they refer to in place of numbers."""
    columns = []
    for name, column in parcel.tables[table].items():
        target = parcel.refs.get(table, {}).get(name)
        if target is None:
            columns.append(column.tolist())
        elif target == ITEM:
            columns.append([parcel.names[n] for n in column.tolist()])
        else:
            whole = list(zip(*(other.tolist() for other in parcel.tables[target].values()), strict=True))
            columns.append([whole[n] for n in column.tolist()])
    return list(zip(*columns, strict=True))


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


def _lists(block: TrainingLists) -> list[tuple[Any, ...]]:
    counts = (block.shown.tolist(), block.others.tolist(), block.rates.tolist())
    shown = iter(zip(block.users, block.schemas, *counts, strict=True))
    ends = block.sizes.cumsum().tolist()
    features = iter(block.features[low:high].tolist() for low, high in zip([0, *ends], ends, strict=False))
    columns: tuple[Any, ...] = (block.kind, block.place, block.reward, block.first, block.ts)
    return [
        (
            block.requests[block.ref[o]],
            *(column[o].item() for column in columns),
            *((*next(shown), str(next(features))) if block.kind[o] == 0 else ()),
        )
        for o in range(len(block))
    ]
