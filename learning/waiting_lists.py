"""Whole lists that are learned when there is time, behind the commits of what users and items learn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from learners.rows import RowBlock
from stream.frame import Frame
from stream.ops.kinds import CLOSED, ORGANIC

__all__ = ["WaitingLists"]

_AT_ONCE = 32  # places that end: about a millisecond of a network, for which a click may have to wait
_MOST_BYTES = 64 << 20


class WaitingLists:
    """Blocks of lists in their order, learned some operations at a time.

    What is learned of them depends on their order alone, so it does not matter when that is. Beyond 64 MB the
    oldest are learned before others are taken: then nothing is left out, and all waits for that.

    Args:
        learn: takes a block.
        layout: tells the features in blocks from others.

    Example:
        >>> from bandits import Context
        >>> from bandits.worlds import row_block
        >>> nobody = Context(np.array([0], np.int32), np.ones(1, np.float32))
        >>> seen = []
        >>> lists = WaitingLists(lambda block: seen.append(len(block)), "")
        >>> lists.put(row_block([nobody] * 90, np.zeros((90, 1), np.int32), np.zeros((90, 1))))
        >>> lists.work(), len(lists), seen
        (None, 1, [32])
    """

    def __init__(self, learn: Callable[[RowBlock], None], layout: str) -> None:
        self._learn, self._layout = learn, layout
        self._blocks: deque[tuple[RowBlock, npt.NDArray[np.int64]]] = deque()
        self._at = 0  # operations of the oldest block that are learned
        self._n_bytes = 0

    def __len__(self) -> int:
        """Blocks that wait."""
        return len(self._blocks)

    def put(self, block: RowBlock) -> None:
        """Let a block wait, unless no policy decided any of its slates."""
        ours = block.decided[block.slate[block.kind != ORGANIC]]
        if not ours.any():
            return
        block = replace(block, slate_user=np.full(block.slate_user.size, -1, np.int32))  # nobody stays in it
        sizes = np.append(np.diff(block.start), 0)[block.slate]
        self._blocks.append((block, np.where(block.kind == CLOSED, sizes, 1).cumsum(dtype=np.int64)))
        self._n_bytes += _size(block)
        while self._n_bytes > _MOST_BYTES and len(self._blocks) > 1:
            self.work()

    def work(self) -> None:
        """Learn some, if something waits."""
        if not self._blocks:
            return
        block, ends = self._blocks[0]
        done = int(ends[self._at - 1]) if self._at else 0
        until = max(self._at + 1, int(np.searchsorted(ends, done + _AT_ONCE, side="right")))
        self._learn(block.operations(self._at, until))
        self._at = until
        if until >= len(block):
            self._blocks.popleft()
            self._at, self._n_bytes = 0, self._n_bytes - _size(block)

    def snapshot(self) -> Frame:
        """What waits; nothing where nothing does."""
        if not self._blocks:
            return {}
        (first, _), *others = self._blocks
        left = [first.operations(self._at, len(first)), *(block for block, _ in others)]
        columns = [block.columns() for block in left]
        return {"layout": self._layout, "blocks": columns}

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; lists with other features are dropped: nobody can read them."""
        self._blocks.clear()
        self._at = self._n_bytes = 0
        if frame and frame["layout"] == self._layout:
            for columns in frame["blocks"]:
                self.put(RowBlock(**{name: column.copy() for name, column in columns.items()}))


def _size(block: RowBlock) -> int:
    return sum(column.nbytes for column in block.columns().values())
