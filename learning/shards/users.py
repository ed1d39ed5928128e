"""LEARN USERS on one partition of `feedback`: the learners of the embedded system, records in and out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from learners.encode import encode_rows
from learners.encode_inputs import ListInputs
from learners.errors import LearnerError
from learners.part import Columns
from learning.errors import SettingsError
from learning.foreign import ForeignLists
from learning.parcels import joined, packed
from learning.parts import Parts, build_parts
from learning.rows.codec import PROGRESS_KEY, Progress, encode_row
from learning.rows.item_batches import ItemBatch
from learning.rows.publish import UserRows
from learning.rows.shared import SharedRows
from learning.settings import LearningSettings
from learning.shards.followed_shares import followed_shares
from learning.shards.outbound import (
    Homes,
    merged_blocks,
    outcomes_of,
    without_forgotten,
)
from learning.shards.reading import SegmentReader
from learning.shards.source_marks import SourceMarks
from learning.shards.training_out import TrainingRecords
from stream.accepted import AcceptedTimes
from stream.block_codec import SEGMENT_VERSION
from stream.block_routing import MAX_RECORD_BYTES, bounded
from stream.blocks import FeedbackBlock, Forgotten, Segment
from stream.engine.shard import Headers, Output, SourceRecord
from stream.errors import PartError
from stream.forget import ForgetBook
from stream.frame import Frame
from stream.item_blocks import Ticked
from stream.item_routing import route_outcomes
from stream.parcels import routed
from stream.training import Sampled

__all__ = ["UsersShard"]

_log = logging.getLogger(__name__)

_HEADERS: Headers = (("schema", b"%d" % SEGMENT_VERSION),)
_MOST_WAITING = 8_192  # operations that are learned at once
_MOVED = {"vectors", "counts", "mf"}
_SHARED = 0  # the partition whose owner had the ranker before there was TRAIN


class UsersShard:
    """A `stream.engine.shard.ShardStep`: outcomes of users to `item-feedback`, `training` and rows.

    Users, their histories and their side of the matrix factorisation are owned here; item vectors are a
    replica, which the same kernel moves along until the owner's newer row comes (`apply_items`). What the
    items' owners learn from goes to the partitions of the items: outcomes without the user, what was sampled
    with the user's vector as it was, pairs of co-occurrence. What learns whole lists gets them in `training`;
    lists of others with the features that are worked out here when they are shown.
    Partition 0 had the ranker before there was TRAIN; the state from then is handed over at the first record,
    and again at every look at expiry, for a take-over may not emit it.

    Outcomes wait until they are taken, so that many small records cost as little as a large one. A forget
    takes the user's rows and history at once, and drops outcomes that are not newer, before and
    after it: it is kept as a keyed hash of the id. Ticks of all sources say how far the partition has come
    (`marks`), and when tables and centroids are looked after.

    Args:
        partition: number of the partition of `feedback`.
        partition_of: the partition of an id.
        settings: of the whole system.
        n_partitions: how many partitions `feedback`, and so `item-feedback`, has.

    Raises:
        SettingsError: so many centroids do not fit into a record.

    Example:
        >>> from stream.block_codec import encode_segment
        >>> shard = UsersShard(0, lambda name: 0, LearningSettings(), 1)
        >>> block = FeedbackBlock([], [("ann", "tea")], [3], [0], [-1], [1.0], [True], [5])
        >>> shard.on_records([SourceRecord(0, encode_segment(block))])
        >>> [(output.topic, output.key) for output in shard.take()][:2]
        [('item-feedback', b'0'), ('item-feedback', b'0')]
    """

    def __init__(
        self,
        partition: int,
        partition_of: Callable[[str], int],
        settings: LearningSettings,
        n_partitions: int,
    ) -> None:
        _check_centroids(settings)
        self.settings, self._partition, self._n_partitions = settings, partition, n_partitions
        self._homes = Homes(partition_of)
        self.parts: Parts = build_parts(settings, partition=partition, n_partitions=n_partitions)
        self.parts.unclaimed.tells = False  # the owner of items does
        self._is_watched = any(policy.watch is not None for policy in self.parts.policies.values())
        self.marks = SourceMarks(n_partitions)
        """How far the sources have come; `absorbed_at` is what `recommend` waits for."""
        # Nobody can be asked for a secret that all workers share, so this keeps ids out, no more.
        key = blake2b(settings.kafka.prefix.encode(), digest_size=32).digest()
        self.forgotten = ForgetBook(key)
        parts = self.parts
        self._foreign = ForeignLists(parts)
        self._training = TrainingRecords(
            partition, key, 2 * (settings.join.window_ms + settings.join.lateness_ms),
            ListInputs(parts.item_keys, parts.request_features) if parts.reads_inputs else None,
        )  # fmt: skip
        self._unlike: set[str] = set()
        self._has_handed_over = False
        self.reader = SegmentReader("feedback", partition, (FeedbackBlock, Forgotten, Ticked, Sampled))
        # What comes from items' owners is theirs: published from here it would count twice.
        self._followed = followed_shares(parts)
        self._newest_shares: dict[str, Columns] = {}
        own = {name: part for name, part in parts.learners().items() if name not in self._followed}
        self._shared = SharedRows({**own, **parts.measures}, "users", partition)
        self._rows = UserRows(self.parts, partition)
        self._maintained_ms = 0
        self._told = (0, 0)
        self._clicks = AcceptedTimes()
        self._listed = np.zeros(0, np.bool_)  # items that their owners have in the catalogue, by row
        self._waiting: list[FeedbackBlock] = []
        self._last = -1  # offset of the newest record
        self._out: dict[int, list[Segment]] = {}

    # -- records in ------------------------------------------------------------------------------------------

    def on_records(self, records: Sequence[SourceRecord]) -> None:
        """Take records in the order of their offsets.

        Raises:
            LogError: a newer program wrote one of them.
        """
        if records and not self._has_handed_over:
            self._hand_over()
        for record in records:
            segment, self._last = self.reader.read(record), record.offset
            if isinstance(segment, FeedbackBlock):
                self._waiting.append(segment)
                if sum(map(len, self._waiting)) >= _MOST_WAITING:
                    self._learn()
            elif isinstance(segment, Forgotten):
                self._forget(segment)
            elif isinstance(segment, Ticked):
                self._tick(segment, record)
            elif isinstance(segment, Sampled):
                self._learn()  # what was shown before goes by the rate before
                self._training.sample(segment, self.marks.watermark)

    def _learn(self) -> None:
        """Learn what waits, as one block: where blocks end has no meaning, and one costs less than many."""
        blocks, self._waiting = self._waiting, []
        if not blocks:
            return
        parts = self.parts
        block = without_forgotten(merged_blocks(blocks), self.forgotten)
        encoded = encode_rows(
            block,
            parts.users,
            parts.items,
            max_clusters=self.settings.policy.context_clusters,
            policies=tuple(parts.policies),
            request=parts.request_features,
        )
        rows = encoded.put_features(None)  # the ranker's are for TRAIN
        self._clicks.add(block.accepted)
        told: list[Mapping[str, Mapping[str, Columns]]] = []
        try:
            self._foreign.learn(encoded, lambda piece: told.append(parts.learn_users(piece)))
            parts.measure(block)
        except PartError as error:
            msg = f"in feedback/{self._partition}, records up to {self._last}: {error}"
            raise PartError(msg) from error
        self._training.learn(block)
        outcomes = outcomes_of(
            block,
            rows,
            parts.items,
            policies=tuple(parts.policies),
            layout=parts.request_features.layout,
            shown_at=any(policy.goes_by_slates for policy in parts.policies.values()),
            with_closed=self._is_watched,
        )
        # First of all: an item's owner meets an id in an outcome before it learns what parts say of it.
        self._send(route_outcomes(outcomes, self._homes.of(outcomes.names)))
        self._tell(told, int(rows.ts.max(initial=0)))

    def _tell(self, told: Sequence[Mapping[str, Mapping[str, Columns]]], ts: int) -> None:
        """To items' owners what parts say of the pieces of a block, or at a tick."""
        learners = self.parts.learners()
        for name in dict.fromkeys(name for piece in told for name in piece):
            spec = learners[name].spec
            if kept := joined(spec, [piece[name] for piece in told if name in piece]):
                parcel = packed(name, spec, kept, self.parts.items, ts)
                self._send(routed(parcel, self._homes.of(parcel.names), self._n_partitions))

    def _send(self, by_partition: Mapping[int, Segment]) -> None:
        for partition, segment in by_partition.items():
            self._out.setdefault(partition, []).append(segment)

    def _hand_over(self) -> None:
        if self._partition == _SHARED:
            self._training.hand_over({"ranker": self.parts.ranker.snapshot()})
        self._has_handed_over = True

    def _forget(self, user: Forgotten) -> None:
        self._learn()
        self._training.forget(user)
        self.forgotten.add(user.user_id, user.ts)
        self.parts.remove_users(self.parts.users.remove([user.user_id]))

    def apply_items(self, items: ItemBatch) -> None:
        """Take over items as their owners have published them, where that is newer than the replica here.

        An item that is not known here gets a row. Not part of what a step repeats: after a take-over the
        replica may be another, and so may user vectors, within the tolerance that the guide states.
        """
        table, vectors = self.parts.items, items.arrays["vectors"]
        listed = items.entered_at > 0
        at = table.admit_each(items.names, items.arrays["counts"]["touched_at"], reserved=listed)
        # The kernel moves vectors along here, so what comes may be older than what is here.
        is_newer = (at >= 0) & (vectors["version"] > table.version[at])
        newer = at[is_newer]
        table.adopt(newer, vectors["vector"][is_newer], vectors["version"][is_newer])
        self.parts.mf.adopt("item", newer, items.columns("mf", self._rows_of, is_newer))
        self._adopt_scored(items, at)
        if table.size > self._listed.size:
            self._listed = np.append(self._listed, np.zeros(table.size - self._listed.size, np.bool_))
        self._listed[at[at >= 0]] = listed[at >= 0]

    def _adopt_scored(self, items: ItemBatch, at: npt.NDArray[np.int32]) -> None:
        """Take over, at rows (n,), what features come from beside the factorisation; only owners write it."""
        learners, has_row = self.parts.learners(), at >= 0
        for name in sorted(items.sides.keys() - _MOVED):
            columns = items.columns(name, self._rows_of, None if has_row.all() else has_row)
            try:
                learners[name].adopt("item", at[has_row], columns)
            except LearnerError as error:
                if name not in self._unlike:
                    self._unlike.add(name)
                    _log.error("rows of items, part %s: %s; give all workers the same settings", name, error)

    def _rows_of(self, _: str, names: Sequence[str]) -> npt.NDArray[np.int32]:
        return self.parts.items.find_many(names)

    def apply_shares(self, shares: Mapping[str, Columns]) -> None:
        """Take over what items' owners share of parts that scorers read; as `apply_items`."""
        self._newest_shares |= shares
        for name, columns in shares.items():
            rest = dict(columns)
            self._followed[name].adopt("shared", rest.pop("rows"), rest)

    # -- time ------------------------------------------------------------------------------------------------

    def _tick(self, tick: Ticked, record: SourceRecord) -> None:
        if not 0 <= tick.source < self._n_partitions:
            self.reader.bury(record, f"tick of source {tick.source}, there are {self._n_partitions}")
            return
        if tick.rewinds:
            self._rewind(tick)
            return
        if not self.marks.put(tick):
            return
        now, every = (self.marks.absorbed_at, self.marks.watermark), self.settings.learn.maintain_ms
        if now[1] - self._maintained_ms >= every:
            self._maintained_ms = now[1]
            self._learn()  # what waits came before; most ticks change nothing that it meets
            self._maintain(now[1])
        # At once, and to all that learn from here: their rows are as old as the oldest of these marks.
        self._learn()
        with self.reader.placing(record.offset):
            self.parts.read_notes(self.parts.learners())
        self._pass_on(Ticked(self._partition, *now))

    def _rewind(self, tick: Ticked) -> None:
        """Time was wrong: the marks fall to what is true, here and with the owners of items."""
        self.marks.rewind(tick)
        now = self.marks.absorbed_at, self.marks.watermark
        self._maintained_ms = min(self._maintained_ms, now[1])
        self._learn()
        self._pass_on(Ticked(self._partition, *now, rewinds=True))

    def _pass_on(self, tick: Ticked) -> None:
        self._training.tick(tick)
        self._send(dict.fromkeys(range(self._n_partitions), tick))

    def _maintain(self, now_ms: int) -> None:
        parts = self.parts
        self._hand_over()
        self.forgotten.prune(now_ms - self.settings.join.forget_horizon_ms)
        gone = parts.items.tick(now_ms, self._listed)
        self._listed[gone[gone < self._listed.size]] = False
        parts.remove_items(gone)
        parts.remove_users(parts.users.tick(now_ms))
        with self.reader.placing(self._last):
            told = parts.tick(now_ms)
        self._tell([told], now_ms)

    # -- records out -----------------------------------------------------------------------------------------

    def take(self) -> list[Output]:
        """Dead letters, what items' owners learn from, and rows, since the last call."""
        self._learn()
        outputs = self.reader.take()
        key = b"%d" % self._partition
        for partition, segments in self._out.items():
            outputs += [
                Output("item-feedback", partition, value, key, _HEADERS)
                for segment in segments
                for value in bounded(segment)
            ]
        self._out = {}
        for rows in (self._training, self._rows, self._shared):
            outputs += rows.take()
        return outputs + self._progress()

    def _progress(self) -> list[Output]:
        now, clicks = (self.marks.absorbed_at, self.marks.watermark), self._clicks.take()
        if now == self._told and not clicks:
            return []
        self._told = now
        value = encode_row(Progress(absorbed_at=now[0], watermark=now[1], clicks=clicks, trains=True))
        return [Output("user-vectors", self._partition, value, PROGRESS_KEY)]

    # -- state -----------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """All state; what has come out must have been taken."""
        self._learn()
        return {
            "parts": self.parts.snapshot(),
            "rows": self._rows.snapshot(),
            "forgotten": self.forgotten.snapshot(),
            "marks": self.marks.snapshot(),
            "maintained_ms": self._maintained_ms,
            "told": list(self._told),
            "listed": self._listed.copy(),
            "handed_over": self._has_handed_over,
            "training": self._training.snapshot(),
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self.parts.restore(frame["parts"])
        self._rows.restore(frame["rows"])
        self.forgotten.restore(frame["forgotten"])
        self.marks.restore(frame["marks"])
        self._maintained_ms = frame["maintained_ms"]
        self._told = tuple(frame["told"])
        if "moved_users" in frame:  # written before the centroids were a part
            self.parts.centroids.moved.put(frame["moved_users"])
        # Older snapshots do not say it: the items' rows, which are all taken over again, do.
        self._listed = frame.get("listed", np.zeros(0, np.bool_)).copy()
        self._has_handed_over = frame.get("handed_over", False)
        if "training" in frame:  # before there was a rate all lists went to TRAIN
            self._training.restore(frame["training"])
        self._waiting, self._out = [], {}


def _check_centroids(settings: LearningSettings) -> None:
    n, dim = settings.policy.centroids, settings.learn.embedding_dim
    n_bytes = n * (4 * dim + 48)
    if n_bytes > MAX_RECORD_BYTES:
        msg = (
            f"{n} centroids of {dim} numbers take {n_bytes} bytes, a record in Kafka {MAX_RECORD_BYTES}; "
            "lower policy.centroids or learn.embedding_dim"
        )
        raise SettingsError(msg)
