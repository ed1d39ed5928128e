"""Features of the default scorers equal what the log says up to that event, worked out from it by hand."""

from __future__ import annotations

from collections import defaultdict
from math import exp, log, nan
from typing import Any, NamedTuple

import numpy as np
import pytest

from learners import Ask, Part, RowBlock
from learners.ask import Listed
from learners.item_keys import numbered_keys
from learners.parts.item_rates import ItemRates
from learners.parts.session import Session
from learners.parts.user_items import UserItems
from learners.scorers import rates, seen, session
from learners.testing import organic_rows
from stream.ops.kinds import CLICK, ORGANIC, SHOWN

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
HALF_LIVES = (HOUR_MS, 6 * HOUR_MS, DAY_MS, 4 * DAY_MS, 16 * DAY_MS)
ITEMS = 12
ROWS = np.append(np.arange(ITEMS, dtype=np.int32), np.int32(-1))


class Event(NamedTuple):
    """One event of the raw log: a list that was shown, or a click, signal or dislike with its reward."""

    ts: int
    user: int
    items: tuple[int, ...] = ()
    item: int = -1
    reward: float = 0.0
    listed: int = -1
    """The event of the list that a click is of; -1 for none."""
    first: bool = True


def a_log(seed: int, n: int = 160) -> list[Event]:
    rng, log_, ts = np.random.default_rng(seed), list[Event](), 10**9
    for _ in range(n):
        ts += int(rng.exponential(HOUR_MS / 3))
        lists = [at for at, event in enumerate(log_) if event.items]
        user, reward = int(rng.integers(3)), float(rng.choice([1.0, 1.0, 0.0, -1.0]))
        if rng.random() < 0.4 or not lists:
            log_.append(Event(ts, user, items=tuple(rng.choice(ITEMS, 4, replace=False).tolist())))
        elif rng.random() < 0.5:
            log_.append(Event(ts, user, item=int(rng.integers(ITEMS)), reward=reward))
        else:
            at = int(rng.choice(lists))
            item = int(rng.choice(log_[at].items))
            is_again = any(e.listed == at and e.item == item and e.reward for e in log_)
            first = reward != 0.0 and not is_again
            log_.append(Event(ts, log_[at].user, item=item, reward=reward, listed=at, first=first))
    return log_


def block_of(events: list[Event], begin: int, end: int) -> RowBlock:
    """Events begin..end - 1 as the columns that parts learn."""
    used = sorted(
        {e.listed if e.listed >= 0 else at for at, e in enumerate(events[:end]) if e.items or e.listed >= 0}
    )
    number = {at: n for n, at in enumerate(used)}
    lists, now = [events[at] for at in used], events[begin:end]
    block = organic_rows([(e.user, e.item) for e in now], [e.ts for e in now], [e.reward for e in now])
    block.kind[:] = [SHOWN if e.items else CLICK if e.listed >= 0 else ORGANIC for e in now]
    block.first[:] = [e.first for e in now]
    block.slate[:] = [number[at] if e.items else number.get(e.listed, -1) for at, e in enumerate(now, begin)]
    block.slate_user = np.array([e.user for e in lists], np.int32)
    block.items = np.array([item for e in lists for item in e.items], np.int32)
    block.start = np.cumsum([0, *(len(e.items) for e in lists)]).astype(np.int32)
    return block


def learned(part: Any, events: list[Event]) -> Any:
    """The part after the log, in blocks of a few events."""
    for begin in range(0, len(events), 7):
        part.learn_both(block_of(events, begin, min(begin + 7, len(events))), {})
    return part


def clicks_of(events: list[Event]) -> list[Event]:
    """What counts: organic ones, and those that change the reward of a place for the first time."""
    return [e for e in events if not e.items and e.reward and (e.listed < 0 or e.first)]


def rates_by_hand(events: list[Event], now: int) -> np.ndarray[Any, Any]:
    shown = [(e.ts, item) for e in events for item in e.items]
    positive = [e for e in clicks_of(events) if e.reward > 0]
    met = shown + [(e.ts, e.item) for e in positive if e.listed < 0]
    p = (len(positive) + 1) / (len(met) + 20)

    def fading(times: list[int], half_life: int) -> float:
        return sum((0.5 ** ((now - ts) / half_life) for ts in times), 0.0)

    out = []
    for item in ROWS.tolist():
        clicks = [fading([e.ts for e in positive if e.item == item], h) for h in HALF_LIVES]
        dislikes = fading([e.ts for e in clicks_of(events) if e.item == item and e.reward < 0], HALF_LIVES[4])
        signals = fading([e.ts for e in events if not e.items and e.item == item and not e.reward], DAY_MS)
        times = [ts for ts, one in shown if one == item]
        seen_at = [*times, *(e.ts for e in clicks_of(events) if e.item == item)]
        seen_at += [e.ts for e in events if not e.items and e.item == item and not e.reward]
        mets = [fading([ts for ts, one in met if one == item], h) for h in HALF_LIVES]
        out.append([
            *(log((c + 10 * p) / (m + dislikes / p + 10)) for c, m in zip(clicks, mets, strict=True)),
            *(log(clicks[h] + 0.5) for h in (0, 1, 4)),
            log((clicks[0] + 0.5) / (clicks[2] / 24 + 0.5)), log((clicks[2] + 0.5) / (clicks[4] / 16 + 0.5)),
            log(signals + 0.5), log(len(times) + 1),
            log((now - min(seen_at)) / HOUR_MS + 1) if seen_at else nan, float(not seen_at),
        ])  # fmt: skip
    return np.array(out)


def seen_by_hand(events: list[Event], now: int, user: int) -> np.ndarray[Any, Any]:
    shown, clicked = defaultdict(list), defaultdict(list)
    for e in events:
        if e.user == user:
            for item in e.items:
                shown[item].append(e.ts)
    for e in clicks_of(events):
        if e.user == user and e.reward > 0:
            clicked[e.item].append(e.ts)
    rows = [
        (len(shown[i]), len(clicked[i]), max([*shown[i], *clicked[i]], default=None)) for i in ROWS.tolist()
    ]
    since = [nan if at is None else log(1 + now // 1_000 - at // 1_000) for _, _, at in rows]
    return np.array([[log(1 + s), log(1 + c), ago] for (s, c, _), ago in zip(rows, since, strict=True)])


def session_by_hand(events: list[Event], now: int, user: int, order: list[int]) -> np.ndarray[Any, Any]:
    touches: list[Event] = []
    for e in events:
        is_touch = not e.items and e.user == user and (not e.reward or (e.reward > 0 and e.first))
        if is_touch:
            touches = [*(touches if touches and e.ts - touches[-1].ts <= HOUR_MS / 2 else []), e]
    if touches and now - touches[-1].ts > HOUR_MS / 2:
        touches = []
    last = touches[-1].item if touches else None
    at = order.index(last) if last in order else None
    out = []
    for place, item in enumerate(order):
        mine = [e for e in touches if e.item == item]
        near = [nan] * 3 if at is None else [place == at + 1, place < at, -log(1 + abs(place - at))]
        out.append([item == last, log(1 + len(mine)), log(1 + sum(e.reward > 0 for e in mine)), *near])
    return np.array(out, np.float64)


@pytest.mark.parametrize("seed", [1, 2])
def test_rates_are_those_of_the_log_up_to_now(seed: int) -> None:
    events = a_log(seed)
    for n in (0, 3, 50, len(events)):
        part = learned(ItemRates(), events[:n])
        now = (events[n - 1].ts if n else 10**9) + 5_000_000
        found = rates.Rates(rates.Settings(), part).features(Ask(0, now), ROWS)
        np.testing.assert_allclose(found, rates_by_hand(events[:n], now), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("user", [0, 1, 2])
def test_what_a_user_saw_and_touched_is_that_of_the_log_up_to_now(user: int) -> None:
    events, order = a_log(user), [*range(ITEMS)][::-1]
    for n in range(1, len(events), 13):
        items, visits, now = learned(UserItems(), events[:n]), learned(Session(), events[:n]), events[n].ts
        found = seen.Seen(seen.Settings(), items).features(Ask(user, now), ROWS)
        np.testing.assert_allclose(found, seen_by_hand(events[:n], now, user), rtol=1e-5)
        listed = np.array(order, np.int32)
        ask, scorer = Ask(user, now, listed=Listed(listed)), session.InSession(session.Settings(), visits)
        expected = session_by_hand(events[:n], now, user, order)
        np.testing.assert_allclose(scorer.features(ask, listed), expected, rtol=1e-5)
        retrieved = scorer.features(ask, listed.copy())
        np.testing.assert_allclose(retrieved[:, :3], expected[:, :3], rtol=1e-5)
        assert np.isnan(retrieved[:, 3:]).all()


@pytest.mark.parametrize("make", [ItemRates, UserItems, Session])
def test_a_dislike_raises_nothing(make: type[Part]) -> None:
    events = a_log(5)
    before, now = learned(make(), events), events[-1].ts
    after = learned(make(), [*events, Event(now, 1, item=4, reward=-1.0)])
    if make is ItemRates:
        mine, theirs = before.features(now, ROWS)[4], after.features(now, ROWS)[4]
        assert (theirs[:5] < mine[:5]).all() and (theirs[5:] == mine[5:]).all()
    else:
        keys, more = numbered_keys(ROWS), {"is_list": True} if make is Session else {}
        mine, theirs = (part.features(1, keys, now, **more) for part in (before, after))
        np.testing.assert_array_equal(mine, theirs)


def test_a_kind_of_weight_0_is_no_click() -> None:
    events, now = a_log(6), 2 * 10**9
    signals = [Event(events[-1].ts + 1, 1, item=4)] * 5
    names = rates.Rates.names
    mine, theirs = (learned(ItemRates(), some).features(now, ROWS)[4] for some in (events, events + signals))
    assert [names[at] for at in np.flatnonzero(mine != theirs)] == ["item_signals"]


def test_the_least_recent_item_of_a_user_makes_room() -> None:
    part, keys = UserItems(items=2), numbered_keys(ROWS)
    learned(part, [Event(1_000 * n, 0, item=n % 5, reward=1.0) for n in (1, 2, 6, 3)])
    known = np.flatnonzero(~np.isnan(part.features(0, keys, 9_000)[:, 2]))
    assert known.tolist() == [1, 3] and exp(part.features(0, keys, 9_000)[1, 1]) == pytest.approx(3)
