"""A block of outcomes cut into pieces, each with its own slates alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from learners.rows import RowBlock

__all__ = ["pieces"]

Int = npt.NDArray[np.int64]

_OF_OPERATIONS = ("kind", "user", "item", "reward", "first", "ts", "before", "action", "stands_for")
_OF_SLATES = ("slate_user", "slate_ts", "clusters", "weights", "decided", "policy", "request", "ranked")
_OF_PLACES = ("items", "propensity", "rewards", "explored")
_NO_OTHERS = np.zeros((0, 0), np.float32)


def pieces(block: RowBlock, cuts: npt.NDArray[np.int32]) -> Iterator[RowBlock]:
    """The operations before each of `cuts` (n,), ascending, and those behind the last: n + 1 blocks.

    Whoever learns a piece pays for its slates, not for all of the block's, as with `RowBlock.operations`. It
    has no ranker's features, and no keys unless the block has them.

    Example:
        >>> from learners.testing import organic_rows
        >>> block, cuts = organic_rows([(0, 1), (0, 2), (1, 2)]), np.array([0, 2], np.int32)
        >>> [len(piece) for piece in pieces(block, cuts)]
        [0, 2, 1]
    """
    n, ends = len(block), np.append(cuts, len(block)).astype(np.int64)
    number = np.searchsorted(cuts, np.arange(n), side="right")
    slate, place, used, bounds = _renumbered(block, number, ends.size)
    first, sizes = block.start[used], block.start[used + 1] - block.start[used]
    start = np.zeros(used.size + 1, np.int32)
    np.cumsum(sizes, out=start[1:])
    at = np.arange(int(start[-1])) + np.repeat(first - start[:-1], sizes)
    of_places = [*_OF_PLACES, *(["item_keys"] if block.item_keys.size else [])]
    by_slate = [(name, getattr(block, name)[used]) for name in _OF_SLATES]
    by_place = [(name, getattr(block, name)[at]) for name in of_places]
    by_operation = [(name, getattr(block, name)) for name in _OF_OPERATIONS]
    by_operation += [("slate", slate), ("place", place)]
    low, low_slate = 0, 0
    for high, high_slate in zip(ends.tolist(), bounds[1:].tolist(), strict=True):
        low_place, high_place = start[low_slate], start[high_slate]
        piece = object.__new__(RowBlock)
        for name, column in by_operation:
            setattr(piece, name, column[low:high])
        for name, column in by_slate:
            setattr(piece, name, column[low_slate:high_slate])
        for name, column in by_place:
            setattr(piece, name, column[low_place:high_place])
        piece.start = start[low_slate : high_slate + 1] - low_place
        piece.other_start = np.zeros(high_slate - low_slate + 1, np.int32)
        piece.rank_features = piece.other_features = _NO_OTHERS
        piece.known = {}
        if not block.item_keys.size:
            piece.item_keys = block.item_keys
        yield piece
        low, low_slate = high, high_slate


def _renumbered(
    block: RowBlock, number: Int, n_pieces: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Int, Int]:
    """Of each operation its slate and place, as its piece numbers them; and the slates of all pieces, one
    piece after the other, with the bounds (n_pieces + 1,) of each."""
    has = np.flatnonzero(block.slate >= 0)
    n_slates = max(block.slate_user.size, 1)
    keys, inverse = np.unique(number[has] * n_slates + block.slate[has], return_inverse=True)
    used = keys % n_slates
    bounds = np.searchsorted(keys, np.arange(n_pieces + 1) * n_slates)
    sizes = block.start[used + 1] - block.start[used]
    start = np.zeros(used.size + 1, np.int64)
    np.cumsum(sizes, out=start[1:])
    slate, place = np.full(len(block), -1, np.int32), np.full(len(block), -1, np.int32)
    slate[has] = inverse - bounds[number[has]]
    # From where its slate begins in the block to where it begins in the piece.
    moved = block.place[has] - block.start[block.slate[has]] + start[inverse] - start[bounds[number[has]]]
    place[has] = np.where(block.place[has] >= 0, moved, -1)
    return slate, place, used, bounds
