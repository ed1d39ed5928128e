"""A negative reward lowers an item everywhere: it is no click, no positive and no pair, on both engines."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from freshet.config import Settings, load_settings
from learners import Ask
from learning.parts import Parts, build_parts
from learning.pipeline import Pipeline
from stream.events import Click, Decision, ItemEvent, LoggedEvent, Tick
from stream.frame import pack, unpack
from tests.harness.chain import Chain, batches

SETTINGS: Settings = load_settings(
    environ={},
    flags={
        "join": {"weights": {"click": 1.0, "dislike": -1.0, "view": 0.0}},
        "learn": {"embedding_dim": 8},
        "policy": {"name": "epsilon_greedy", "others": ["thompson", "diag_lin_ucb"]},
    },
)
T0 = 1_700_000_000_000
ITEMS = ("good", "bad", "other")
WAYS: list[dict[str, Any]] = [{"value": -1.0}, {"kind": "dislike"}]


def organic(user: str, ts: int, item: str, **more: Any) -> list[LoggedEvent]:
    return [Click(ts=ts, user_id=user, item_id=item, **more)]


def shown(user: str, ts: int, item: str, **more: Any) -> list[LoggedEvent]:
    slate = Decision(
        request_id=f"r{user}{ts}", ts=ts, user_id=user, items=["other", item], propensities=[0.5, 0.5],
        policy="thompson", clusters=[0], weights=[1.0],
    )  # fmt: skip
    return [slate, Click(ts=ts + 9, user_id=user, item_id=item, request_id=slate.request_id, **more)]


def dislikes(way: Any, **more: Any) -> list[LoggedEvent]:
    """Ten users click on `good` and dislike `bad`."""
    events: list[LoggedEvent] = [ItemEvent(item_id=item, ts=T0) for item in ITEMS]
    for n in range(10):
        events += [
            *organic(f"u{n}", T0 + 1_000 * n, "good"),
            *way(f"u{n}", T0 + 1_000 * n + 10, "bad", **more),
        ]
    return [*events, Tick(ts=T0 + 100_000)]


def embedded(events: list[LoggedEvent]) -> Pipeline:
    pipeline = Pipeline(SETTINGS, b"sixteen bytes or more")
    pipeline.on_events([event for event in events if not isinstance(event, Tick)])
    return pipeline


def rows(parts: Parts) -> Any:
    return parts.items.find(list(ITEMS))


@pytest.mark.parametrize("way", [organic, shown])
@pytest.mark.parametrize("more", WAYS)
def test_a_dislike_lowers_an_item_and_is_no_click(way: Any, more: dict[str, Any]) -> None:
    parts = embedded(dislikes(way, **more)).parts
    good, bad, _ = rows(parts).tolist()
    assert parts.items.clicks[[good, bad]].tolist() == [10, 0]
    popular = parts.popularity.scores(T0 + 10_000, 0, np.array([good, bad], np.int32))
    assert popular == pytest.approx([10, -10], abs=0.1)
    assert parts.popularity.top(9, 0).tolist() == [good]
    assert parts.mf.item_bias(np.array([bad]))[0] < -0.1
    assert parts.history.clicked(parts.users.row_of("u3")).tolist() == [good]
    assert parts.cooccurrence.neighbours(good, 5)[0].size == 0
    assert parts.users.clicks[parts.users.row_of("u3")] == 1


@pytest.mark.parametrize("more", WAYS)
def test_a_dislike_is_no_click_in_the_measures(more: dict[str, Any]) -> None:
    found = embedded(dislikes(shown, **more)).parts.measures
    assert found["organic_clicks"].of() == {"organic": 10}
    assert found["policy_counts"].of("thompson")["clicks"] == 0
    found = embedded(dislikes(organic, **more)).parts.measures
    assert found["organic_clicks"].of() == {"organic": 10}


def test_a_disliked_item_stands_below_one_that_nobody_knows() -> None:
    parts = embedded(dislikes(organic, value=-1.0)).parts
    features = parts.ranker.features(Ask(-1, T0 + 20_000), rows(parts))
    good, bad, other = parts.ranker.score(features).tolist()
    assert good > other > bad


@pytest.mark.parametrize("way", [organic, shown])
def test_a_click_of_a_kind_of_weight_0_is_remembered_and_teaches_nothing(way: Any) -> None:
    seen, never = (embedded(dislikes(way, kind="view")).parts, embedded(dislikes(shown, kind="x")).parts)
    good, bad, _ = rows(seen).tolist()
    assert seen.history.clicked(seen.users.row_of("u3")).tolist() == [good, bad]
    assert seen.items.clicks[bad] == 0
    assert seen.mf.steps == never.mf.steps == 10
    assert (seen.popularity.top(9, 0).tolist(), seen.cooccurrence.neighbours(bad, 5)[0].size) == ([good], 0)


def test_a_replica_and_a_snapshot_know_what_was_only_disliked() -> None:
    parts = embedded(dislikes(organic, value=-1.0)).parts
    copy, restored = build_parts(SETTINGS), build_parts(SETTINGS)
    restored.restore(unpack(pack(parts.snapshot())))
    for name, frame in unpack(pack(parts.changes())).items():
        if frame:
            copy.named()[name].apply(frame)
    at = rows(parts)
    for other in (copy, restored):
        assert (
            other.popularity.scores(T0 + 9, 0, at).tolist() == parts.popularity.scores(T0 + 9, 0, at).tolist()
        )


@pytest.mark.parametrize("way", [organic, shown])
def test_both_engines_learn_the_same_from_dislikes(way: Any) -> None:
    events = [*dislikes(way, value=-1.0), *dislikes(way, kind="dislike"), *dislikes(way, kind="view")]
    events = [e for e in events if not isinstance(e, Tick)] + [Tick(ts=T0 + 100_000)]
    settings = msgspec.structs.replace(
        SETTINGS, learn=msgspec.structs.replace(SETTINGS.learn, negatives=0, shown_weight=0.0)
    )
    one, chain = Pipeline(settings, b"sixteen bytes or more"), Chain(settings, 1)
    one.on_events([e for e in events if not isinstance(e, Tick)])
    for batch in batches(events, 7):
        chain.feed(batch)
    chain.settle()
    theirs, ours = chain.items[0].parts, one.parts
    here, there = rows(ours), rows(theirs)
    assert theirs.popularity.scores(T0 + 9, 0, there) == pytest.approx(
        ours.popularity.scores(T0 + 9, 0, here)
    )
    assert theirs.mf.item_bias(there) == pytest.approx(ours.mf.item_bias(here))
    assert theirs.items.clicks[there].tolist() == ours.items.clicks[here].tolist()
    for name in ("epsilon_greedy", "thompson"):
        for mine, other in zip(here.tolist(), there.tolist(), strict=True):
            expected = ours.policies[name].describe(mine)
            assert theirs.policies[name].describe(other) == pytest.approx(expected), name
