"""TRAIN on the one partition of `training`: what learns whole lists, in one order, from all users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from learners import LearnerError
from learners.encode_inputs import put_inputs
from learners.encode_lists import encode_lists
from learners.part import learns_lists
from learning.parts import Parts, build_parts
from learning.rows.codec import encode_control
from learning.rows.publish import TrainedRows
from learning.rows.shared import SharedRows
from learning.settings import LearningSettings
from learning.shards.reading import SegmentReader
from learning.shards.sampling import SamplingRate
from learning.shards.source_marks import SourceMarks
from stream.block_codec import SEGMENT_VERSION, encode_segment
from stream.blocks import Forgotten
from stream.engine.shard import Headers, Output, SourceRecord
from stream.frame import MALFORMED, Frame
from stream.item_blocks import Ticked
from stream.open_lists import OpenLists
from stream.training import HandedOver, Sampled, TrainingLists

__all__ = ["TrainShard"]

_HEADERS: Headers = (("schema", b"%d" % SEGMENT_VERSION),)
_MARK = b"progress/train"
_FEW = 4_096  # rows of tables that nothing is learned into here


class TrainShard:
    """A `stream.engine.shard.ShardStep`: lists of all users' partitions to the `ranker` in `control`.

    A list that was shown stays open until its window is over, in a ring of `learn.training_mb`; beyond it the
    oldest close as they are, and clicks on lists that are not open teach nothing; both are counted. A forget
    drops the user's open lists. What is learned depends on the order of the topic alone, never on how its
    records are cut into batches.

    Whoever drives it asks now and then whether it keeps up (`keeps_up`): where it does not, owners of users
    are told to pass on fewer of the lists that nobody clicks. What all of them have passed on is the mark of
    TRAIN, in `control`.

    Before there was this step the owner of users' partition 0 learned the ranker. Whoever owns that partition
    now and does not write the ranker any more says so, and hands over what it had (`HandedOver`). Until then
    it is not published here. The first hand-over that has learned anything replaces what was learned here
    until then. An older worker that gets that partition once more writes under the key of before, which
    nobody heeds who has seen a row from here.

    Args:
        partition: number of the partition of `training`.
        settings: of the whole system.
        n_partitions: how many partitions of users hand over their lists.

    Example:
        >>> from stream.block_codec import encode_segment
        >>> shard = TrainShard(0, LearningSettings(), 1)
        >>> ranker = shard.parts.ranker.snapshot() | {"steps": 7, "published": -1}
        >>> shard.on_records([SourceRecord(0, encode_segment(HandedOver({"ranker": ranker})))])
        >>> [(output.topic, output.key) for output in shard.take()], shard.parts.ranker.steps
        ([('control', b'ranker/train')], 7)
    """

    def __init__(self, partition: int, settings: LearningSettings, n_partitions: int) -> None:
        few = msgspec.structs.replace(settings.learn, max_items=_FEW, max_users=_FEW)
        self.parts: Parts = build_parts(msgspec.structs.replace(settings, learn=few), trains=True)
        self.parts.unclaimed.tells = False  # the owner of items does
        self.reader = SegmentReader(
            "training", partition, (TrainingLists, Forgotten, HandedOver, Ticked, Sampled)
        )
        self.lists = OpenLists(settings.learn.training_mb << 20)
        """Lists whose windows are not over."""
        self.n_missed = 0
        """Clicks on lists that are not open: nothing was learned from them."""
        self.marks = SourceMarks(n_partitions)
        """How far the owners of users have come."""
        self.rate = 1.0
        """The share of lists without a click that owners of users pass on, as they say."""
        self._sampling: SamplingRate | None = None
        self._read_at = 0
        self._orders: list[Output] = []
        self._told = (0, 0)
        self._rows = TrainedRows({"ranker": self.parts.ranker})
        self._shared = SharedRows({**self.parts.list_learners(), **self.parts.measures}, "train", partition)
        self._is_ours = False
        # Of the features of requests that lists carry; None where nothing that learns here reads them.
        self._layout = self.parts.request_features.layout if self.parts.reads_inputs else None

    # -- records in ------------------------------------------------------------------------------------------

    @property
    def counters(self) -> Mapping[str, int]:
        """Lists that closed before their window was over, and clicks on lists that are not there."""
        return {"lists closed early": self.lists.n_closed_early, "clicks missed": self.n_missed}

    @property
    def n_letters(self) -> int:
        """Dead letters since this object was made."""
        return self.reader.n_letters

    def on_records(self, records: Sequence[SourceRecord]) -> None:
        """Take records in the order of their offsets.

        Raises:
            LogError: a newer program wrote one of them.
        """
        if records:
            self._read_at = records[-1].at
        for record in records:
            segment = self.reader.read(record)
            if isinstance(segment, TrainingLists):
                with self.reader.placing(record.offset):
                    self._learn(segment)
            elif isinstance(segment, Forgotten):
                self.lists.forget(segment.user_id, segment.ts)
            elif isinstance(segment, HandedOver):
                self._hear(segment, record)
            elif isinstance(segment, Ticked):
                self._tick(segment, record)
            elif isinstance(segment, Sampled):
                self.rate = segment.rate

    def keeps_up(self, now_ms: float, *, at_end: bool) -> float | None:
        """Find out whether the rate of lists without a click is right; the new one, if it is not.

        Not part of what the step repeats: it looks at the time, and a take-over goes on from what the owners
        of users say.

        Args:
            now_ms: wall clock.
            at_end: nothing is left to read.
        """
        if self._sampling is None:
            self._sampling = SamplingRate(self.rate)
        if not self._sampling.look(now_ms, 0 if at_end else now_ms - self._read_at):
            return None
        value = encode_segment(Sampled(self._sampling.rate))
        self._orders = [
            Output("feedback", partition, value, b"train", _HEADERS)
            for partition in range(self.marks.n_sources)
        ]
        return self._sampling.rate

    def _learn(self, block: TrainingLists) -> None:
        found = self.lists.follow(block, self._layout)
        self.n_missed += found.n_missed
        if self._reads_clicks_alone():
            found = found.of_clicks(block.kind)
        if not found.lists:
            return
        rows = encode_lists(block, found, self.parts.ranker.schemas)
        if self.parts.reads_inputs:
            put_inputs(rows, found.lists, self.parts.request_features.width)
        self.parts.learn_lists(rows)

    def _reads_clicks_alone(self) -> bool:
        learners = filter(learns_lists, self.parts.list_learners().values())
        return all(part.reads_clicks_alone for part in learners)

    def _tick(self, tick: Ticked, record: SourceRecord) -> None:
        if not 0 <= tick.source < self.marks.n_sources:
            self.reader.bury(record, f"tick of source {tick.source}, there are {self.marks.n_sources}")
        elif tick.rewinds:
            self.marks.rewind(tick)
        else:
            self.marks.put(tick)
            with self.reader.placing(record.offset):
                self.parts.read_notes(self.parts.list_learners())

    def _hear(self, handed: HandedOver, record: SourceRecord) -> None:
        """Take over what was learned elsewhere, once: it is said again and again, for it may not be heard."""
        if self._is_ours:
            return
        learners = self.parts.list_learners()
        before = {name: part.snapshot() for name, part in learners.items()}
        try:
            for name, state in handed.parts.items():
                if name in learners and state["steps"]:
                    learners[name].restore(state)
        except (LearnerError, *MALFORMED) as error:
            for name, part in learners.items():
                part.restore(before[name])
            self.reader.bury(record, f"what was learned before cannot be taken over: {error!r}")
            return
        self._is_ours = True

    # -- records out -----------------------------------------------------------------------------------------

    def take(self) -> list[Output]:
        """Dead letters, the changed weights, and behind them how far that is, since the last call."""
        orders, self._orders = self._orders, []
        outputs = (
            orders + self.reader.take() + self._shared.take() + (self._rows.take() if self._is_ours else [])
        )
        now = self.marks.absorbed_at, self.marks.watermark
        if now != self._told:
            self._told = now
            state = {"absorbed_at": now[0], "watermark": now[1]}
            outputs.append(Output("control", 0, encode_control("progress", state), _MARK))
        return outputs

    # -- state -----------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """All state; what has come out must have been taken."""
        return {
            "parts": {name: part.snapshot() for name, part in self.parts.list_learners().items()},
            "unclaimed": self.parts.unclaimed.snapshot(),
            "measures": {name: part.snapshot() for name, part in self.parts.measures.items()},
            "lists": self.lists.snapshot(),
            "missed": self.n_missed,
            "is_ours": self._is_ours,
            "marks": self.marks.snapshot(),
            "told": list(self._told),
            "rate": self.rate,
            **({} if self._layout is None else {"layout": self._layout}),
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self.parts.restore_lists({"unclaimed": frame.get("unclaimed", {}), **frame["parts"]})
        for name, state in frame.get("measures", {}).items():
            if name in self.parts.measures:
                self.parts.measures[name].restore(state)
        self.lists.restore(self._readable(frame))
        self.n_missed = frame["missed"]
        self._is_ours = frame["is_ours"]
        if "marks" in frame:  # the first snapshots had none: the next ticks say it
            self.marks.restore(frame["marks"])
            self._told = tuple(frame["told"])
        self.rate = frame.get("rate", 1.0)

    def _readable(self, frame: Frame) -> Frame:
        """The open lists of a snapshot, without what nothing reads under the settings of now."""
        unread = {"keys", "request"} if self._layout is None else set()
        if frame.get("layout") != self._layout:
            unread |= {"request"}
        return {name: column for name, column in frame["lists"].items() if name not in unread}
