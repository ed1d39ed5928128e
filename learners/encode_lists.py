"""From lists in `training` to the columns that parts read which learn whole lists."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from learners.feature_schema import FeatureSchemas
from learners.logged_features import logged_halves
from learners.rows import RowBlock
from stream.open_lists import Followed, OpenList
from stream.ops.kinds import CLOSED
from stream.training import TrainingLists

__all__ = ["encode_lists"]

Int32 = npt.NDArray[np.int32]


def encode_lists(block: TrainingLists, found: Followed, schemas: FeatureSchemas) -> RowBlock:
    """A block of lists with their features by name; nothing in it is a row of a table.

    Operations without a list are left out, and rewards are those of closed lists: before that it would
    matter where blocks end.

    Example:
        >>> half = np.array([[1.0], [0.5]], "<f2").tobytes()
        >>> one, nothing, nobody = np.zeros(1, np.int32), np.zeros(0, np.int32), np.zeros(0, "<f2")
        >>> block = TrainingLists(["r"], np.array([1], np.int8), one, one, np.ones(1), one == 0,
        ...                       np.array([9]), [], [], nothing, nothing, nothing, nobody)
        >>> rows = encode_lists(block, Followed([OpenList("ann", 5, "", 1, 1, half)], one, np.ones(1), 0),
        ...                     FeatureSchemas(["taste"]))
        >>> rows.rank_features.tolist(), rows.other_features.tolist(), rows.place.tolist()
        ([[1.0]], [[0.5]], [0])
    """
    lists, is_here = found.lists, found.number >= 0
    # Most blocks are taken whole, and need no copy.
    kept: Any = slice(None) if is_here.all() else is_here
    slate, kind = found.number[kept], block.kind[kept]
    n, n_lists = slate.size, len(lists)
    shown = np.array([one.n_shown for one in lists], np.int32)
    others = np.array([one.n_others for one in lists], np.int32)
    start, other_start = _starts(shown), _starts(others)
    place = block.place[kept]
    place = np.where(place >= 0, place + start[slate], place)
    rank_features, other_features = logged_halves(lists, shown, others, schemas)
    nobody, nothing = np.full(n, -1, np.int32), np.full(int(start[-1]), -1, np.int32)
    return RowBlock(
        slate_user=np.full(n_lists, -1, np.int32),
        slate_ts=np.array([one.ts for one in lists], np.int64),
        start=start,
        clusters=np.full((n_lists, 1), -1, np.int32),
        weights=np.zeros((n_lists, 1), np.float32),
        decided=np.array([one.decided for one in lists], np.bool_),
        ranked=np.ones(n_lists, np.bool_),
        policy=np.full(n_lists, -1, np.int8),
        items=nothing,
        propensity=np.full(nothing.size, np.nan, np.float32),
        rewards=_rewards(lists, start, slate[kind == CLOSED]),
        rank_features=rank_features,
        explored=np.zeros(nothing.size, np.bool_),
        other_start=other_start,
        other_features=other_features,
        kind=kind,
        slate=slate,
        place=place,
        user=nobody,
        item=nobody.copy(),
        reward=block.reward[kept],
        first=block.first[kept],
        ts=block.ts[kept],
        stands_for=found.stands_for[kept],
    )


def _rewards(lists: Sequence[OpenList], start: Int32, closed: Int32) -> npt.NDArray[np.float32]:
    at, rewards = array("q"), array("d")
    for n, first in zip(closed.tolist(), start[closed].tolist(), strict=True):
        if counted := lists[n].rewards:
            at.extend([first + place for place in counted])
            rewards.extend(counted.values())
    out = np.zeros(int(start[-1]), np.float32)
    out[np.frombuffer(at, np.int64)] = np.frombuffer(rewards)
    return out


def _starts(lengths: Int32) -> Int32:
    out = np.zeros(lengths.size + 1, np.int32)
    np.cumsum(lengths, out=out[1:])
    return out
