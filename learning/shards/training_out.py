"""What the owner of users tells TRAIN: shown lists, clicks on them, forgets, time, what it had learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from learners.encode_inputs import ListInputs
from learning.shards.sampling import RatesInUse, drawn
from stream.block_codec import SEGMENT_VERSION
from stream.block_routing import bounded
from stream.blocks import CLICK, ORGANIC, SHOWN, FeedbackBlock, Forgotten, Segment
from stream.engine.shard import Headers, Output
from stream.frame import Frame
from stream.item_blocks import Ticked
from stream.training import HandedOver, Sampled, TrainingLists, half_precision, hashed_user

__all__ = ["TrainingRecords", "lists_of"]

Int = npt.NDArray[np.intp]
Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]

_HEADERS: Headers = (("schema", b"%d" % SEGMENT_VERSION),)


def lists_of(
    block: FeedbackBlock,
    key: bytes,
    rate: float = 1.0,
    lowest: float = 1.0,
    inputs: ListInputs | None = None,
) -> TrainingLists | None:
    """What became of the slates of a block; None where there are none. `key` hashes users.

    Slates that no policy decided go, too: they have features since they were shown.

    Shown lists are kept at `rate`. A click brings its list again if that may have been left out: lists have
    been kept at `lowest` at least. With `inputs` shown lists carry what these find.

    Example:
        >>> from stream.blocks import Slate
        >>> slate = Slate(request_id="r", user_id="ann", ts=5, items=["a", "b"], decided=True)
        >>> lists = lists_of(FeedbackBlock([slate], [], [0, 1], [0, 0], [-1, 1], [0.0, 1.0], [False, True],
        ...                                [5, 6]), b"k")
        >>> lists.requests, lists.kind.tolist(), lists.place.tolist(), lists.shown.tolist()
        (['r'], [0, 1], [-1, 1], [2])
    """
    kind, ref = np.array(block.kind, np.int8), np.array(block.ref, np.int32)
    o = np.flatnonzero(kind != ORGANIC)
    if not o.size:
        return None
    again = np.zeros(0, np.intp)
    if lowest < 1:
        o, again = _sampled(block, o, kind, ref, rate, lowest)
        if not o.size:
            return None
    kind, ref = kind[o], ref[o]
    place = np.where(kind == CLICK, np.array(block.place, np.int32)[o], np.int32(-1))
    reward, first = np.array(block.reward, np.float64)[o], np.array(block.first, np.bool_)[o]
    ts = np.array(block.ts, np.int64)[o]
    if again.size:
        kind[again], place[again], reward[again], first[again] = SHOWN, -1, 0, False
        ts[again] = [block.slates[n].ts for n in ref[again].tolist()]
    used, number = np.unique(ref, return_inverse=True)
    shown = [block.slates[n] for n in ref[kind == SHOWN].tolist()]
    rates = np.full(o.size, rate, np.float32)
    rates[again] = 0
    features, sizes = half_precision([slate.features for slate in shown])
    return TrainingLists(
        requests=[block.slates[n].request_id for n in used.tolist()],
        kind=kind,
        ref=number.astype(np.int32),
        place=place,
        reward=reward,
        first=first,
        ts=ts,
        users=[hashed_user(slate.user_id, key) for slate in shown],
        schemas=[slate.feature_schema for slate in shown],
        shown=np.array([len(slate.items) for slate in shown], np.int32),
        others=np.array([len(slate.others) for slate in shown], np.int32),
        sizes=sizes,
        features=features,
        rates=rates[kind == SHOWN],
        decided=np.array([slate.decided for slate in shown], np.bool_),
        **({} if inputs is None or not shown else inputs.of(shown)),
    )


def _sampled(
    block: FeedbackBlock, o: Int, kind: Int8, ref: Int32, rate: float, lowest: float
) -> tuple[Int, Int]:
    """The operations of `o` that are passed on, some twice, and where these stand first: as a list again."""
    used, number = np.unique(ref[o], return_inverse=True)
    draws = drawn([block.slates[n].request_id for n in used.tolist()])[number]
    is_left_out = (kind[o] == SHOWN) & (draws >= rate)
    comes_again = (kind[o] == CLICK) & (draws >= lowest)
    times = np.where(is_left_out, 0, 1 + comes_again)
    return np.repeat(o, times), (np.cumsum(times) - times)[comes_again]


class TrainingRecords:
    """Records for `training` in the making, in order.

    Args:
        partition: of users, which is the records' key.
        key: hashes users.
        horizon_ms: of event time from a list's decision to the last click on it.
        inputs: finds what else lists carry; None where nothing that learns them reads it.
    """

    def __init__(self, partition: int, key: bytes, horizon_ms: int, inputs: ListInputs | None = None) -> None:
        self._name, self._key, self._inputs = b"%d" % partition, key, inputs
        self._rates = RatesInUse(horizon_ms)
        self._segments: list[Segment] = []

    def learn(self, block: FeedbackBlock) -> None:
        """Pass on what became of slates."""
        lists = lists_of(block, self._key, self._rates.now, self._rates.lowest, self._inputs)
        if lists is not None:
            self._segments.append(lists)

    def forget(self, user: Forgotten) -> None:
        """Pass a forget on."""
        self._segments.append(Forgotten(hashed_user(user.user_id, self._key), user.ts))

    def tick(self, tick: Ticked) -> None:
        """Say how far these users have come."""
        self._rates.tick(tick.watermark)
        self._segments.append(tick)

    def sample(self, sampled: Sampled, now_ms: int) -> None:
        """From event time `now_ms` on lists go out at another rate."""
        self._rates.change(sampled.rate, now_ms)
        self._segments.append(sampled)

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

    def snapshot(self) -> Frame:
        """What is needed to go on; what has come out must have been taken."""
        return self._rates.snapshot()

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self._rates.restore(frame)
        self._segments = []
