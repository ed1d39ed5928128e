"""What a network may see of shown lists beside the ranker's features: keys of items, features of requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from learners.item_keys import ItemKeys
from learners.request_features import RequestFeatures
from learners.rows import RowBlock
from stream.blocks import Slate
from stream.open_lists import OpenList
from stream.training import to_half

__all__ = ["ListInputs", "as_it_travels", "put_inputs"]


class ListInputs:
    """Finds what lists carry to TRAIN where something that learns there reads it.

    Args:
        item_keys: of the items that are known here; others are hashed one by one.
        request: the features of requests; without names there is nothing to send.

    Example:
        >>> from learners.table import EmbeddingTable
        >>> inputs = ListInputs(ItemKeys(EmbeddingTable(2)), RequestFeatures(["hour"], dim=0))
        >>> slate = Slate(request_id="r", user_id="ann", ts=5, items=["a", "b"], context=b'{"hour": 7}')
        >>> found = inputs.of([slate])
        >>> found["keys"].size, found["request"].tolist()
        (2, [1.0, 7.0])
    """

    def __init__(self, item_keys: ItemKeys, request: RequestFeatures) -> None:
        self._item_keys, self._request = item_keys, request

    def of(self, shown: Sequence[Slate]) -> dict[str, Any]:
        """Columns of `stream.training.TrainingLists`, of these shown slates in their order."""
        keys = self._item_keys.of_ids([item for slate in shown for item in slate.items])
        found: dict[str, Any] = {"keys": keys, "layout": self._request.layout}
        if self._request.width > 1:
            found["request"] = to_half(self._request.many([slate.context for slate in shown])).ravel()
        return found


def put_inputs(block: RowBlock, lists: Sequence[OpenList], width: int) -> None:
    """Put keys and features of `lists`, which are the slates of `block`, into it; 0 for what they lack.

    Features are `width` for each list; 1 is the constant alone, which needs no telling.

    Example:
        >>> block, key = RowBlock.empty(), np.array([7], np.uint64).tobytes()
        >>> lists = [OpenList("ann", 5, "", 1, 0, b"", keys=key), OpenList("bob", 6, "", 2, 0, b"")]
        >>> put_inputs(block, lists, 2)
        >>> block.item_keys.tolist(), block.request.tolist()
        ([7, 0, 0], [[0.0, 0.0], [0.0, 0.0]])
    """
    block.item_keys = np.frombuffer(_joined(lists, lambda one: (one.keys, 8 * one.n_shown)), "<u8")
    if width > 1:
        features = np.frombuffer(_joined(lists, lambda one: (one.request, 2 * width)), "<f2")
        block.request = features.astype("<f4").reshape(len(lists), width)


def _joined(lists: Sequence[OpenList], of: Callable[[OpenList], tuple[bytes, int]]) -> bytearray:
    """The bytes of all lists, each of the size that it should have."""
    # A bytearray, so that the array may be written to: kernels are compiled apart for read-only ones.
    return bytearray().join([raw if len(raw) == size else bytes(size) for raw, size in map(of, lists)])


def as_it_travels(block: RowBlock) -> RowBlock:
    """The block with its features as TRAIN gets them, so that one machine learns the same: float16.

    Example:
        >>> block = RowBlock.empty()
        >>> block.request = np.array([[1.0, 0.1]], np.float32)
        >>> as_it_travels(block).request.tolist()
        [[1.0, 0.0999755859375]]
    """
    return replace(
        block,
        request=_halved(block.request),
        rank_features=_halved(block.rank_features),
        other_features=_halved(block.other_features),
    )


def _halved(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return to_half(numbers).astype("<f4")
