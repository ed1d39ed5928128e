"""JOIN on one partition of `events`: the joiner that the embedded learner runs, records in, records out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from learning.rows.codec import encode_control
from learning.settings import LearningSettings
from learning.shards.letters import letter_about
from stream.block_codec import SEGMENT_VERSION, encode_item
from stream.block_routing import bounded, route_segments
from stream.blocks import FeedbackBlock, Forgotten, ItemsBlock, Segment
from stream.codec import decode_logged
from stream.engine.driver import ClockMode
from stream.engine.shard import Headers, Output, SourceRecord
from stream.engine.ticker import Ticker
from stream.errors import EventError, LogError
from stream.events import EVENT_SCHEMA, Decision, Forget, ItemEvent, LoggedEvent, Tick
from stream.forget import ForgetBook
from stream.frame import Frame
from stream.item_blocks import Ticked
from stream.join import Joiner, JoinSettings
from stream.kafka.bundles import ACCEPTED, accepted_times
from stream.kafka.partitioning import partition_of
from stream.lateness import BEHAVIOUR
from stream.rules import broken_own_rule, broken_rule

__all__ = ["JoinShard", "join_shard"]

_HEADERS: Headers = (("schema", b"%d" % SEGMENT_VERSION),)
_LARGEST = 1_000_000  # brokers take 1,048,588 bytes a record by default, key, headers and frame included

_raws = msgspec.json.Decoder(list[msgspec.Raw])


class JoinShard:
    """A `stream.engine.shard.ShardStep`: events to `feedback`, `item-feedback`, `catalogue`, `dead-letters`
    and, how far history has come, `control`.

    Outcomes and forgets go to the partition of their user, items to that of the item, ticks to every
    partition of `feedback`. What cannot be read is a dead letter; an event in an array falls alone. A forget
    is passed on and not applied here: the user's slates lie in other partitions too, and whoever owns the
    user drops what is not newer.

    Time is what the ticks in the partition say (`wall`), or the largest `ts` in it (`event`); history
    (header ``backfill``) always has a joiner and a time of its own. Memory: that of two `Joiner`.

    Args:
        partition: number of the partition of `events`.
        partition_of: the partition of an id, the same as whoever wrote the events used.
        settings: how outcomes are joined.
        mode: which clock.
        tick_ms: time between ticks of the event clock.
        n_partitions: how many partitions `feedback` has: each learns how far this one has come.
        max_ahead_ms: how far `ts` may be ahead of the time at which a record was written, on the wall clock;
            an event that is later is a dead letter. None: as far as it likes, as on the event clock.

    Example:
        >>> shard = JoinShard(0, lambda name: 0)
        >>> click = b'{"type": "click", "ts": 1700000000000, "user_id": "ann", "item_id": "a"}'
        >>> shard.on_records([SourceRecord(0, click), SourceRecord(1, b"{")])
        >>> [(output.topic, output.key) for output in shard.take()]
        [('dead-letters', b'events/0/1'), ('feedback', b'0')]
    """

    def __init__(
        self,
        partition: int,
        partition_of: Callable[[str], int],
        settings: JoinSettings | None = None,
        *,
        mode: ClockMode = "wall",
        tick_ms: int = 1_000,
        n_partitions: int = 1,
        max_ahead_ms: int | None = None,
    ) -> None:
        self._max_ahead_ms = None if mode == "event" else max_ahead_ms
        self._n_partitions = n_partitions
        self._partition = partition
        self._partition_of = partition_of
        self._by_event = mode == "event"
        # Nothing is ever put into the book: the key protects nobody.
        settings = settings or JoinSettings()
        self.joiners = {backfill: Joiner(settings, ForgetBook(bytes(16))) for backfill in (False, True)}
        self._tickers = {backfill: Ticker(tick_ms) for backfill in (False, True)}
        self._backfill = False
        self._last = SourceRecord(-1, b"")
        self._segments: list[Segment] = []
        self._letters: list[Output] = []
        self._history_told = -1
        self.n_letters = 0
        """Dead letters since this object was made."""

    @property
    def pressure(self) -> float:
        """Share of JOIN's memory bounds in use."""
        return max(joiner.pressure for joiner in self.joiners.values())

    @property
    def counters(self) -> dict[str, int]:
        """The outcomes of both joiners, by name."""
        live, backfill = self.joiners[False].counters, self.joiners[True].counters
        return {name: live[name] + backfill[name] for name in live}

    # Records in

    def on_records(self, records: Sequence[SourceRecord]) -> None:
        """Take records in the order of their offsets.

        Raises:
            LogError: a newer program wrote one of them.
        """
        for record in records:
            headers = dict(record.headers)
            events = list(self._events(record, headers))
            self._feed(events, backfill=headers.get("backfill") == b"1")
            self._last = record

    def _events(
        self, record: SourceRecord, headers: Mapping[str, bytes]
    ) -> Iterator[tuple[LoggedEvent, int]]:
        """The record's events, and when each was accepted; what is none becomes a dead letter."""
        schema = self._schema(record, headers.get("schema"))
        if schema is None:
            return
        try:
            events: Sequence[LoggedEvent | None] = decode_logged(record.value, schema)
        except EventError as error:
            events = self._one_by_one(record, schema, error)
        plain = record.value.isascii()
        times = accepted_times(headers.get(ACCEPTED), record.at, len(events))
        for index, event in enumerate(events):
            if event is None:
                continue
            if isinstance(event, Decision | Tick):
                reason = broken_own_rule(event)
            else:
                reason = broken_rule(event, ascii_only=plain) or self._too_early(event.ts, record.at)
            if reason is None:
                yield event, times[index]
            else:
                self._bury(record, reason, index)

    def _too_early(self, ts: int, at: int) -> str | None:
        """What is wrong with a time that has not come: one such forget would hide its user until it comes."""
        if self._max_ahead_ms is None or ts <= at + self._max_ahead_ms:
            return None
        ahead = f"{self._max_ahead_ms} ms ahead of the record's time"
        return f"ts: expected at most {at + self._max_ahead_ms}, {ahead}, got {ts}"

    def _schema(self, record: SourceRecord, stated: bytes | None) -> int | None:
        if stated is None:
            return EVENT_SCHEMA
        if not stated.isdigit() or len(stated) > 9:
            self._bury(record, f"header schema: expected a number, got {stated[:40]!r}")
            return None
        if int(stated) > EVENT_SCHEMA:
            msg = (
                f"events/{self._partition}/{record.offset} has event schema {int(stated)}, "
                f"this program reads 1 to {EVENT_SCHEMA}; use the program that wrote it, or a newer one"
            )
            raise LogError(msg)
        return int(stated)

    def _one_by_one(self, record: SourceRecord, schema: int, error: EventError) -> list[LoggedEvent | None]:
        """The events of an array that has something unreadable in it, with None in the place of that."""
        try:
            raws = _raws.decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._bury(record, str(error))
            return []
        events: list[LoggedEvent | None] = []
        for index, raw in enumerate(raws):
            text = bytes(raw)
            try:
                events += decode_logged(b"[%b]" % text, schema)
            except EventError as its_own:
                self._bury(record, str(its_own), index, text)
                events.append(None)
        return events

    def _bury(
        self, record: SourceRecord, reason: str, index: int | None = None, original: bytes | None = None
    ) -> None:
        """Write a dead letter about a record, or about the event at `index` in it."""
        self.n_letters += 1
        self._letters.append(
            letter_about(record, reason, "events", self._partition, index=index, original=original)
        )

    def _feed(self, events: Sequence[tuple[LoggedEvent, int]], *, backfill: bool) -> None:
        if backfill is not self._backfill:
            self._gather()
            self._backfill = backfill
        joiner, ticker = self.joiners[backfill], self._tickers[backfill]
        by_event = backfill or self._by_event
        for event, accepted_at in events:
            # History is no measure of how fresh rows are.
            joiner.accepted(0 if backfill else accepted_at)
            # A tick of the log says what the wall clock shows, which is nothing to the event clock.
            # In history an item's time says when it was described, which is often the day of the export.
            moves = isinstance(event, BEHAVIOUR) if backfill else type(event) is not Tick
            if by_event and moves and event.ts >= ticker.next:
                joiner.on_tick(ticker.due(event.ts) or 0)
            if type(event) is Forget:
                joiner.counters["forgets"] += 1
                self._gather()
                self._segments.append(Forgotten(event.user_id, event.ts))
            elif type(event) is not Tick:
                joiner.on_event(event)
            elif not backfill:
                self._tick(event.ts)

    def _tick(self, ts: int) -> None:
        """Pass the time on; it moves this joiner's only where time is the wall's."""
        joiner = self.joiners[False]
        if not self._by_event:
            joiner.on_tick(ts)
        self._gather()
        self._segments.append(Ticked(self._partition, ts, max(joiner.watermark, 0)))

    def ahead(self, latest_ms: int) -> dict[str, int]:
        """Times kept here that are later than `latest_ms`, by what they are; none on the event clock."""
        if self._by_event:
            return {}
        times = {"watermark": self.joiners[False].watermark, "history": self.joiners[True].watermark}
        return {what: at for what, at in times.items() if at > latest_ms}

    def rewind(self, now_ms: int, latest_ms: int) -> None:
        """Time was wrong and is `now_ms`: what is later than `latest_ms` goes, whatever waits goes on."""
        if self._by_event:
            return
        for joiner in self.joiners.values():
            joiner.rewind(now_ms, latest_ms)
        ticker = self._tickers[True]
        if ticker.last > latest_ms:
            ticker.last = now_ms // ticker.tick_ms * ticker.tick_ms
            self._history_told = -1  # whoever refuses what is older must hear of it

    def tell_rewound(self, now_ms: int) -> None:
        """Tell all that follow: everything acknowledged at `now_ms` was here, and no later time was true."""
        self._gather()
        watermark = max(self.joiners[False].watermark, 0)
        self._segments.append(Ticked(self._partition, now_ms, watermark, rewinds=True))

    def _gather(self) -> None:
        """Line up what has come out, so that outcomes of both streams leave in the order of the records."""
        self._segments += self.joiners[self._backfill].take()

    # Records out

    def take(self) -> list[Output]:
        """Dead letters, items and outcomes since the last call, each topic's in order."""
        self._gather()
        segments, self._segments = self._segments, []
        outputs: list[Output] = []
        for place, block in self._items(segments).items():
            outputs += self._written("item-feedback", place, block)
            outputs += [self._row(place, item) for item in block.items]
        for place, mine in route_segments(segments, self._partition_of, self._n_partitions).items():
            for segment in mine:
                outputs += self._written("feedback", place, segment)
                self._drop_known(segment)
        letters, self._letters = self._letters, []
        return letters + outputs + self._history()

    def _drop_known(self, segment: Segment) -> None:
        """Of what is written nobody here looks again at what is known of the items."""
        slates = segment.slates if isinstance(segment, FeedbackBlock) else ()
        if known := [slate for slate in slates if slate.item_context]:
            for joiner in self.joiners.values():
                joiner.weigh_again(known)

    def _history(self) -> list[Output]:
        """How far history has come here, where that is news: for whoever must refuse what is older."""
        reached = self._tickers[True].last
        if reached <= self._history_told:
            return []
        self._history_told = reached
        key = f"history/{self._partition}".encode()
        return [Output("control", 0, encode_control("history", {"watermark": reached}), key)]

    def _items(self, segments: Sequence[Segment]) -> dict[int, ItemsBlock]:
        blocks: dict[int, ItemsBlock] = {}
        for segment in segments:
            if isinstance(segment, ItemsBlock):
                times = segment.accepted or [0] * len(segment.items)
                for item, accepted_at in zip(segment.items, times, strict=True):
                    block = blocks.setdefault(self._partition_of(item.item_id), ItemsBlock())
                    block.items.append(item)
                    block.accepted.append(accepted_at)
        return blocks

    def _row(self, partition: int, item: ItemEvent) -> Output:
        value = None if item.deleted else encode_item(item)
        return Output("catalogue", partition, value, item.item_id.encode())

    def _written(self, topic: str, partition: int, segment: Segment) -> list[Output]:
        """The records of one segment; a thing that no record can hold becomes a dead letter."""
        outputs: list[Output] = []
        for value in bounded(segment):
            if len(value) <= _LARGEST:
                outputs.append(Output(topic, partition, value, b"%d" % self._partition, _HEADERS))
                continue
            reason = f"one outcome for {topic} takes {len(value)} bytes, a record may hold {_LARGEST}"
            self._bury(self._last, reason, original=value)
        return outputs

    # State

    def snapshot(self) -> Frame:
        """Both joiners and where their tickers stand."""
        return {
            "live": self.joiners[False].snapshot(),
            "backfill": self.joiners[True].snapshot(),
            "tickers": [self._tickers[False].last, self._tickers[True].last],
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self.joiners[False].restore(frame["live"])
        self.joiners[True].restore(frame["backfill"])
        self._tickers[False].last, self._tickers[True].last = frame["tickers"]
        self._history_told = self._tickers[True].last
        self._segments, self._letters = [], []


def join_shard(settings: LearningSettings, partition: int) -> JoinShard:
    """The step of a partition of `events`, as the settings of the whole system have it."""
    return JoinShard(
        partition,
        lambda name: partition_of(name, settings.kafka.partitions),
        settings.join,
        mode=settings.clock,
        tick_ms=settings.engine.tick_ms,
        n_partitions=settings.kafka.partitions,
        max_ahead_ms=settings.max_ahead_ms,
    )
