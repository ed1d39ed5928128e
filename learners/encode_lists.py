"""From lists in `training` to the columns that parts read which learn whole lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from learners.feature_schema import FeatureSchemas
from learners.logged_features import logged_halves
from learners.rows import RowBlock
from stream.open_lists import OpenList

__all__ = ["ListOperation", "encode_lists"]

ListOperation = tuple[int, int, int, float, bool, int, float]
"""Kind, number of the list, place in it (-1: none), reward, first, ts, how many of its kind it stands for."""


def encode_lists(
    lists: Sequence[OpenList], operations: Sequence[ListOperation], schemas: FeatureSchemas
) -> RowBlock:
    """A block of decided lists with their features by name; nothing in it is a row of a table.

    Example:
        >>> half = np.array([[1.0], [0.5]], "<f2").tobytes()
        >>> block = encode_lists([OpenList("ann", 5, "", 1, 1, half)], [(1, 0, 0, 1.0, True, 9, 1.0)],
        ...                      FeatureSchemas(["taste"]))
        >>> block.rank_features.tolist(), block.other_features.tolist(), block.place.tolist()
        ([[1.0]], [[0.5]], [0])
    """
    n, n_lists = len(operations), len(lists)
    shown = np.array([one.n_shown for one in lists], np.int32)
    others = np.array([one.n_others for one in lists], np.int32)
    start, other_start = _starts(shown), _starts(others)
    kind, number, at, reward, first, ts, stands_for = zip(*operations, strict=True) if n else ((),) * 7
    slate, place = np.array(number, np.int32), np.array(at, np.int32)
    place[place >= 0] += start[slate[place >= 0]]
    rank_features, other_features = logged_halves(lists, shown, others, schemas)
    nobody, nothing = np.full(n, -1, np.int32), np.full(int(start[-1]), -1, np.int32)
    return RowBlock(
        slate_user=np.full(n_lists, -1, np.int32),
        slate_ts=np.array([one.ts for one in lists], np.int64),
        start=start,
        clusters=np.full((n_lists, 1), -1, np.int32),
        weights=np.zeros((n_lists, 1), np.float32),
        decided=np.ones(n_lists, np.bool_),
        policy=np.full(n_lists, -1, np.int8),
        items=nothing,
        propensity=np.full(nothing.size, np.nan, np.float32),
        rewards=_rewards(lists, start),
        rank_features=rank_features,
        explored=np.zeros(nothing.size, np.bool_),
        other_start=other_start,
        other_features=other_features,
        kind=np.array(kind, np.int8),
        slate=slate,
        place=place,
        user=nobody,
        item=nobody.copy(),
        reward=np.array(reward, np.float64),
        first=np.array(first, np.bool_),
        ts=np.array(ts, np.int64),
        stands_for=np.array(stands_for, np.float64),
    )


def _rewards(
    lists: Sequence[OpenList], start: np.ndarray[tuple[int], np.dtype[np.int32]]
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    out = np.zeros(int(start[-1]), np.float32)
    for first, one in zip(start.tolist(), lists, strict=False):
        if one.rewards:
            for place, reward in one.rewards.items():
                out[first + place] = reward
    return out


def _starts(
    lengths: np.ndarray[tuple[int], np.dtype[np.int32]],
) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    out = np.zeros(lengths.size + 1, np.int32)
    np.cumsum(lengths, out=out[1:])
    return out
