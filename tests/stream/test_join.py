"""The joiner, case by case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream.block_codec import decode_segment, encode_segment
from stream.blocks import (
    CLICK,
    CLOSED,
    ORGANIC,
    SHOWN,
    TAKEN_BACK,
    FeedbackBlock,
    Forgotten,
    ItemsBlock,
    Segment,
)
from stream.events import Click, Decision, Forget, Impression, ItemEvent, LoggedEvent, Tick
from stream.forget import ForgetBook
from stream.frame import Frame, pack, unpack
from stream.join import OUTCOMES, Joiner, JoinSettings
from stream.outbox import revive_context, store_context
from stream.slates import item_contexts
from stream.testing import ScriptedEvents, StepContract

MINUTE = 60_000
KEY = b"0123456789abcdef"
FAR = 10**10
SHAPE = JoinSettings(weights={"click": 1.0, "buy": 3.0}, cap=4.0, skew_ms=400)


def joiner(settings: JoinSettings = SHAPE) -> Joiner:
    return Joiner(settings, ForgetBook(KEY))


def decision(request: str = "r", ts: int = 1_000, **more: Any) -> Decision:
    fields: dict[str, Any] = {"user_id": "ann", "items": ["a", "b", "c"], "propensities": [0.5, 0.3, 0.2]}
    return Decision(request_id=request, ts=ts, policy="p", **fields | more)


def impression(request: str = "r", ts: int = 1_000, **more: Any) -> Impression:
    fields: dict[str, Any] = {"user_id": "ann", "items": ["a", "b"]}
    return Impression(request_id=request, ts=ts, **fields | more)


def click(item: str = "b", ts: int = 2_000, **more: Any) -> Click:
    fields: dict[str, Any] = {"request_id": "r"}
    return Click(item_id=item, ts=ts, **fields | more)


def blocks(segments: list[Segment]) -> list[FeedbackBlock]:
    return [segment for segment in segments if isinstance(segment, FeedbackBlock)]


def kinds(machine: Joiner) -> list[int]:
    return [kind for block in blocks(machine.take()) for kind in block.kind]


def changes(machine: Joiner) -> list[tuple[int, float, bool]]:
    """Place, change of reward and `first` of every click that left."""
    return [
        (place, reward, first)
        for block in blocks(machine.take())
        for kind, place, reward, first in zip(block.kind, block.place, block.reward, block.first, strict=True)
        if kind == CLICK
    ]


def after(*events: LoggedEvent, settings: JoinSettings = SHAPE) -> Joiner:
    machine = joiner(settings)
    machine.on_events(events)
    return machine


def nonzero(machine: Joiner) -> dict[str, int]:
    return {name: count for name, count in machine.counters.items() if count}


@pytest.mark.parametrize("order", [[0, 1], [1, 0]], ids=["slate first", "click first"])
def test_a_click_finds_its_slate_whatever_arrives_first(order: list[int]) -> None:
    events: list[LoggedEvent] = [decision(), click()]
    machine = after(*(events[n] for n in order))
    assert kinds(machine) == [SHOWN, CLICK]
    assert nonzero(machine) == {"shown": 1, "joined": 1}


def test_a_slate_that_nobody_clicks_closes_when_the_watermark_is_beyond_window_and_lateness() -> None:
    machine = after(decision(), Tick(ts=1_000 + 40 * MINUTE))
    assert kinds(machine) == [SHOWN]
    machine.on_tick(1_001 + 40 * MINUTE)
    [block] = blocks(machine.take())
    assert (block.kind, block.slates[0].rewards, block.ts) == ([CLOSED], {}, [1_000 + 30 * MINUTE])


def test_a_click_counts_to_the_last_millisecond_of_the_window() -> None:
    machine = after(decision(), click("a", 1_000), click("b", 1_000 + 30 * MINUTE))
    assert [place for place, *_ in changes(machine)] == [0, 1]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]], ids=["slate first", "click first"])
def test_a_click_counts_though_its_clock_is_slow_by_the_allowed_skew(order: list[int]) -> None:
    events: list[LoggedEvent] = [decision(ts=10_000), click(ts=5_000)]
    machine = after(*(events[n] for n in order), settings=JoinSettings())
    assert changes(machine) == [(1, 1.0, True)]
    assert nonzero(machine) == {"shown": 1, "joined": 1}


def test_a_click_waits_for_a_slate_that_another_clock_puts_behind_it() -> None:
    waits = after(click(ts=2_000, user_id="ann"), Tick(ts=2_400 + 10 * MINUTE))
    waits.on_event(decision(ts=2_400))
    assert changes(waits) == [(1, 1.0, True)]


@pytest.mark.parametrize("ts", [599, 1_001 + 30 * MINUTE], ids=["before", "after"])
def test_a_click_outside_the_window_is_organic_if_it_names_a_user(ts: int) -> None:
    machine = after(decision(), click(ts=ts, user_id="ann"), click("c", ts=ts))
    assert kinds(machine) == [SHOWN, ORGANIC]
    assert nonzero(machine) == {"shown": 1, "out_of_window": 2, "organic": 1}


def test_a_click_on_an_item_that_was_not_shown_is_organic() -> None:
    machine = after(decision(), click("z", user_id="ann"), click("z", user_id="ann"))
    assert nonzero(machine) == {"shown": 1, "not_in_slate": 1, "organic": 1, "duplicate": 1}


def test_a_click_whose_slate_never_comes_is_organic_once_it_cannot_come() -> None:
    machine = after(click(user_id="ann"), Tick(ts=2_400 + 10 * MINUTE))
    assert kinds(machine) == []
    machine.on_tick(2_401 + 10 * MINUTE)
    assert (kinds(machine), nonzero(machine)) == ([ORGANIC], {"orphan": 1, "organic": 1})


def test_what_was_seen_is_dropped() -> None:
    by_id = click(event_id="e", request_id=None, user_id="ann")
    organic = click(request_id=None, user_id="ann")
    first: list[LoggedEvent] = [decision(), click(), impression("s"), organic, by_id]
    events = [*first, decision("x", auto=False)]
    machine = after(*events, *events, impression())
    assert machine.counters["duplicate"] == 7
    assert len(kinds(machine)) == 5


def test_an_event_behind_the_allowed_lateness_is_late() -> None:
    machine = after(Tick(ts=1_001 + 10 * MINUTE), decision(), impression(), click(ts=1_000))
    assert (kinds(machine), nonzero(machine)) == ([], {"late": 3})


def test_time_never_goes_back() -> None:
    machine = after(Tick(ts=FAR), Tick(ts=5))
    assert machine.watermark == FAR


def test_rewards_of_kinds_and_values_add_up_to_the_cap() -> None:
    machine = after(decision(), click(), click(kind="buy", value=0.5), click(kind="buy", event_id="e"))
    assert changes(machine) == [(1, 1.0, True), (1, 1.5, False), (1, 1.5, False)]


@pytest.mark.parametrize(
    ("weights", "floor"), [({"click": 1.0}, -4.0), ({"click": 1.0, "report": -9.0}, -9.0)]
)
def test_a_value_takes_no_more_away_than_it_may_give(weights: dict[str, float], floor: float) -> None:
    settings = JoinSettings(weights=weights, cap=4.0)
    machine = after(decision(), click(value=-1e15), settings=settings)
    assert changes(machine) == [(1, floor, True)]
    machine = after(click(value=-1e15, request_id=None, user_id="ann"), settings=settings)
    assert blocks(machine.take())[0].reward == [floor]


def test_clicks_beyond_the_cap_change_nothing() -> None:
    machine = after(decision(), click(), click(event_id="again"), settings=JoinSettings())
    assert changes(machine) == [(1, 1.0, True)]


def test_the_newer_of_two_conflicting_clicks_wins_in_either_order() -> None:
    machine = after(decision(), click(value=0.25), click(ts=3_000, value=1.0))
    assert changes(machine) == [(1, 0.25, True), (1, 0.75, False)]
    assert machine.counters["correction"] == 1
    machine = after(decision(), click(ts=3_000, value=1.0), click(value=0.25))
    assert (changes(machine), machine.counters["superseded"]) == ([(1, 1.0, True)], 1)


def test_a_click_taken_back_makes_the_place_a_negative_again() -> None:
    machine = after(
        decision(), click(), click(ts=3_000, value=0.0), click(ts=4_000), click(ts=5_000, value=0.0)
    )
    assert changes(machine) == [(1, 1.0, True), (1, -1.0, False), (1, 1.0, False), (1, -1.0, False)]
    machine.on_tick(FAR)
    assert blocks(machine.take())[0].slates[0].rewards == {}


def test_the_first_like_and_the_first_dislike_of_a_place_are_told_apart_by_sign() -> None:
    settings = JoinSettings(weights={"click": 1.0, "dislike": -2.0, "view": 0.0})
    clicks = [click(kind=kind, ts=2_000 + n) for n, kind in enumerate(("click", "view", "dislike"))]
    machine = after(decision(), *clicks, settings=settings)
    block = blocks(machine.take())[0]
    assert block.reward[1:] == [1.0, 0.0, -2.0]
    assert (block.first[1:], block.before[1:]) == ([True, False, True], [0.0, 0.0, 1.0])
    assert decode_segment(encode_segment(block)).before == block.before  # type: ignore[union-attr]
    machine.on_events([click(kind="dislike", ts=3_000, value=0.0), click(kind="dislike", ts=4_000)])
    assert changes(machine) == [(1, 2.0, False), (1, -2.0, False)]


def test_a_correction_by_event_id_may_move_the_click_to_another_item() -> None:
    machine = after(decision(), click("a", event_id="e"), click("c", ts=3_000, event_id="e"))
    assert changes(machine) == [(0, 1.0, True), (0, -1.0, False), (2, 1.0, True)]


def test_an_explicit_decision_waits_for_what_was_really_seen() -> None:
    features = np.arange(8, dtype="<f4").reshape(4, 2)
    waits = decision(auto=False, others=["o"], features=features.tobytes(), explored=[0, 2], clusters=[7])
    machine = after(waits, click("c"), impression(ts=1_500, items=["c", "new", "a"]))
    [block] = blocks(machine.take())
    slate = block.slates[0]
    assert (block.kind, block.place, slate.ts, slate.clusters) == ([SHOWN, CLICK], [-1, 0], 1_500, [7])
    assert (slate.items, slate.propensities, slate.explored) == (["c", "new", "a"], [0.2, None, 0.5], [0, 2])
    seen = np.frombuffer(slate.features, "<f4").reshape(4, 2)
    np.testing.assert_array_equal(seen, [[4, 5], [np.nan, np.nan], [0, 1], [6, 7]])


def test_an_explicit_decision_that_is_never_shown_expires() -> None:
    machine = after(decision(auto=False), Tick(ts=FAR))
    assert (kinds(machine), nonzero(machine)) == ([], {"expired_decision": 1})


def test_an_impression_long_after_an_explicit_decision_is_not_its_own() -> None:
    machine = after(decision(auto=False), impression(ts=1_001 + 30 * MINUTE))
    assert nonzero(machine) == {"expired_decision": 1, "foreign": 1, "shown": 1}
    machine = after(impression(ts=1_001 + 30 * MINUTE), decision(auto=False))
    assert nonzero(machine) == {"expired_decision": 1, "foreign": 1, "shown": 1}


def test_an_impression_without_a_decision_is_somebody_elses() -> None:
    machine = after(impression(propensities=[0.1, None], policy="theirs", context={"page": 1}))
    [slate] = blocks(machine.take())[0].slates
    assert (slate.decided, slate.propensities, slate.policy) == (False, [0.1, None], "theirs")


def test_a_decision_after_its_impression_gives_policies_what_they_missed() -> None:
    machine = after(impression(), click(), click("c", user_id="ann"), decision())
    [block] = blocks(machine.take())
    told = [
        (kind, block.slates[ref].decided, reward, first)
        for kind, ref, reward, first in zip(block.kind, block.ref, block.reward, block.first, strict=True)
        if kind != ORGANIC
    ]
    assert told == [
        (SHOWN, False, 0.0, False),
        (CLICK, False, 1.0, True),
        (CLICK, False, -1.0, False),
        (SHOWN, True, 0.0, False),
        (CLICK, True, 1.0, False),
        (CLICK, True, 1.0, False),
    ]
    machine.on_tick(FAR)
    assert (kinds(machine), machine.counters["upgraded"]) == ([CLOSED], 1)


def test_the_second_of_two_decisions_is_conflicting_and_never_shown() -> None:
    machine = after(decision(), decision(items=["x"], propensities=[1.0]))
    assert nonzero(machine) == {"shown": 1, "conflicting_decision": 1}
    machine = after(decision(auto=False), decision(auto=False, seed=9))
    assert nonzero(machine) == {"conflicting_decision": 1}


def test_a_kind_without_weight_is_counted_and_dropped() -> None:
    assert nonzero(after(decision(), click(kind="hover"))) == {"shown": 1, "unknown_kind": 1}


def test_an_organic_click_of_no_value_teaches_nothing() -> None:
    worthless = click(request_id=None, user_id="ann", value=0.0)
    assert nonzero(after(worthless)) == {"unrewarded": 1}


def test_clicks_of_one_request_are_bounded() -> None:
    settings = JoinSettings(max_clicks=1)
    assert after(decision(), click("a"), click("b"), settings=settings).counters["excess"] == 1
    assert after(click("a"), click("b"), settings=settings).counters["excess"] == 1


def test_a_forget_drops_what_is_not_newer_now_and_on_delivery_again() -> None:
    old: list[LoggedEvent] = [
        decision(),
        decision("s", auto=False),
        click("b", request_id="t", user_id="ann"),
    ]
    newer = decision("n", ts=9_000)
    machine = after(
        *old, newer, Forget(user_id="ann", ts=5_000), *old, click(), click(request_id="n", ts=9_500)
    )
    assert isinstance(machine.take()[1], Forgotten)
    assert (machine.counters["forgotten"], machine.counters["joined"]) == (7, 1)
    assert b"ann" not in repr(machine.snapshot()["waiting"]).encode()
    machine.on_tick(FAR)
    assert [slate.request_id for slate in blocks(machine.take())[0].slates] == ["n"]


def test_items_and_forgets_keep_their_place_between_outcomes() -> None:
    item = ItemEvent(item_id="a", ts=1)
    machine = after(decision(), item, item, Forget(user_id="bob", ts=1), click())
    assert [type(segment) for segment in machine.take()] == [
        FeedbackBlock,
        ItemsBlock,
        Forgotten,
        FeedbackBlock,
    ]


def test_items_and_forgets_are_never_late() -> None:
    machine = after(Tick(ts=FAR), ItemEvent(item_id="a", ts=1), Forget(user_id="bob", ts=1))
    assert nonzero(machine) == {"items": 1, "forgets": 1}


@pytest.mark.parametrize("auto", [True, False], ids=["shown", "waiting for its impression"])
def test_a_slate_weighs_what_its_context_does_until_it_leaves(auto: bool) -> None:
    large: dict[str, list[object]] = {"page": [{}] * 5_000}
    machine = after(settings=JoinSettings(max_pending_mb=1))
    machine.on_events(decision(f"r{n}", context=large, auto=auto) for n in range(100))
    assert machine.full and 1.0 < machine.pressure < 2.0
    resumed = joiner(machine.settings)
    resumed.restore(unpack(pack(machine.snapshot())))
    assert resumed.pressure == machine.pressure
    resumed.on_tick(10**12)
    assert resumed.pressure == 0.0


def test_clicks_that_wait_weigh_what_their_ids_do_until_they_leave() -> None:
    machine = after(settings=JoinSettings(max_pending_mb=1))
    machine.on_events(click("i" * 256, 1_000, request_id=f"{n:0>256}") for n in range(1_000))
    assert 0.5 < machine.pressure < 1.5
    machine.on_events([decision("1".rjust(256, "0")), Tick(ts=10**12)])
    assert machine.pressure == 0.0


def test_pressure_says_how_much_of_the_bounds_is_used() -> None:
    machine = joiner(JoinSettings(max_pending=2, max_seen=4))
    machine.on_events([decision(), click(), click(request_id="q")])
    assert (machine.pressure, machine.full) == (0.5, False)
    machine.on_event(decision("s", auto=False))
    assert machine.full
    machine.on_tick(FAR)
    assert machine.pressure == 0.0


def test_every_counter_is_explained_and_none_is_made_up() -> None:
    assert joiner().counters.keys() == OUTCOMES.keys()


@pytest.mark.parametrize(
    "wrong", [{"cap": 0.0}, {"window_ms": -1}, {"max_seen": 0}, {"weights": {"x": 1e300}}]
)
def test_settings_without_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^join\."):
        JoinSettings(**wrong)


@pytest.mark.parametrize("context", [{"dtype": "?", "shape": 1, "data": 2}, {"large": 10**40}, {"a": None}])
def test_whatever_a_context_holds_comes_back_from_a_snapshot(context: dict[str, Any]) -> None:
    events: list[LoggedEvent] = [
        impression("r", context=context),
        decision("s", auto=False, context=context),
    ]
    first, second = after(*events), joiner()
    second.restore(unpack(pack(first.snapshot())))
    for machine in (first, second):
        machine.on_events([impression("s"), click("b", request_id="r")])
    shown = [[slate.context for block in blocks(m.take()) for slate in block.slates] for m in (first, second)]
    assert revive_context(shown[0][-1]) == context and shown[1] == [store_context(context)] * 2


class JoinStep:
    """The joiner as a step: what it hands out, written down."""

    def __init__(self) -> None:
        self.book = ForgetBook(KEY)
        self.joiner = Joiner(JoinSettings(), self.book)

    def on_events(self, events: Any, *, backfill: bool = False) -> None:
        self.joiner.on_events(events)

    def on_tick(self, now_ms: int, *, backfill: bool = False) -> None:
        self.joiner.on_tick(now_ms)

    def take(self) -> Frame:
        return {"ops": [[b.kind, b.place, b.reward, b.first, b.ts] for b in blocks(self.joiner.take())]}

    def snapshot(self) -> Frame:
        return {"joiner": self.joiner.snapshot(), "book": self.book.snapshot()}

    def restore(self, frame: Frame) -> None:
        self.joiner.restore(frame["joiner"])
        self.book.restore(frame["book"])


class TestJoinerAsAStep(StepContract):
    def make_step(self) -> JoinStep:
        return JoinStep()

    def test_the_script_reaches_nearly_everything(self) -> None:
        step = JoinStep()
        step.on_events(ScriptedEvents(seed=1).take(4_000))
        step.on_tick(10**13)
        rare = {
            "conflicting_decision",
            "correction",
            "excess",
            "late",
            "unknown_kind",
            "unrewarded",
            "upgraded",
        }
        assert {name for name, count in step.joiner.counters.items() if not count} <= rare


def test_a_slate_carries_the_id_of_its_features_and_snapshots_of_before_have_none() -> None:
    machine, of_before = joiner(), joiner()
    machine.on_events([decision(feature_schema="abc")])
    frame = unpack(pack(machine.snapshot()))
    machine.restore(frame)
    del frame["open"]["feature_schema"]
    of_before.restore(frame)
    for one, expected in ((machine, "abc"), (of_before, "")):
        one.on_events([click()])
        assert [s.feature_schema for s in blocks(one.take())[-1].slates] == [expected]


KNOWN: list[dict[str, Any] | None] = [{"price": 3}, None, {"price": 5}]


def test_what_is_known_of_a_lists_items_stays_with_them_in_whatever_order_they_were_shown() -> None:
    waits = decision(auto=False, items=["a", "b", "c"], others=["o"], item_context=[*KNOWN, {"price": 9}])
    machine = after(waits, impression(items=["c", "new", "a"]), impression("q", item_context=KNOWN[:2]))
    mine, theirs = blocks(machine.take())[0].slates
    assert item_contexts(mine) == [{"price": 5}, {}, {"price": 3}]
    assert theirs.item_context == b'[{"price":3},null]'


@pytest.mark.parametrize("auto", [True, False], ids=["shown", "waiting for its impression"])
def test_what_is_known_of_items_weighs_as_long_as_its_list_waits(auto: bool) -> None:
    machine = after(settings=JoinSettings(max_pending_mb=1))
    known = [{"text": "x" * 5_000}, None, None]
    machine.on_events(decision(f"r{n}", item_context=known, auto=auto) for n in range(210))
    assert machine.full and 1.0 < machine.pressure < 2.0
    resumed = joiner(machine.settings)
    resumed.restore(unpack(pack(machine.snapshot())))
    resumed.on_event(impression("r7"))
    # What was shown before the snapshot has been learned.
    expected = [] if auto else [b'[{"text"']
    assert [s.item_context[:8] for b in blocks(resumed.take()) for s in b.slates] == expected
    machine.on_tick(10**12)
    assert machine.pressure == 0.0


def test_outcomes_say_what_was_done() -> None:
    kinds = JoinSettings(weights={"view": 0.0, "click": 1.0, "buy": 3.0}, cap=9.0)
    moved = [click("a", event_id="e"), click("b", event_id="e", ts=3_000)]
    clicks = [
        click("c", kind="view"),
        click("c", kind="buy"),
        click("x", request_id=None, user_id="u", kind="buy"),
    ]
    [block] = blocks(after(decision(), *moved, *clicks, settings=kinds).take())
    assert kinds.kinds == ("click", "buy", "view")
    # Shown, clicked, and the click moved: one reward is taken back.
    assert block.action == [0, 0, TAKEN_BACK, 0, 2, 1, 1]
    assert blocks(after(decision(), *moved[:1], settings=kinds).take())[0].action == []
