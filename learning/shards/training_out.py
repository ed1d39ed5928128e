"""What the owner of users tells TRAIN: decided lists, clicks on them, forgets, time, what it had learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream.block_codec import SEGMENT_VERSION
from stream.block_routing import bounded
from stream.blocks import CLICK, ORGANIC, SHOWN, FeedbackBlock, Forgotten, Segment
from stream.engine.shard import Headers, Output
from stream.frame import Frame
from stream.item_blocks import Ticked
from stream.training import HandedOver, TrainingLists, half_precision, hashed_user

__all__ = ["TrainingRecords", "lists_of"]

_HEADERS: Headers = (("schema", b"%d" % SEGMENT_VERSION),)


def lists_of(block: FeedbackBlock, key: bytes) -> TrainingLists | None:
    """What became of the decided slates of a block; None where there are none. `key` hashes users.

    Example:
        >>> from stream.blocks import Slate
        >>> slate = Slate(request_id="r", user_id="ann", ts=5, items=["a", "b"], decided=True)
        >>> lists = lists_of(FeedbackBlock([slate], [], [0, 1], [0, 0], [-1, 1], [0.0, 1.0], [False, True],
        ...                                [5, 6]), b"k")
        >>> lists.requests, lists.kind.tolist(), lists.place.tolist(), lists.shown.tolist()
        (['r'], [0, 1], [-1, 1], [2])
    """
    kind, ref = np.array(block.kind, np.int8), np.array(block.ref, np.int32)
    is_decided = np.array([slate.decided for slate in block.slates] or [False], np.bool_)
    chosen = (kind != ORGANIC) & is_decided[np.where(kind == ORGANIC, 0, ref)]
    if not chosen.any():
        return None
    kind, ref = kind[chosen], ref[chosen]
    used, number = np.unique(ref, return_inverse=True)
    shown = [block.slates[n] for n in ref[kind == SHOWN].tolist()]
    features, sizes = half_precision([slate.features for slate in shown])
    return TrainingLists(
        requests=[block.slates[n].request_id for n in used.tolist()],
        kind=kind,
        ref=number.astype(np.int32),
        place=np.where(kind == CLICK, np.array(block.place, np.int32)[chosen], np.int32(-1)),
        reward=np.array(block.reward, np.float64)[chosen],
        first=np.array(block.first, np.bool_)[chosen],
        ts=np.array(block.ts, np.int64)[chosen],
        users=[hashed_user(slate.user_id, key) for slate in shown],
        schemas=[slate.feature_schema for slate in shown],
        shown=np.array([len(slate.items) for slate in shown], np.int32),
        others=np.array([len(slate.others) for slate in shown], np.int32),
        sizes=sizes,
        features=features,
    )


class TrainingRecords:
    """Records for `training` in the making, in order.

    Args:
        partition: of users, which is the records' key.
        key: hashes users.
    """

    def __init__(self, partition: int, key: bytes) -> None:
        self._name, self._key = b"%d" % partition, key
        self._segments: list[Segment] = []

    def learn(self, block: FeedbackBlock) -> None:
        """Pass on what became of decided slates."""
        lists = lists_of(block, self._key)
        if lists is not None:
            self._segments.append(lists)

    def forget(self, user: Forgotten) -> None:
        """Pass a forget on."""
        self._segments.append(Forgotten(hashed_user(user.user_id, self._key), user.ts))

    def tick(self, tick: Ticked) -> None:
        """Say how far these users have come."""
        self._segments.append(tick)

    def hand_over(self, parts: Frame) -> None:
        """Say that these parts are published here no longer, and what they had learned."""
        self._segments.append(HandedOver(parts))

    def take(self) -> Sequence[Output]:
        """Records since the last call."""
        segments, self._segments = self._segments, []
        return [
            Output("training", 0, value, self._name, _HEADERS)
            for segment in segments
            for value in bounded(segment)
        ]
