"""From ids to rows on the side of the items: an `ItemOutcomes` becomes what policies and learners read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from learners.ops.table import count_operations
from learners.request_features import RequestFeatures
from learners.rows import RowBlock
from learners.table import EmbeddingTable
from stream.blocks import CLICK, CLOSED, ORGANIC
from stream.item_blocks import ItemOutcomes

__all__ = ["encode_items"]

Float32 = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]

_INTERCEPT = RequestFeatures()


def encode_items(
    block: ItemOutcomes,
    items: EmbeddingTable,
    *,
    policies: Sequence[str] = (),
    request: RequestFeatures = _INTERCEPT,
) -> RowBlock:
    """Turn a block's ids into rows, admit what it sights, and add it to the table's counts.

    The twin of `encode` for whoever owns items: SHOWN and ORGANIC sight, CLICK and CLOSED only look up,
    in order, and an id that is not admitted has row -1. In the columns that come out each operation is a
    slate of its own, of the places that belong here; there are no users and no features of the ranker, and
    only places of a CLOSED are known to be a policy's own (`explored`). Features of requests that were laid
    out otherwise than by `request`, by a program with other settings, are not known: zeros.

    Example:
        >>> items = EmbeddingTable(2)
        >>> block = ItemOutcomes(
        ...     ["a", "b"], np.array([0, 1], np.int8), np.array([5, 6]), np.array([0.0, 1.0]),
        ...     np.array([False, True]), np.ones(2, bool), np.zeros((2, 1), np.int32),
        ...     np.ones((2, 1), np.float32), np.array([0, 2, 3], np.int32), np.array([0, 1, 1], np.int32))
        >>> rows = encode_items(block, items)
        >>> rows.items, rows.item, items.clicks[:2]
        (array([0, 1, 1], dtype=int32), array([-1,  1], dtype=int32), array([0, 1]))
    """
    n, places = len(block), _places(block, items)
    is_organic = block.kind == ORGANIC
    is_one = is_organic | (block.kind == CLICK)
    item, place = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
    item[is_one] = places[block.start[:-1][is_one]]
    place[is_one & ~is_organic] = block.start[:-1][is_one & ~is_organic]
    slate = np.where(is_organic, -1, np.arange(n)).astype(np.int32)
    marks = items.counted
    count_operations(
        places, block.start, block.kind, slate, item, block.first, block.ts, items.clicks, items.impressions,
        block.reward, items.touched_at, marks.flags, marks.rows, marks.size,
    )  # fmt: skip
    nobody = np.full(n, -1, np.int32)
    explored, rewards = np.zeros(places.size, np.bool_), np.zeros(places.size, np.float32)
    if (is_closed := block.kind == CLOSED).any():
        explored = np.repeat(is_closed, np.diff(block.start))
        rewards[explored] = np.repeat(block.reward, np.diff(block.start))[explored]
    return RowBlock(
        slate_user=nobody,
        slate_ts=np.where(block.shown_at > 0, block.shown_at, block.ts),
        start=block.start,
        clusters=block.clusters,
        weights=block.weights,
        decided=block.decided,
        policy=_policies(block, policies),
        items=places,
        propensity=block.propensity,
        rewards=rewards,
        rank_features=np.zeros((places.size, 0), np.float32),
        explored=explored,
        other_start=np.zeros(n + 1, np.int32),
        other_features=np.zeros((0, 0), np.float32),
        kind=block.kind,
        slate=slate,
        place=place,
        user=nobody,
        item=item,
        reward=block.reward,
        first=block.first,
        ts=block.ts,
        before=block.before,
        action=block.action,
        request=_requests(block, request),
    )


def _policies(block: ItemOutcomes, names: Sequence[str]) -> Int8:
    """The numbers of the policies here; -1 for one that is not configured."""
    here = {name: n for n, name in enumerate(names)}
    # What is unknown has number -1, which is the last entry.
    return np.array([*(here.get(name, -1) for name in block.policies), -1], np.int8)[block.policy]


def _requests(block: ItemOutcomes, request: RequestFeatures) -> Float32:
    if block.layout == request.layout and block.request.shape[1] == request.width:
        return block.request
    fill = np.ones if request.width == 1 else np.zeros
    return fill((len(block), request.width), np.float32)


def _places(block: ItemOutcomes, items: EmbeddingTable) -> Int32:
    """The row of each place; what is unknown when the block begins is sighted operation by operation."""
    known = items.find_many(block.names)
    places = np.append(known, np.int32(-1))[block.items]
    unknown = np.flatnonzero(places < 0)
    if not unknown.size:
        return places
    operation = np.repeat(np.arange(len(block)), np.diff(block.start))[unknown]
    numbers, kinds, times = block.items[unknown], block.kind[operation], block.ts[operation]
    columns = zip(unknown.tolist(), numbers.tolist(), kinds.tolist(), times.tolist(), strict=True)
    for at, number, kind, ts in columns:
        name = block.names[number]
        places[at] = items.row_of(name) if kind in (CLICK, CLOSED) else items.sight_one(name, ts)
    items.settle()
    return places
