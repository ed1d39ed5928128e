"""Lists of others get the features of their moment, and the ranker learns from clicks on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from learners import Ranker
from learners.ask import Ask
from learning.parts import Parts
from learning.pipeline import Pipeline
from learning.settings import LearningSettings, LearnSettings
from learning.testing_engines import Embedded, pieces
from stream.events import Click, Impression, ItemEvent, LoggedEvent, Tick
from tests.harness.rows import SCORERS_BEFORE

KEY = b"a key for tests, no secret"
DAY_MS = 86_400_000
T0 = 1_700_000_000_000


def settings() -> LearningSettings:
    learn = LearnSettings(embedding_dim=4, max_items=4_096, max_users=4_096)
    return LearningSettings(learn=learn, scorers=SCORERS_BEFORE)


def log(n: int, seed: int = 1) -> list[LoggedEvent]:
    """Lists of 3 of 12 items to 5 users, a click on most of them; items and users turn up bit by bit."""
    rng, events = np.random.default_rng(seed), list[LoggedEvent]()
    for at in range(n):
        ts, user = T0 + 60_000 * at, f"u{rng.integers(5)}"
        items = [f"i{one}" for one in rng.choice(min(12, 3 + at // 4), 3, replace=False)]
        context = {"item_id": f"i{rng.integers(12)}"} if at % 3 == 0 else None
        events.append(Impression(request_id=f"r{at}", user_id=user, ts=ts, items=items, context=context))
        if rng.random() < 0.7:
            item = items[int(rng.integers(3))]
            events.append(Click(ts=ts + 1_000, user_id=user, item_id=item, request_id=f"r{at}"))
        if at % 10 == 5:
            events += [
                Click(ts=ts + 2_000, user_id=user, item_id=f"i{at % 12}"),
                ItemEvent(item_id=f"i{at}", ts=ts),
            ]
    return events


def features_of(pipeline: Pipeline) -> dict[str, npt.NDArray[np.float32]]:
    """The features of each open list (n, F)."""
    opened = pipeline.joiners[False].snapshot()["open"]
    named = zip(opened["request_id"], opened["features"], opened["items"], strict=True)
    return {name: np.frombuffer(raw, "<f4").reshape(len(items), -1) for name, raw, items in named}


def test_a_list_of_others_has_the_popularity_that_its_items_had_when_it_was_shown() -> None:
    events = log(60)
    learned = Embedded(settings()).learn([events])
    column = learned.parts.ranker.names.index("popular_0")
    for at, event in enumerate(events):
        if isinstance(event, Impression):
            clicks = [one for one in events[:at] if isinstance(one, Click)]
            expected = [
                np.log(
                    0.5 + sum(0.5 ** ((event.ts - one.ts) / DAY_MS) for one in clicks if one.item_id == item)
                )
                for item in event.items
            ]
            found = features_of(learned.pipeline)[event.request_id][:, column]
            np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_comes_after_a_list_changes_none_of_its_features() -> None:
    events = log(60)
    whole = features_of(Embedded(settings()).learn([events]).pipeline)
    for at in [n for n, event in enumerate(events) if isinstance(event, Impression)][::6]:
        cut = features_of(Embedded(settings()).learn([events[: at + 1]]).pipeline)
        for name, features in cut.items():
            np.testing.assert_array_equal(features, whole[name])


@dataclass
class _Probe:
    """A scorer that shows what there is of a request: rows, counts, the viewed item."""

    parts: Parts
    names: tuple[str, ...] = ("user", "row", "viewed", "clicks", "shown", "has_vector")
    weights: tuple[float, ...] = (0.0,) * 6

    def features(self, ask: Ask, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        users, items = self.parts.users, self.parts.items
        clicks = users.clicks[ask.user] if ask.user >= 0 else 0
        shown = np.where(rows >= 0, items.impressions[rows], -1)
        of_request = (ask.user, rows, ask.viewed.max(initial=-1), clicks, shown, ask.vector is not None)
        return np.stack(np.broadcast_arrays(*of_request), axis=1).astype(np.float32)


def probed() -> Embedded:
    embedded = Embedded(settings())
    embedded.parts.ranker = Ranker([_Probe(embedded.parts)])
    return embedded


def test_a_list_meets_the_tables_as_they_were_before_it() -> None:
    events, one_by_one, at_once = log(60), probed(), probed().learn([log(60)])
    for event in events:
        if isinstance(event, Impression):
            user, items = one_by_one.parts.users, one_by_one.parts.items
            row, rows = user.row_of(event.user_id), items.find(event.items)
            viewed = items.find([event.context["item_id"]])[0] if event.context else -1
            found = features_of(at_once.pipeline)[event.request_id]
            expected = [(row, one, viewed, user.clicks[row] if row >= 0 else 0) for one in rows]
            np.testing.assert_array_equal(found[:, :4], np.array(expected))
        one_by_one.learn([[event]])
    assert (features_of(at_once.pipeline)["r0"][:, :2] == -1).all()


@pytest.mark.parametrize("restarts", [False, True])
def test_features_and_weights_are_the_same_wherever_events_are_cut(restarts: bool) -> None:
    events = log(80)
    whole = Embedded(settings()).learn([events])
    cut = Embedded(settings()).learn(pieces(events, np.random.default_rng(3), 20), restarts=restarts)
    ours, theirs = features_of(cut.pipeline), features_of(whole.pipeline)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    np.testing.assert_array_equal(cut.parts.ranker.weights, whole.parts.ranker.weights)
    assert cut.pipeline.joiners[False].pressure == whole.pipeline.joiners[False].pressure


def test_a_click_on_a_list_of_others_moves_the_ranker() -> None:
    learned = Embedded(settings()).learn([log(10)])
    ranker = learned.parts.ranker
    linear, steps = ranker.experts.columns["linear"], ranker.steps
    before = linear.copy()
    shown = Impression(request_id="new", user_id="u1", ts=T0 + DAY_MS, items=["i1", "i0", "i2"])
    learned.learn([[shown], [Click(ts=shown.ts + 5, user_id="u1", item_id="i0", request_id="new")]])
    assert ranker.steps == steps + 1
    features = features_of(learned.pipeline)["new"].astype(np.float64)
    shares = np.exp(features @ before - (features @ before).max())
    gradient = features[1] - shares @ features / shares.sum()
    moved = np.sign(linear - before)
    np.testing.assert_array_equal(moved, np.sign(gradient))


def test_history_that_is_fed_behind_teaches_as_well() -> None:
    pipeline = Pipeline(settings(), KEY)
    events = log(30)
    pipeline.on_events(events, backfill=True)
    n_clicks = sum(isinstance(event, Click) and event.request_id is not None for event in events)
    assert pipeline.parts.ranker.steps == n_clicks > 10


def test_what_came_with_each_item_is_known_to_scorers() -> None:
    chosen = msgspec.structs.replace(settings(), scorers=({"kind": "in_list"},))
    prices: list[dict[str, Any] | None] = [{"price": 20.0}, {"price": 10.0}, {"price": 30.0}]
    shown = Impression(request_id="r", user_id="u", ts=T0, items=["a", "b", "c"], item_context=prices)
    learned = Embedded(chosen).learn([[shown]])
    column = learned.parts.ranker.names.index("list_price_rank")
    ranks = -np.log(1.0 + np.array([1, 0, 2]))
    np.testing.assert_allclose(features_of(learned.pipeline)["r"][:, column], ranks, rtol=1e-6)


@dataclass
class _Broken:
    """A scorer that raises for lists of an unlucky user."""

    parts: Parts
    names: tuple[str, ...] = ("broken",)
    weights: tuple[float, ...] = (0.0,)

    def features(self, ask: Ask, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        if self.parts.users.id_of(ask.user) == "u2":
            msg = "no"
            raise ValueError(msg)
        return np.zeros((rows.size, 1), np.float32)


def test_where_a_scorer_raises_the_rest_is_learned_and_clicks_count_as_unread() -> None:
    events, plain = log(60), Embedded(settings()).learn([log(60)])
    broken = Embedded(settings())
    ranker = broken.parts.ranker = Ranker([_Broken(broken.parts)])
    broken.learn([events])
    assert ranker.unread > 0 and ranker.steps + ranker.unread == plain.parts.ranker.steps
    rows = np.arange(plain.parts.items.size, dtype=np.int32)
    now = T0 + DAY_MS
    np.testing.assert_array_equal(
        broken.parts.popularity.scores(now, 0, rows), plain.parts.popularity.scores(now, 0, rows)
    )
    broken.learn([[Tick(ts=now)]])
    assert broken.pipeline.joiners[False].counters["closed"] == 60
