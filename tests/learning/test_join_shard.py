"""JOIN on partitions: the same outcomes as one joiner, dead letters, and time."""

from __future__ import annotations

import asyncio
import base64
import gzip
from collections import Counter
from collections.abc import Sequence
from typing import Any
from zlib import crc32

import msgspec
import pytest

from freshet.config import Settings
from learning.pipeline import Pipeline
from learning.rows.follow import RowFollower
from learning.shards.join import JoinShard
from learning.shards.letters import Letter
from stream.block_codec import decode_item, decode_segment
from stream.blocks import ORGANIC, FeedbackBlock, Forgotten, ItemsBlock, Segment
from stream.clock import ManualClock
from stream.codec import encode_events
from stream.engine.driver import ClockMode
from stream.engine.shard import Output, Shard, SourceRecord
from stream.engine.shard_memory import MemoryPartition, MemoryShardStore
from stream.errors import LogError
from stream.events import Click, Decision, Forget, Impression, ItemEvent, LoggedEvent, Tick
from stream.forget import ForgetBook
from stream.frame import pack
from stream.item_blocks import Ticked
from stream.join import Joiner, JoinSettings
from stream.testing import ScriptedEvents
from stream.testing_shard import ShardStepContract

N = 4
MINUTE = 60_000
T = 1_700_000_000_000


def part(name: str) -> int:
    return crc32(name.encode()) % N


def home(event: LoggedEvent) -> int:
    """The partition that an event is sent to, by the table of topics."""
    if isinstance(event, ItemEvent):
        return part(event.item_id)
    if isinstance(event, Decision | Impression):
        return part(event.request_id)
    if isinstance(event, Click) and event.request_id is not None:
        return part(event.request_id)
    assert isinstance(event, Click | Forget) and event.user_id is not None
    return part(event.user_id)


def script(seed: int, n: int = 600) -> list[LoggedEvent]:
    events = ScriptedEvents(seed).take(n)
    return [*events, Tick(ts=events[-1].ts + 45 * MINUTE)]


def operations(segments: Sequence[Segment]) -> list[tuple[Any, ...]]:
    """Every outcome with its user and the time that a forget is compared with."""
    found: list[tuple[Any, ...]] = []
    for segment in segments:
        if isinstance(segment, FeedbackBlock):
            columns = zip(segment.kind, segment.ref, segment.place, segment.reward, segment.ts, strict=True)
            for kind, ref, place, reward, ts in columns:
                if kind == ORGANIC:
                    user, item = segment.organic[ref]
                    found.append((user, ts, kind, item, reward))
                else:
                    slate = segment.slates[ref]
                    more = (slate.request_id, tuple(slate.items), slate.policy, place, reward, ts)
                    found.append((slate.user_id, slate.ts, kind, *more))
    return found


def learned(segments: Sequence[Segment]) -> Counter[tuple[Any, ...]]:
    """What is left when the owner of each user has dropped what is not newer than the last forget."""
    until: dict[str, int] = {}
    for segment in segments:
        if isinstance(segment, Forgotten):
            until[segment.user_id] = max(segment.ts, until.get(segment.user_id, 0))
    return Counter(op for op in operations(segments) if op[1] > until.get(op[0], 0))


def read(outputs: Sequence[Output]) -> list[Segment]:
    topics = ("feedback", "item-feedback")
    return [decode_segment(out.value) for out in outputs if out.topic in topics and out.value is not None]


def misfits_after_a_forget(events: Sequence[LoggedEvent]) -> set[tuple[Any, ...]]:
    """Clicks newer than their user's forget that name an older slate and do not fit it.

    One joiner knows of the forget and drops them; a partition that does not hold the user teaches them as
    organic, at their own time, which is after the forget.
    """
    shown = {e.request_id: e.ts for e in events if isinstance(e, Decision | Impression)}
    until = {e.user_id: e.ts for e in events if isinstance(e, Forget)}
    return {
        (e.user_id, e.ts, ORGANIC, e.item_id, 1.0)
        for e in events
        if isinstance(e, Click) and e.request_id is not None and e.user_id is not None
        if shown.get(e.request_id, e.ts) <= until.get(e.user_id, 0) < e.ts
    }


async def joined_in_partitions(events: Sequence[LoggedEvent]) -> list[MemoryPartition]:
    partitions = [MemoryPartition() for _ in range(N)]
    for event in events:
        for number in range(N) if isinstance(event, Tick) else (home(event),):
            partitions[number].append(encode_events([event]))
    for number, partition in enumerate(partitions):
        shard = Shard(JoinShard(number, part), MemoryShardStore(partition), ManualClock())
        await shard.open()
        await shard.deliver(partition.records)
    return partitions


@pytest.mark.parametrize("seed", range(5))
def test_partitions_together_give_the_outcomes_of_one_joiner(seed: int) -> None:
    events = script(seed)
    one = Joiner(JoinSettings(), ForgetBook(bytes(16)))
    one.on_events(events)
    partitions = asyncio.run(joined_in_partitions(events))
    segments = [segment for partition in partitions for segment in read(partition.outputs)]
    expected = learned(one.take())
    assert not expected - learned(segments)
    assert set(learned(segments) - expected) <= misfits_after_a_forget(events)
    assert {op[2] for op in learned(segments)} == {0, 1, 2, 3}


def test_everything_of_a_user_and_of_an_item_is_in_their_partition() -> None:
    partitions = asyncio.run(joined_in_partitions(script(7)))
    for output in (output for partition in partitions for output in partition.outputs):
        if output.topic == "feedback":
            assert {part(op[0]) for op in operations(read([output]))} <= {output.partition}
        elif output.topic == "catalogue":
            assert output.key is not None and part(output.key.decode()) == output.partition


def test_items_come_in_order_and_the_deleted_leave_the_catalogue() -> None:
    shard = JoinShard(0, lambda name: 0)
    items = [ItemEvent(item_id="a", ts=T + 1), ItemEvent(item_id="a", ts=T + 2, group="g")]
    gone = ItemEvent(item_id="a", ts=T + 3, deleted=True)
    shard.on_records([record(*items, gone)])
    outputs = shard.take()
    (block,) = read(outputs)
    rows = [output.value for output in outputs if output.topic == "catalogue"]
    assert isinstance(block, ItemsBlock) and block.items == [*items, gone]
    assert [row and decode_item(row) for row in rows] == [*items, None]


def record(*events: LoggedEvent, offset: int = 0, **headers: bytes) -> SourceRecord:
    return SourceRecord(offset, encode_events(events), None, T + 99, tuple(headers.items()))


def test_a_time_that_has_not_come_is_a_dead_letter_and_hides_nobody() -> None:
    shard = JoinShard(0, part, max_ahead_ms=1_000)
    shard.on_records(
        [record(Forget(user_id="ann", ts=T + 1_100), Click(ts=T + 1_099, user_id="ann", item_id="a"))]
    )
    outputs = shard.take()
    (letter,) = [output for output in outputs if output.topic == "dead-letters"]
    assert b"ts: expected at most %d, 1000 ms ahead of the record's time" % (T + 1_099) in (
        letter.value or b""
    )
    assert [type(segment) for segment in read(outputs)] == [FeedbackBlock]


def letters(shard: JoinShard) -> list[Letter]:
    outputs = [output for output in shard.take() if output.topic == "dead-letters"]
    return [msgspec.json.decode(output.value or b"", type=Letter) for output in outputs]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b'{"type": "click", "item_id": "caf\xe9"}', "cannot be read"),
        (b"", "cannot be read"),
        (b'{"type": "click", "ts": 5}', "item_id"),
        (b'{"type": "click", "ts": 1700000000000, "item_id": "a"}', "user_id or request_id"),
        (b'{"type": "click", "ts": 1700000000, "item_id": "a", "user_id": "u"}', "ts: milliseconds expected"),
        (
            b'{"type": "impression","ts":1700000000000,"request_id":"r","user_id": "u","items": ["a", "a"]}',
            "distinct",
        ),
        (b'{"type": "dance", "ts": 5}', "dance"),
        (b"[" * 100_000, "cannot be read"),
    ],
)
def test_a_poisoned_record_is_a_dead_letter_with_its_place_and_bytes(value: bytes, says: str) -> None:
    shard = JoinShard(2, part)
    shard.on_records([SourceRecord(41, value, None, 99)])
    (letter,) = letters(shard)
    assert says in letter.reason
    assert (letter.topic, letter.partition, letter.offset, letter.at) == ("events", 2, 41, 99)
    assert base64.b64decode(letter.original) == value[:65_536] and letter.n_bytes == len(value)


def test_of_bytes_that_are_no_text_a_letter_keeps_a_note() -> None:
    shard = JoinShard(2, part)
    shard.on_records([SourceRecord(41, gzip.compress(b"ann"), None, 99)])
    (letter,) = letters(shard)
    assert base64.b64decode(letter.original).startswith(b"(23 bytes of gzip, not kept")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"items": []}, "items"),
        ({"items": ["a", "a"]}, "items"),
        ({"propensities": []}, "propensities"),
        ({"clusters": [10**40], "weights": [1.0]}, "clusters"),
        ({"clusters": [1]}, "clusters"),
        ({"explored": [2]}, "explored"),
        ({"propensities": [0.5, 0.0]}, "propensities"),
        ({"propensities": [0.5, 1.5]}, "propensities"),
        ({"clusters": [1], "weights": [1e300]}, "weights"),
        ({"items": ["a", ""]}, "items"),
        ({"others": ["x" * 257]}, "others"),
        ({"user_id": ""}, "user_id"),
        ({"context": {"features": [1e300]}}, "context.features"),
        ({"context": {"features": "a"}}, "context.features"),
        ({"seed": 10**30}, "64 bits"),
        ({"ts": 10**30}, "ts"),
        ({"features": "!"}, "cannot be read"),
    ],
)
def test_a_decision_that_nobody_of_ours_wrote_stops_nothing(wrong: dict[str, Any], says: str) -> None:
    fields = {"type": "decision", "request_id": "r", "ts": 5, "user_id": "u", "policy": "p", "auto": False}
    shard = JoinShard(0, part)
    value = msgspec.json.encode({**fields, "items": ["a", "b"], "propensities": [0.5, 0.5], **wrong})
    shard.on_records([SourceRecord(0, value), SourceRecord(1, b'{"type": "tick", "ts": 9999999999999999}')])
    first, second = letters(shard)
    assert says in first.reason and "ts: expected" in second.reason
    assert pack(shard.snapshot()) == pack(JoinShard(0, part).snapshot())


def test_a_bad_event_in_an_array_falls_alone() -> None:
    good = b'{"type": "click", "ts": 1700000000000, "item_id": "a", "user_id": "u"}'
    shard = JoinShard(0, part)
    shard.on_records([SourceRecord(7, b'[%b, {"type": "click", "ts": "soon"}, [%b]]' % (good, good))])
    assert [(letter.offset, letter.index) for letter in letters(shard)] == [(7, 1), (7, 2)]
    assert shard.counters["organic"] == 1 and shard.n_letters == 2


@pytest.mark.parametrize("schema", [b"one", b"-1", b""])
def test_a_schema_that_is_no_number_is_a_dead_letter(schema: bytes) -> None:
    shard = JoinShard(0, part)
    shard.on_records([record(Tick(ts=T + 5), schema=schema)])
    assert "schema" in letters(shard)[0].reason


def test_a_newer_schema_stops_the_shard_and_says_where() -> None:
    with pytest.raises(LogError, match=r"events/3/17 has event schema 2"):
        JoinShard(3, part).on_records([record(Tick(ts=T + 5), offset=17, schema=b"2")])


def test_an_outcome_that_no_record_can_hold_is_a_dead_letter() -> None:
    shard = JoinShard(0, part)
    large = Impression(request_id="r", ts=T + 5, user_id="u", items=["a"], context={"text": "x" * 1_200_000})
    shard.on_records([record(large), record(Click(ts=T + 6, user_id="u", item_id="b"), offset=1)])
    outputs = shard.take()
    assert [output.topic for output in outputs] == ["dead-letters", "feedback"]
    assert [op[2] for op in operations(read(outputs))] == [ORGANIC]


@pytest.mark.parametrize(("mode", "closed"), [("wall", 0), ("event", 1)])
def test_time_comes_from_ticks_or_from_the_largest_ts(mode: ClockMode, closed: int) -> None:
    shard = JoinShard(0, part, mode=mode)
    shown = Impression(request_id="r", ts=T + 5, user_id="u", items=["a"])
    shard.on_records([record(shown), record(Click(ts=T + 60 * MINUTE, user_id="u", item_id="b"), offset=1)])
    assert shard.counters["closed"] == closed
    shard.on_records([record(Tick(ts=T + 60 * MINUTE), offset=2)])
    assert shard.counters["closed"] == 1


@pytest.mark.parametrize(("mode", "watermark"), [("wall", 90 * MINUTE), ("event", 60 * MINUTE)])
def test_every_partition_is_told_how_far_this_one_has_come(mode: ClockMode, watermark: int) -> None:
    shard = JoinShard(1, part, mode=mode, n_partitions=3)
    shard.on_records(
        [record(Click(ts=T + 60 * MINUTE, user_id="u", item_id="b")), record(Tick(ts=T + 90 * MINUTE))]
    )
    feedback = [output for output in shard.take() if output.topic == "feedback"]
    ticks = {
        output.partition: segment
        for output, segment in zip(feedback, read(feedback), strict=True)
        if isinstance(segment, Ticked)
    }
    assert ticks == dict.fromkeys(range(3), Ticked(1, T + 90 * MINUTE, T + watermark))
    assert isinstance(read([o for o in feedback if o.partition == part("u")])[0], FeedbackBlock)


def test_history_has_a_time_of_its_own() -> None:
    shard = JoinShard(0, part)
    shard.on_records(
        [record(Tick(ts=T + 100 * MINUTE)), record(Click(ts=T + 5, user_id="u", item_id="a"), backfill=b"1")]
    )
    shard.on_records([record(Click(ts=T + 5, user_id="u", item_id="b"))])
    assert (shard.counters["organic"], shard.counters["late"]) == (1, 1)


def test_a_clock_that_is_set_back_moves_nothing() -> None:
    shard = JoinShard(0, part)
    shard.on_records([record(Tick(ts=T + 100 * MINUTE)), record(Tick(ts=T + 10 * MINUTE), offset=1)])
    shard.on_records([record(Click(ts=T + 10 * MINUTE, user_id="u", item_id="a"), offset=2)])
    assert (shard.counters["organic"], shard.counters["late"]) == (0, 1)


def test_a_clock_that_is_ahead_makes_events_late_and_they_are_counted() -> None:
    shard = JoinShard(0, part)
    clicks = [Click(ts=T + 100 * MINUTE + n, user_id="u", item_id="a") for n in range(2)]
    shard.on_records([record(Tick(ts=T + 100 * MINUTE)), record(clicks[0], offset=1)])
    shard.on_records([record(Tick(ts=T + 160 * MINUTE), offset=2), record(clicks[1], offset=3)])
    assert (shard.counters["organic"], shard.counters["late"]) == (1, 1)


class TestJoinShard(ShardStepContract):
    def make_step(self) -> JoinShard:
        return JoinShard(0, part)

    def records(self) -> list[SourceRecord]:
        events = script(1, 400)
        flags = (
            b"1" if n % 7 == 0 and not isinstance(event, Tick) else b"0" for n, event in enumerate(events)
        )
        return [
            record(event, offset=n, backfill=flag)
            for n, (event, flag) in enumerate(zip(events, flags, strict=True))
        ]

    def meaning(self, outputs: Sequence[Output]) -> object:
        by_partition: dict[int, list[Any]] = {}
        for output in outputs:
            if output.topic == "feedback":
                mine = by_partition.setdefault(output.partition, [])
                mine += [s if isinstance(s, Forgotten) else operations([s]) for s in read([output])]
        flat = {
            number: [one for entry in mine for one in (entry if isinstance(entry, list) else [entry])]
            for number, mine in by_partition.items()
        }
        items = [item for s in read(outputs) if isinstance(s, ItemsBlock) for item in s.items]
        return flat, Counter(item.item_id for item in items)


def test_how_far_history_has_come_is_told_once_and_followed_by_servers() -> None:
    shard, follower = JoinShard(2, part), RowFollower(Settings())
    history = (("backfill", b"1"),)
    clicks = [Click(ts=1_700_000_000_500 - n, item_id="a", user_id="u") for n in (0, 300_000)]
    shard.on_records([SourceRecord(n, encode_events([c]), headers=history) for n, c in enumerate(clicks)])
    [told] = [output for output in shard.take() if output.topic == "control"]
    shard.on_records(
        [SourceRecord(2, encode_events([ItemEvent(ts=1_800_000_000_000, item_id="a")]), headers=history)]
    )
    assert not [output for output in shard.take() if output.topic == "control"], "an item is no news of time"
    follower.add("control", told.partition, told.key or b"", told.value)
    again = RowFollower(Settings())
    again.restore(follower.snapshot())
    assert follower.history == again.history == {2: 1_700_000_000_000}


def test_what_is_known_of_a_lists_items_is_kept_until_it_is_written() -> None:
    shown = Impression(request_id="r", ts=T, user_id="u", items=["a", "b"])
    told = msgspec.structs.replace(shown, item_context=[{"text": "x" * 200_000}, None])
    light, heavy = JoinShard(0, lambda _: 0), JoinShard(0, lambda _: 0)
    for shard, event in ((light, shown), (heavy, told)):
        shard.on_records([SourceRecord(0, encode_events([event]))])
    before = heavy.joiners[False].pressure
    [block] = read(heavy.take())
    light.take()
    assert isinstance(block, FeedbackBlock) and len(block.slates[0].item_context) > 200_000
    assert before > heavy.joiners[False].pressure == light.joiners[False].pressure


def test_what_is_known_of_a_lists_items_is_kept_until_it_is_learned() -> None:
    pipeline = Pipeline(Settings(), b"sixteen bytes or more")
    shown = Impression(request_id="r", ts=T, user_id="u", items=["a", "b"])
    made = Decision(request_id="r", ts=T, user_id="u", items=["a", "b"], propensities=[0.5, 0.5], policy="p")
    pressures = []
    for name, known in (("r", None), ("s", [{"text": "x" * 200_000}, None])):
        before = pipeline.joiners[False].pressure
        for event in (shown, made):
            one = msgspec.structs.replace(
                event, request_id=name + event.__class__.__name__, item_context=known
            )
            pipeline.on_events([one])
        pressures.append(pipeline.joiners[False].pressure - before)
    assert pressures[0] == pytest.approx(pressures[1])
