"""Marks of JOIN's partitions as rows of `control`, and when an event of history was."""

from __future__ import annotations

import pytest

from learning.rows.codec import encode_control
from learning.shards.metrics import WorkerMetrics
from learning.shards.pacing import Pacing, history_times, mark_row
from stream.clock import ManualClock
from stream.codec import encode_events
from stream.engine.pace import Mark
from stream.engine.shard import Output, SourceRecord
from stream.events import Click, Forget, ItemEvent, LoggedEvent
from stream.kafka import KafkaSettings
from tests.harness.rows import RowServer

T0 = 1_700_000_000_000


def test_history_goes_by_what_users_did_and_not_by_items_forgets_or_what_cannot_be_read() -> None:
    times = history_times()
    events: list[LoggedEvent] = [
        ItemEvent(item_id="a", ts=T0 + 900),
        Click(user_id="ann", item_id="a", ts=T0 + 7),
        Forget(user_id="bob", ts=T0 - 900),
        Click(user_id="ann", item_id="a", ts=T0),
    ]
    assert times(SourceRecord(0, encode_events(events))) == (T0, T0 + 7)
    assert times(SourceRecord(0, encode_events(events[1:2])[1:-1])) == (T0 + 7, T0 + 7)
    others = [b"", b"{", b"[1]", b"[" * 5_000, b"\xff", b'{"type": "click", "ts": "soon"}']
    assert [times(SourceRecord(0, value)) for value in [encode_events(events[::2]), *others]] == [None] * 7


def test_a_time_that_join_refuses_holds_nobody_up() -> None:
    click = encode_events([Click(user_id="ann", item_id="a", ts=T0 + 10)])
    times = history_times(max_ahead_ms=9)
    assert [times(SourceRecord(0, click, at=at)) for at in (T0, T0 + 1)] == [None, (T0 + 10, T0 + 10)]
    assert times(SourceRecord(0, click.replace(b"1700000000010", b"17"))) is None


@pytest.mark.parametrize(
    "row", [b"\xc1", mark_row(Mark())[:-3], encode_control("pace", {}), encode_control("pace", {"covers": 1})]
)
def test_a_mark_that_cannot_be_read_is_passed_over(row: bytes, caplog: pytest.LogCaptureFixture) -> None:
    pacing = Pacing(KafkaSettings(partitions=2), ManualClock(), 60_000, 15.0, None, lambda: None)
    assert not pacing.put(b"pace/1", row) and not pacing.put(b"pace/x", mark_row(Mark()))
    assert "the row b'pace/1' is passed over" in caplog.text
    assert pacing.put(b"pace/7", mark_row(Mark(history=T0))) and pacing.board.marks == {0: Mark(), 1: Mark()}


def test_servers_pass_over_marks() -> None:
    server = RowServer()
    server.follow([Output("control", 0, mark_row(Mark(history=T0, covers={1: 5})), b"pace/3")])
    assert server.frames == [RowServer().follower.take()]


def test_a_worker_tells_which_partitions_wait_for_which() -> None:
    metrics = WorkerMetrics(list, lambda: 0, waits=lambda: {2: [0, 5]})
    found = [sample for family in metrics.collect() for sample in family.samples if sample.name == WAITS]
    assert [(one.labels, one.value) for one in found] == [
        ({"partition": "2", "other": "0"}, 1.0),
        ({"partition": "2", "other": "5"}, 1.0),
    ]


WAITS = "freshet_join_waits_for"
