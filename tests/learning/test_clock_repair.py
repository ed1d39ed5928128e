"""Marks that had gone ahead of time fall to what is true, with all who follow them."""

from __future__ import annotations

from freshet.config import load_settings
from learning.rows.codec import PROGRESS_KEY, decode_progress
from learning.shards.clock_repair import only_future_ticks
from learning.shards.items import ItemsShard
from learning.shards.join import JoinShard
from learning.shards.users import UsersShard
from stream.codec import encode_events
from stream.engine.shard import Output, SourceRecord
from stream.events import Click, LoggedEvent, Tick

NOW = 1_700_000_000_000
YEAR = 365 * 86_400_000
SETTINGS = load_settings(environ={}, flags={"learn": {"embedding_dim": 4}})


def event(value: LoggedEvent, offset: int, *, history: bool = False) -> SourceRecord:
    headers = (("backfill", b"1"),) if history else ()
    return SourceRecord(offset, encode_events([value]), None, value.ts, headers)


def topic(outputs: list[Output], name: str) -> list[SourceRecord]:
    values = [output.value or b"" for output in outputs if output.topic == name]
    return [SourceRecord(offset, value) for offset, value in enumerate(values)]


def told(outputs: list[Output]) -> set[tuple[int, int]]:
    """What is absorbed, and the time of its events."""
    rows = [decode_progress(output.value or b"") for output in outputs if output.key == PROGRESS_KEY]
    return {(row.absorbed_at, row.watermark) for row in rows}


def click(ts: int) -> Click:
    return Click(ts=ts, user_id="ann", item_id="tea")


def test_marks_of_users_and_items_fall_and_grow_again() -> None:
    join = JoinShard(0, lambda name: 0)
    users, items = (step(0, lambda name: 0, SETTINGS, 1) for step in (UsersShard, ItemsShard))

    def marks() -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
        users.on_records(topic(join.take(), "feedback"))
        mine = users.take()
        items.on_records(topic(mine, "item-feedback"))
        return told(mine), told(items.take())

    join.on_records([event(Tick(ts=NOW + YEAR), 0)])
    wrong = {(NOW + YEAR, NOW + YEAR)}
    assert marks() == (wrong, wrong)
    join.rewind(NOW, NOW + 300_000)
    join.tell_rewound(NOW)
    # A tick that follows in the same commit does not stand in for it.
    join.on_records([event(Tick(ts=NOW + 200), 1)])
    right = {(NOW + 200, NOW + 200)}
    assert marks() == (right, right)


def test_time_that_is_right_is_left_alone_and_clicks_are_in_time_again() -> None:
    join, fine = JoinShard(0, lambda name: 0), JoinShard(1, lambda name: 0)
    join.on_records([event(Tick(ts=NOW + YEAR), 0), event(click(NOW), 1)])
    fine.on_records([event(Tick(ts=NOW - 5_000), 0)])
    assert join.counters["late"] == 1 and join.ahead(NOW) == {"watermark": NOW + YEAR}
    for step in (join, fine):
        step.rewind(NOW, NOW + 300_000)
        step.on_records([event(click(NOW + 1), 2)])
    assert join.counters["late"] == 1 and join.counters["organic"] == 1
    assert fine.joiners[False].watermark == NOW - 5_000


def test_history_that_was_ahead_is_said_anew() -> None:
    join = JoinShard(3, lambda name: 0)
    join.on_records([event(click(NOW + YEAR), 0, history=True)])
    join.take()
    join.rewind(NOW, NOW + 300_000)
    (row,) = [output for output in join.take() if output.topic == "control"]
    assert row.key == b"history/3" and join.ahead(NOW + 300_000) == {}


def test_only_a_record_of_nothing_but_future_ticks_is_passed_over() -> None:
    future, past = Tick(ts=NOW + YEAR), Tick(ts=NOW)
    arrays: list[list[LoggedEvent]] = [
        [future],
        [past],
        [future, past],
        [click(NOW + YEAR)],
        [future, future],
    ]
    found = [only_future_ticks(SourceRecord(0, encode_events(array)), NOW + 300_000) for array in arrays]
    assert found == [True, False, False, False, True]
