"""Which partition an outcome belongs to: that of its user, or of its item."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from stream.block_codec import encode_segment
from stream.blocks import ORGANIC, FeedbackBlock, Forgotten, ItemsBlock, Segment
from stream.item_blocks import ItemOutcomes, Ticked
from stream.item_routing import cut_in_two
from stream.parcels import Parcel, halves
from stream.training import TrainingLists, halves_of_lists

__all__ = ["MAX_RECORD_BYTES", "bounded", "route_segments"]

MAX_RECORD_BYTES = 900_000
"""Bytes of a record's value from which it is cut in two: brokers take 1 MB by default, key and headers
included."""

PartitionOf = Callable[[str], int]


def route_segments(
    segments: Iterable[Segment], partition_of: PartitionOf, n_partitions: int = 0
) -> dict[int, list[Segment]]:
    """The outcomes and forgets by the partition of their user, each partition's in order; no items.

    Ticks go to all of `n_partitions`; of several with nothing between them the newest is enough.

    Example:
        >>> block = FeedbackBlock(organic=[("ann", "a"), ("bob", "b")], kind=[3, 3], ref=[0, 1],
        ...                       place=[-1, -1], reward=[1.0, 1.0], first=[True, True], ts=[5, 6])
        >>> routed = route_segments([block, Forgotten("ann", 7)], {"ann": 0, "bob": 1}.__getitem__)
        >>> [type(segment).__name__ for segment in routed[0]], routed[1][0].ts
        (['FeedbackBlock', 'Forgotten'], [6])
    """
    boxes: dict[int, _Box] = {}
    for segment in segments:
        if isinstance(segment, FeedbackBlock):
            _route_block(segment, partition_of, boxes)
        elif isinstance(segment, Forgotten):
            boxes.setdefault(partition_of(segment.user_id), _Box()).forget(segment)
        elif isinstance(segment, Ticked):
            for partition in range(n_partitions):
                boxes.setdefault(partition, _Box()).tick(segment)
    return {partition: box.segments for partition, box in boxes.items()}


def _route_block(block: FeedbackBlock, partition_of: PartitionOf, boxes: dict[int, _Box]) -> None:
    by_slate = [partition_of(slate.user_id) for slate in block.slates]
    by_organic = [partition_of(user_id) for user_id, _ in block.organic]
    for o, (kind, ref) in enumerate(zip(block.kind, block.ref, strict=True)):
        partition = by_organic[ref] if kind == ORGANIC else by_slate[ref]
        boxes.setdefault(partition, _Box()).put(block, o)


class _Box:
    """What one partition gets: operations gather in one block until a forget comes between them."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self._close()

    def _close(self) -> None:
        self._block: FeedbackBlock | None = None
        self._refs: dict[int, int] = {}

    def forget(self, user: Forgotten) -> None:
        """Let a forget follow."""
        self.segments.append(user)
        self._close()

    def tick(self, tick: Ticked) -> None:
        """Let a tick follow, in the place of one that nothing has followed."""
        before = self.segments[-1] if self.segments else None
        if isinstance(before, Ticked) and not before.rewinds:
            self.segments.pop()
        self.segments.append(tick)
        self._close()

    def put(self, block: FeedbackBlock, o: int) -> None:
        """Let operation `o` of a block follow, with the slate or the pair that it names."""
        mine = self._block
        if mine is None:
            mine = self._block = FeedbackBlock()
            self.segments.append(mine)
        kind, ref = block.kind[o], block.ref[o]
        if kind == ORGANIC:
            now = len(mine.organic)
            mine.organic.append(block.organic[ref])
        else:
            slate = block.slates[ref]
            now = self._refs.setdefault(id(slate), len(mine.slates))
            if now == len(mine.slates):
                mine.slates.append(slate)
        if block.before and block.before[o]:
            mine.before += [0.0] * (len(mine.kind) - len(mine.before)) + [block.before[o]]
        elif mine.before:
            mine.before.append(0.0)
        if block.accepted and block.accepted[o]:
            mine.accepted += [0] * (len(mine.kind) - len(mine.accepted)) + [block.accepted[o]]
        elif mine.accepted:
            mine.accepted.append(0)
        if block.action and block.action[o]:
            mine.action += [0] * (len(mine.kind) - len(mine.action)) + [block.action[o]]
        elif mine.action:
            mine.action.append(0)
        mine.kind.append(kind)
        mine.ref.append(now)
        mine.place.append(block.place[o])
        mine.reward.append(block.reward[o])
        mine.first.append(block.first[o])
        mine.ts.append(block.ts[o])


def bounded(segment: Segment, max_bytes: int = MAX_RECORD_BYTES) -> Iterator[bytes]:
    """The segment as values of records, cut where it is longer than `max_bytes`.

    A single outcome or item that is longer by itself comes whole: what becomes of it is the caller's to say.
    """
    value = encode_segment(segment)
    halves = _halves(segment) if len(value) > max_bytes else ()
    if not halves:
        yield value
    for half in halves:
        yield from bounded(half, max_bytes)


def _halves(segment: Segment) -> tuple[Segment, ...]:
    """The two halves of a segment, or nothing where it holds one thing only."""
    if isinstance(segment, ItemsBlock) and len(segment.items) > 1:
        middle = len(segment.items) // 2
        at = segment.accepted
        return ItemsBlock(segment.items[:middle], at[:middle]), ItemsBlock(
            segment.items[middle:], at[middle:]
        )
    if isinstance(segment, FeedbackBlock) and len(segment) > 1:
        middle = len(segment) // 2
        return *_part(segment, range(middle)), *_part(segment, range(middle, len(segment)))
    if isinstance(segment, ItemOutcomes) and len(segment) > 1:
        return cut_in_two(segment)
    if isinstance(segment, Parcel) and len(segment) > 1:
        return halves(segment)
    if isinstance(segment, TrainingLists) and len(segment) > 1:
        return halves_of_lists(segment)
    return ()


def _part(block: FeedbackBlock, operations: range) -> list[Segment]:
    box = _Box()
    for o in operations:
        box.put(block, o)
    return box.segments
