"""What is refused at the door is exactly what JOIN would count as late."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from stream.codec import encode_events
from stream.engine.driver import Driver
from stream.events import Click, Event, ItemEvent, LoggedEvent
from stream.forget import ForgetBook
from stream.frame import Frame
from stream.join import Joiner, JoinSettings
from stream.lateness import EventTimeGate
from stream.log import Record

LATENESS, TICK = 30, 10


class JoinOnly:
    """A step that joins and learns nothing."""

    def __init__(self) -> None:
        settings = JoinSettings(lateness_ms=LATENESS)
        self.joiners = {history: Joiner(settings, ForgetBook(bytes(16))) for history in (False, True)}

    def on_events(self, events: Sequence[LoggedEvent], *, backfill: bool = False) -> None:
        self.joiners[backfill].on_events(events)

    def on_tick(self, now_ms: int, *, backfill: bool = False) -> None:
        self.joiners[backfill].on_tick(now_ms)

    def take(self) -> Frame:
        return {}

    def snapshot(self) -> Frame:
        return {}

    def restore(self, frame: Frame) -> None:
        del frame

    @property
    def n_late(self) -> int:
        return sum(joiner.counters["late"] for joiner in self.joiners.values())


def gate(*, history: bool = True) -> EventTimeGate:
    return EventTimeGate(LATENESS, TICK, history=history)


clicks = st.builds(Click, ts=st.integers(0, 300), item_id=st.just("a"), user_id=st.just("u"))
things = st.one_of(clicks, st.builds(ItemEvent, ts=st.integers(0, 300), item_id=st.just("a")))


@given(st.lists(st.lists(things, min_size=1, max_size=6), max_size=6), st.booleans())
def test_what_the_gate_refuses_is_what_join_would_drop(batches: list[list[Event]], history: bool) -> None:
    step = JoinOnly()
    driver, door = Driver(step, "event", TICK), gate(history=history)
    for batch in batches:
        passage, before = door.enter(batch), step.n_late
        driver.feed("log", Record("events", encode_events(batch), 0, backfill=history, pos=1))
        driver.flush()
        assert len(passage.late) == step.n_late - before
        door.leave(passage, stored=True)


def test_a_batch_that_was_not_stored_moves_no_watermark() -> None:
    door, batch = gate(), [Click(ts=1_000, item_id="a"), Click(ts=2_000, item_id="a")]
    passage = door.enter(batch)
    meanwhile = door.enter([Click(ts=1_000, item_id="a")])
    assert list(meanwhile.late) == [0], "the batch may still be stored"
    door.leave(passage, stored=False)
    door.leave(meanwhile, stored=True)
    assert list(door.enter([Click(ts=1_500, item_id="a")]).late) == []


def test_an_item_described_today_does_not_make_history_late() -> None:
    door = gate()
    door.leave(door.enter([ItemEvent(ts=9_000, item_id="a")]), stored=True)
    assert door.enter([Click(ts=5, item_id="a")]).late == {}
    assert list(door.enter([Click(ts=9_000, item_id="a"), ItemEvent(ts=5, item_id="a")]).late) == []
