"""LEARN ITEMS on one partition of `item-feedback`: vectors, popularity, co-occurrence, policies of items."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from bandits import PolicyError
from learners import LearnerError
from learners.encode_items import encode_items
from learners.part import Columns, naming
from learning.parcels import opened
from learning.parts import Parts, build_parts
from learning.put_items import put_items
from learning.rows.codec import PROGRESS_KEY, Progress, encode_row
from learning.rows.publish import ItemRows
from learning.rows.shared import SharedRows
from learning.settings import LearningSettings
from learning.shards.outbound import Homes
from learning.shards.reading import SegmentReader
from learning.shards.source_marks import SourceMarks
from stream.accepted import AcceptedTimes, served_items
from stream.blocks import ItemsBlock, Segment
from stream.engine.shard import Output, SourceRecord
from stream.frame import Frame
from stream.item_blocks import ItemOutcomes, Ticked
from stream.parcels import Parcel

__all__ = ["ItemsShard"]

_log = logging.getLogger(__name__)

_KINDS = (ItemsBlock, ItemOutcomes, Parcel, Ticked)
_NO_PARCEL: Mapping[str, Columns] = {}


class ItemsShard:
    """A `stream.engine.shard.ShardStep`: what users' owners saw to `item-vectors` and `policy`.

    Each partition learns its own items, from all users. Items of others are known by name only, as
    neighbours; their rows are never published. A cluster's places in the graph are shared out among the
    partitions, so that all of them together offer a cluster `policy.edges_per_cluster` items.

    Time comes from the owner of the users' partition of the same number. What is absorbed is what the owners
    of all users' partitions have passed on (`marks`), for each of them may send something of any item here.

    Args:
        partition: number of the partition of `item-feedback`.
        partition_of: the partition of an id.
        settings: of the whole system.
        n_partitions: how many partitions the topic has.

    Example:
        >>> from stream.block_codec import encode_segment
        >>> from stream.events import ItemEvent
        >>> shard = ItemsShard(0, lambda name: 0, LearningSettings(), 1)
        >>> block = ItemsBlock([ItemEvent(item_id="tea", ts=5)])
        >>> shard.on_records([SourceRecord(0, encode_segment(block))])
        >>> [(output.topic, output.key) for output in shard.take()]
        [('item-vectors', b'tea'), ('policy', b'tea')]
    """

    def __init__(
        self,
        partition: int,
        partition_of: Callable[[str], int],
        settings: LearningSettings,
        n_partitions: int,
    ) -> None:
        self.settings, self._partition = settings, partition
        self._homes = Homes(partition_of)
        self.parts: Parts = build_parts(
            _share(settings, n_partitions), partition=partition, n_partitions=n_partitions
        )
        self.parts.unclaimed.tells = partition == 0  # the others hold the same parts
        self.reader = SegmentReader("item-feedback", partition, _KINDS)
        self.marks = SourceMarks(n_partitions)
        """How far the owners of the users' partitions have come."""
        self.progress = Progress()
        """What all of them have passed on; it falls only where time was wrong."""
        self._rows = ItemRows(self.parts, partition, partition_of)
        # Of a policy that learns whole lists TRAIN has what all share, and what it notes.
        of_lists = self.parts.list_learners().keys() & self.parts.policy_rows().keys()
        deciders = {name: part for name, part in self.parts.policy_rows().items() if name not in of_lists}
        self._learning = {**self.parts.learners(), **deciders}
        self._shared = SharedRows({**self._learning, **self.parts.measures}, "items", partition)
        self._clicks, self._items = AcceptedTimes(), AcceptedTimes()
        self._maintained_ms = 0
        self._told = self.progress

    # -- records in ------------------------------------------------------------------------------------------

    def on_records(self, records: Sequence[SourceRecord]) -> None:
        """Take records in the order of their offsets.

        Raises:
            LogError: a newer program wrote one of them.
        """
        for record in records:
            segment = self.reader.read(record)
            if segment is None:
                continue
            try:
                with self.reader.placing(record.offset):
                    self._learn(segment)
            except (LearnerError, PolicyError) as error:
                self.reader.bury(record, str(error))

    def _learn(self, segment: Segment) -> None:
        if isinstance(segment, ItemOutcomes):
            self._learn_outcomes(segment)
        elif isinstance(segment, Parcel):
            self._learn_parcel(segment)
        elif isinstance(segment, ItemsBlock):
            put_items(self.parts, segment.items)
            self._items.add(served_items(segment))
        elif isinstance(segment, Ticked):
            self._tick(segment)

    def _learn_outcomes(self, block: ItemOutcomes) -> None:
        parts = self.parts
        self._clicks.add(block.accepted[block.decided].tolist())
        rows = encode_items(
            block, parts.items, policies=tuple(parts.policies), request=parts.request_features
        )
        for name, part in {**parts.learners(), **parts.deciders()}.items():
            with naming(name):
                part.learn_items(rows, _NO_PARCEL)

    def _learn_parcel(self, parcel: Parcel) -> None:
        part = self.parts.learners().get(parcel.part)
        if part is None:
            return  # of a part that is not configured here
        items = self.parts.items
        rows = items.find_many(parcel.names)
        is_foreign = self._homes.at(items, rows, parcel.names) != self._partition
        tables = opened(part.spec, parcel, items, is_foreign, rows)
        part.check_parcel(tables)
        self.parts.learn_parcel(parcel.part, tables)

    def _tick(self, tick: Ticked) -> None:
        if not 0 <= tick.source < self.marks.n_sources:
            msg = f"tick of source {tick.source}, there are {self.marks.n_sources}"
            raise LearnerError(msg)
        if tick.rewinds:
            self._rewind(tick)
            return
        self.marks.put(tick)
        now = self.marks.absorbed_at, self.marks.watermark
        self.progress = Progress(
            absorbed_at=max(self.progress.absorbed_at, now[0]), watermark=max(self.progress.watermark, now[1])
        )
        self.parts.read_notes(self._learning)
        if tick.source != self._partition:
            return  # one clock for expiry and graph: that of the users of the same number
        if tick.watermark - self._maintained_ms < self.settings.learn.maintain_ms:
            return
        self._maintained_ms = tick.watermark
        parts = self.parts
        parts.remove_items(parts.items.tick(tick.watermark, parts.catalogue.listed))
        parts.tick(tick.watermark)
        parts.tick_deciders(tick.watermark)

    def _rewind(self, tick: Ticked) -> None:
        """Time was wrong: nothing here is further than the source that says so."""
        self.marks.rewind(tick)
        self.progress = Progress(
            absorbed_at=min(self.progress.absorbed_at, tick.ts),
            watermark=min(self.progress.watermark, tick.watermark),
        )
        if tick.source == self._partition:
            self._maintained_ms = min(self._maintained_ms, tick.watermark)

    # -- records out -----------------------------------------------------------------------------------------

    def take(self) -> list[Output]:
        """Dead letters and rows since the last call."""
        outputs = self.reader.take() + self._rows.take() + self._shared.take()
        clicks, items = self._clicks.take(), self._items.take()
        # In both topics, for a server may have read one and not yet the other.
        for topic, more in (("item-vectors", {"items": items}), ("policy", {"clicks": clicks})):
            if self.progress != self._told or any(more.values()):
                row = msgspec.structs.replace(self.progress, **more)
                outputs.append(Output(topic, self._partition, encode_row(row), PROGRESS_KEY))
        self._told = self.progress
        return outputs

    # -- state -----------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """All state; what has come out must have been taken."""
        return {
            "parts": self.parts.snapshot(),
            "rows": self._rows.snapshot(),
            "maintained_ms": self._maintained_ms,
            "marks": self.marks.snapshot(),
            "progress": [self.progress.absorbed_at, self.progress.watermark],
            "told": [self._told.absorbed_at, self._told.watermark],
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        if self.parts.unclaimed.tells and (new := self.parts.new_beside(frame["parts"])):
            _log.warning("nothing was learned of these yet, so they start afresh: %s", ", ".join(new))
        self.parts.restore(frame["parts"])
        self._rows.restore(frame["rows"])
        self._maintained_ms = frame["maintained_ms"]
        if "marks" in frame:  # older snapshots have none: the next ticks say it
            self.marks.restore(frame["marks"])
        self.progress, self._told = (
            Progress(absorbed_at=absorbed_at, watermark=watermark)
            for absorbed_at, watermark in (frame["progress"], frame["told"])
        )


def _share(settings: LearningSettings, n_partitions: int) -> LearningSettings:
    """The settings of one of so many partitions."""
    edges = max(1, settings.policy.edges_per_cluster // n_partitions)
    return msgspec.structs.replace(
        settings, policy=msgspec.structs.replace(settings.policy, edges_per_cluster=edges)
    )
