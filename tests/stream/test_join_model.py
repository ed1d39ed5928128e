"""The joiner against a dictionary model that knows all events at once and no order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.blocks import CLICK, CLOSED, ORGANIC, SHOWN, FeedbackBlock, Segment, Slate
from stream.events import Click, Decision, Impression, LoggedEvent, Tick
from stream.forget import ForgetBook
from stream.frame import pack, unpack
from stream.join import Joiner, JoinSettings

WINDOW, SKEW, LATENESS, CAP = 50, 20, 30, 2.5
SETTINGS = JoinSettings(
    window_ms=WINDOW,
    skew_ms=SKEW,
    lateness_ms=LATENESS,
    weights={"click": 1.0, "buy": 2.0, "bad": -0.3},
    cap=CAP,
)
END = 10_000

times = st.integers(0, 200)
items = st.sampled_from("abcd")
requests = st.sampled_from(["r1", "r2", "r3"])
lists = st.lists(items, min_size=1, max_size=4, unique=True)

clicks = st.builds(
    Click,
    ts=times,
    item_id=items,
    request_id=st.one_of(requests, st.none()),
    user_id=st.sampled_from(["ann", "bob"]),
    kind=st.sampled_from([None, "click", "buy", "bad"]),
    value=st.sampled_from([None, 0.0, 0.1, 0.7]),
)


@st.composite
def worlds(draw: st.DrawFn) -> list[LoggedEvent]:
    """A few slates and clicks; an event id belongs to one request, as honest senders have it."""
    events: list[LoggedEvent] = []
    for request in ("r1", "r2", "r3"):
        what = draw(st.sampled_from(["auto", "explicit", "foreign", "explicit+", "auto+", "none"]))
        at, shown = draw(times), draw(lists)
        if what.startswith(("auto", "explicit")):
            auto = what.startswith("auto")
            p = [0.1 * (n + 1) for n in range(len(shown))]
            events.append(
                Decision(
                    request_id=request, ts=at, user_id="u", items=shown, propensities=p, policy="x", auto=auto
                )
            )
        if what == "foreign" or what.endswith("+"):
            seen, then = draw(lists), draw(times)
            if what == "auto+":
                # Further apart, an id that was used twice is promised nothing.
                then = max(0, at + draw(st.integers(-WINDOW, WINDOW)))
            events.append(Impression(request_id=request, ts=then, user_id="u", items=seen))
    for click in draw(st.lists(clicks, max_size=12)):
        if click.request_id is not None and draw(st.booleans()):
            click.event_id = f"{click.request_id}-{draw(st.integers(0, 1))}"
        events.append(click)
    return events


def arrive(events: Sequence[LoggedEvent], data: st.DataObject) -> list[LoggedEvent]:
    """Any order, any copies and any ticks that leave every event within the allowed lateness."""
    delays = st.integers(0, LATENESS)
    arrivals = [(e.ts + data.draw(delays), n, e) for n, e in enumerate(events)]
    copies = data.draw(st.lists(st.sampled_from(range(len(events))), max_size=6)) if events else []
    arrivals += [(events[n].ts + data.draw(delays), n + len(events), events[n]) for n in copies]
    order: list[LoggedEvent] = []
    for at, _, event in sorted(arrivals, key=lambda arrival: arrival[:2]):
        if data.draw(st.booleans()):
            order.append(Tick(ts=at))
        order.append(event)
    return [*order, Tick(ts=END)]


Slates = dict[str, tuple[bool, int, list[str]]]


def shown_in(events: Sequence[LoggedEvent]) -> Slates:
    """By request: whether it is decided, when it was shown, and what."""
    decisions = {e.request_id: e for e in events if isinstance(e, Decision)}
    impressions = {e.request_id: e for e in events if isinstance(e, Impression)}
    slates: Slates = {}
    for request in decisions.keys() | impressions.keys():
        decision, impression = decisions.get(request), impressions.get(request)
        if decision is not None and decision.auto:
            slates[request] = (True, decision.ts, decision.items)
        elif impression is not None:
            decided = decision is not None and abs(impression.ts - decision.ts) <= WINDOW
            slates[request] = (decided, impression.ts, impression.items)
    return slates


def key(click: Click) -> tuple[int, str, float]:
    return (click.ts, click.event_id or "", 1.0 if click.value is None else click.value)


def kind(click: Click) -> str:
    return click.kind or "click"


def rewards_in(events: Sequence[LoggedEvent], slates: Slates) -> dict[tuple[str, str], float]:
    """By request and item: the sum over identities of the largest click that the window holds."""
    best: dict[tuple[str, Any], Click] = {}
    for click in events:
        if isinstance(click, Click) and fits(click, slates):
            name = (str(click.request_id), click.event_id or (click.item_id, kind(click)))
            marks = [c for c in (best.get(name), click) if c is not None]
            best[name] = max(marks, key=lambda c: (*key(c), c.item_id, kind(c)))
    sums: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (request, _), click in best.items():
        sums[request, click.item_id].append(SETTINGS.weights[kind(click)] * key(click)[2])
    return {place: min(CAP, sum(sorted(parts))) for place, parts in sums.items()}


def fits(click: Click, slates: Slates) -> bool:
    if click.request_id not in slates:
        return False
    _, ts, shown = slates[click.request_id]
    return -SKEW <= click.ts - ts <= WINDOW and click.item_id in shown


def organic_in(events: Sequence[LoggedEvent], slates: Slates) -> Counter[Any]:
    """Organic clicks by identity, and every distinct click that found no place."""
    organic: dict[Any, Click] = {}
    for click in events:
        if not isinstance(click, Click) or key(click)[2] == 0.0:
            continue
        if click.request_id is None:
            organic.setdefault((click.user_id, click.item_id, kind(click), click.ts), click)
        elif not fits(click, slates):
            organic[click.request_id, key(click), click.item_id, kind(click)] = click
    return Counter((c.user_id, c.item_id, c.ts) for c in organic.values())


Op = tuple[int, Any, int, float, bool, int]


def ops(segments: Sequence[Segment]) -> list[Op]:
    """Operations with whatever they name, free of how they were cut."""
    flat: list[Op] = []
    for block in segments:
        assert isinstance(block, FeedbackBlock)
        for n, what in enumerate(block.kind):
            name: Any = block.organic[block.ref[n]] if what == ORGANIC else block.slates[block.ref[n]]
            flat.append((what, name, block.place[n], block.reward[n], block.first[n], block.ts[n]))
    return flat


def run(events: Sequence[LoggedEvent]) -> tuple[Joiner, list[Op]]:
    joiner = Joiner(SETTINGS, ForgetBook(b"0123456789abcdef"))
    joiner.on_events(events)
    return joiner, ops(joiner.take())


def context(slate: Slate) -> Any:
    return (slate.request_id, slate.ts, slate.user_id, tuple(slate.items), tuple(slate.propensities or ()))


def close(found: dict[Any, float], expected: dict[Any, float]) -> bool:
    names = found.keys() | expected.keys()
    return all(abs(found.get(name, 0.0) - expected.get(name, 0.0)) < 1e-12 for name in names)


@settings(max_examples=150, deadline=None)
@given(worlds(), st.data())
def test_policies_see_the_same_slates_and_rewards_in_any_order(
    events: list[LoggedEvent], data: st.DataObject
) -> None:
    joiner, found = run(arrive(events, data))
    slates = shown_in(events)
    decided = [slate for what, slate, *_ in found if what == SHOWN and slate.decided]
    assert {s.request_id: (True, s.ts, s.items) for s in decided} == {r: s for r, s in slates.items() if s[0]}
    assert len(decided) == len({s.request_id for s in decided}), "a decided slate is shown once"
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for what, slate, place, reward, _, _ in found:
        if what == CLICK and slate.decided:
            sums[slate.request_id, slate.items[place]] += reward
    expected = {place: r for place, r in rewards_in(events, slates).items() if slates[place[0]][0]}
    assert close(sums, expected)
    assert joiner.counters["late"] == 0


@settings(max_examples=100, deadline=None)
@given(worlds(), st.data())
def test_a_window_closes_once_with_the_final_rewards(events: list[LoggedEvent], data: st.DataObject) -> None:
    _, found = run(arrive(events, data))
    slates = shown_in(events)
    closed = [(slate, ts) for what, slate, _, _, _, ts in found if what == CLOSED and slate.decided]
    assert sorted((s.request_id, ts) for s, ts in closed) == sorted(
        (request, ts + WINDOW) for request, (decided, ts, _) in slates.items() if decided
    )
    final = {(s.request_id, s.items[place]): reward for s, _ in closed for place, reward in s.rewards.items()}
    assert close(final, {p: r for p, r in rewards_in(events, slates).items() if slates[p[0]][0]})


@settings(max_examples=100, deadline=None)
@given(worlds(), st.data())
def test_every_click_without_a_place_is_taught_once(events: list[LoggedEvent], data: st.DataObject) -> None:
    # Where a decision may come after its impression, a click may be taught before it finds its place.
    both = {e.request_id for e in events if isinstance(e, Decision)}
    both &= {e.request_id for e in events if isinstance(e, Impression)}
    events = [e for e in events if getattr(e, "request_id", None) not in both]
    _, found = run(arrive(events, data))
    taught = Counter((*who, ts) for what, who, _, _, _, ts in found if what == ORGANIC)
    assert taught == organic_in(events, shown_in(events))


@settings(max_examples=60, deadline=None)
@given(worlds(), st.data())
def test_two_orders_give_the_same_bits_of_reward(events: list[LoggedEvent], data: st.DataObject) -> None:
    final = []
    for _ in range(2):
        _, found = run(arrive(events, data))
        final.append(
            sorted(
                (context(s), sorted(s.rewards.items()))
                for what, s, *_ in found
                if what == CLOSED and s.decided
            )
        )
    assert final[0] == final[1]


@settings(max_examples=60, deadline=None)
@given(worlds(), st.data())
def test_it_resumes_anywhere_with_the_same_bits(events: list[LoggedEvent], data: st.DataObject) -> None:
    order = arrive(events, data)
    whole, expected = run(order)
    at = data.draw(st.integers(0, len(order)))
    before, found = run(order[:at])
    resumed = Joiner(SETTINGS, before.forgotten)
    resumed.restore(unpack(pack(before.snapshot())))
    for event in order[at:]:
        resumed.on_event(event)
        found += ops(resumed.take())
    # A slate's rewards go on changing after it was shown, so only what closed is compared by value.
    assert [(op[0], *op[2:]) for op in found] == [(op[0], *op[2:]) for op in expected]
    assert [s.rewards for what, s, *_ in found if what == CLOSED] == [
        s.rewards for what, s, *_ in expected if what == CLOSED
    ]
    assert resumed.counters == whole.counters
    assert pack(resumed.snapshot()) == pack(whole.snapshot())
