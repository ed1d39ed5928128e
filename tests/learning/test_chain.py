"""The steps in a chain of partitions against the embedded pipeline: the same events, the same learning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
import pytest

from bandits import DiagLinUcb
from bandits.arms import ArmCounts
from freshet.config import Settings, load_settings
from learning.parts import Parts, build_parts
from learning.pipeline import Pipeline
from stream.events import Click, Decision, Forget, LoggedEvent, Tick
from stream.step import Step
from stream.testing import drive
from tests.harness.chain import Chain, batches, logged_world

SETTINGS: Settings = load_settings(
    environ={},
    flags={
        "join": {"window_ms": 20_000, "lateness_ms": 5_000},
        "learn": {"embedding_dim": 8, "maintain_ms": 10_000, "neighbours": 400},
        "policy": {"others": ["uniform", "thompson", "epsilon_greedy"], "context_clusters": 3},
    },
)
N_FEATURES = build_parts(SETTINGS).ranker.n_features
CLOSING = 60_000
T0 = 1_700_000_000_000

Edges = dict[tuple[str, int], tuple[float, float]]


class State(NamedTuple):
    """What both engines must agree on, by id."""

    edges: Edges
    arms: dict[tuple[str, str], tuple[int, float]]
    items: dict[str, tuple[int, ...]]
    popular: dict[str, list[float]]
    near: dict[str, dict[str, float]]
    users: dict[str, tuple[Any, ...]]
    histories: dict[str, list[tuple[str, int]]]


def world(n: int, seed: int = 0, **more: Any) -> list[LoggedEvent]:
    events = list(islice(logged_world(seed, n_features=N_FEATURES, **more), n))
    end = max(event.ts for event in events)
    return [*events, Tick(ts=end + CLOSING), Tick(ts=end + 2 * CLOSING)]


def embedded(events: Iterable[LoggedEvent], settings: Settings = SETTINGS, *, cut: int = 500) -> Pipeline:
    pipeline = Pipeline(settings, b"sixteen bytes or more")
    for batch in batches(events, cut):
        drive(cast(Step, pipeline), batch)
    return pipeline


def chained(
    events: Iterable[LoggedEvent], n: int, *, settings: Settings = SETTINGS, cut: int = 500, lag: int = 0
) -> Chain:
    chain = Chain(settings, n, lag=lag)
    for batch in batches(events, cut):
        chain.feed(batch)
    chain.settle()
    return chain


def state_of(item_sides: list[Parts], user_sides: list[Parts], now_ms: int) -> State:
    state = State({}, {}, {}, {}, {}, {}, {})
    for parts in item_sides:
        _add_items(state, parts, now_ms)
    for parts in user_sides:
        users = parts.users
        for row in users.live.tolist():
            name = str(users.id_of(row))
            counts = (users.clicks[row], users.impressions[row], users.touched_at[row])
            state.users[name] = tuple(int(count) for count in counts)
            clicked = [str(item) for item in parts.items.ids_of(parts.history.clicked(row))]
            times = parts.history.recent_ts(row, 1_000)[::-1].tolist()
            state.histories[name] = list(zip(clicked, times, strict=True))
    return state


def _add_items(state: State, parts: Parts, now_ms: int) -> None:
    items, policies = parts.items, parts.policies
    rows = items.live
    scores = parts.popularity.all_scores(now_ms, rows)
    near = parts.cooccurrence.export("item", rows)
    ends = np.cumsum(near["lengths"])
    for n, row in enumerate(rows.tolist()):
        name = str(items.id_of(row))
        if not items.impressions[row] and not items.clicks[row]:
            continue  # of another partition, known as a neighbour
        counts = (items.clicks[row], items.impressions[row], items.touched_at[row])
        state.items[name] = tuple(int(count) for count in counts)
        state.popular[name] = scores[:, n].tolist()
        inside = slice(ends[n] - near["lengths"][n], ends[n])
        ids = [str(other) for other in items.ids_of(near["neighbours"][inside])]
        state.near[name] = dict(zip(ids, near["weights"][inside].tolist(), strict=True))
        state.near[name][""] = float(near["degree"][n])
        for policy_name, policy in policies.items():
            if isinstance(policy, DiagLinUcb):
                for cluster, b, d in zip(*policy.edges(row), strict=True):
                    state.edges[name, int(cluster)] = (float(b), float(d))
            elif isinstance(policy, ArmCounts):
                shown, reward = policy.of(np.array([row], np.int32))
                state.arms[policy_name, name] = (int(shown[0]), float(reward[0]))


def alive(edges: Edges, dead: set[int]) -> Edges:
    return {key: value for key, value in edges.items() if key[1] not in dead}


def near_enough(found: dict[Any, Any], expected: dict[Any, Any], rel: float = 1e-9) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=rel, abs=1e-9), key


def compare(chain: Chain, pipeline: Pipeline, now_ms: int) -> None:
    """Everything that must be equal is."""
    expected = state_of([pipeline.parts], [pipeline.parts], now_ms)
    found = state_of([s.parts for s in chain.items], [s.parts for s in chain.users], now_ms)
    dead = {*pipeline.parts.centroids.dead.tolist(), *chain.users[0].parts.centroids.dead.tolist()}
    near_enough(alive(found.edges, dead), alive(expected.edges, dead))
    near_enough(found.arms, expected.arms)
    near_enough(found.popular, expected.popular)
    near_enough(found.near, expected.near, rel=1e-4)
    assert found.items == expected.items
    assert found.users == expected.users
    assert found.histories == expected.histories
    for kind in ("joined", "organic", "closed"):
        counts = sum(join.counters[kind] for join in chain.joins)
        assert counts == pipeline.joiners[False].counters[kind] > 0


def vectors(sides: list[Parts], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for parts in sides:
        table = getattr(parts, kind)
        for row in table.live.tolist():
            if table.impressions[row] or table.clicks[row]:
                found[str(table.id_of(row))] = table.data[row].copy()
    return found


def apart(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[float, float]:
    """Largest and mean distance of vectors by id, as shares of the mean length."""
    assert ours.keys() == theirs.keys()
    distances = [float(np.linalg.norm(ours[name] - theirs[name])) for name in theirs]
    length = float(np.mean([np.linalg.norm(vector) for vector in theirs.values()]))
    return max(distances) / length, float(np.mean(distances)) / length


@pytest.fixture(scope="module")
def few() -> Iterator[tuple[list[LoggedEvent], Pipeline]]:
    events = world(4_000, n_users=800, n_items=120)
    yield events, embedded(events)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_partitions_learn_what_the_embedded_pipeline_learns(
    few: tuple[list[LoggedEvent], Pipeline], n: int
) -> None:
    events, pipeline = few
    compare(chained(events, n), pipeline, events[-1].ts)


def test_one_partition_has_the_very_vectors(few: tuple[list[LoggedEvent], Pipeline]) -> None:
    events, pipeline = few
    chain = chained(events, 1)
    items, users = chain.items[0].parts, chain.users[0].parts
    assert apart(vectors([items], "items"), vectors([pipeline.parts], "items"))[0] < 1e-5
    assert apart(vectors([users], "users"), vectors([pipeline.parts], "users"))[0] < 1e-5
    np.testing.assert_allclose(users.centroids.vectors, pipeline.parts.centroids.vectors, atol=1e-5)


@pytest.mark.parametrize("n", [1, 3])
def test_the_ranker_learns_from_users_of_all_partitions_what_it_learns_embedded(
    few: tuple[list[LoggedEvent], Pipeline], n: int
) -> None:
    events, pipeline = few
    chain, ranker = chained(events, n), pipeline.parts.ranker
    # Features travel as float16, 11 bits; several partitions' clicks come in another order.
    assert (chain.train.parts.ranker.steps, chain.train.n_missed) == (ranker.steps, 0)
    moved = np.abs(ranker.weights - list(ranker.initial_weights.values())).max()
    apart_by = np.abs(chain.train.parts.ranker.weights - ranker.weights).max()
    # Measured: 0.00008 and 0.009 of the way that the weights have come.
    assert apart_by < (0.0005 if n == 1 else 0.05) * moved


def mean_distances(chain: Chain, pipeline: Pipeline) -> dict[str, float]:
    users, items = [shard.parts for shard in chain.users], [shard.parts for shard in chain.items]
    return {
        "users": apart(vectors(users, "users"), vectors([pipeline.parts], "users"))[1],
        "items": apart(vectors(items, "items"), vectors([pipeline.parts], "items"))[1],
    }


@pytest.mark.parametrize(("n", "lag", "most"), [(2, 0, 0.02), (3, 0, 0.02), (3, 20, 0.04)])
def test_without_drawn_negatives_vectors_are_apart_by_the_lag_only(n: int, lag: int, most: float) -> None:
    settings = msgspec.structs.replace(SETTINGS, learn=msgspec.structs.replace(SETTINGS.learn, negatives=0))
    events = world(4_000, n_users=800, n_items=120)
    chain = chained(events, n, settings=settings, lag=lag)
    assert max(mean_distances(chain, embedded(events, settings)).values()) < most


def test_with_drawn_negatives_they_are_apart_as_two_embedded_engines_that_draw_others(
    few: tuple[list[LoggedEvent], Pipeline],
) -> None:
    events, pipeline = few
    other = Pipeline(SETTINGS, b"sixteen bytes or more")
    other.parts.mf._rates = other.parts.mf._rates._replace(seed=np.uint64(99))
    for batch in batches(events, 500):
        drive(cast(Step, other), batch)
    found = mean_distances(chained(events, 3), pipeline)
    for kind, distance in found.items():
        assert distance < 1.25 * apart(*(vectors([p.parts], kind) for p in (other, pipeline)))[1]


@pytest.mark.parametrize("n", [3])
def test_a_hundred_thousand_events_give_the_same_policy_state(n: int) -> None:
    events = world(100_000, n_users=20_000, n_items=300, tick_ms=20_000)
    pipeline, chain = embedded(events, cut=2_000), chained(events, n, cut=2_000)
    compare(chain, pipeline, events[-1].ts)
    # Measured: 0.07 and 0.34 of the mean length; two embedded engines that draw others are as far apart.
    distances = mean_distances(chain, pipeline)
    assert distances["users"] < 0.15 and distances["items"] < 0.5


def test_an_answer_without_any_item_is_no_dead_letter() -> None:
    chain, shown = Chain(SETTINGS, 2), world(300)
    nothing = Decision(
        request_id="empty", ts=shown[0].ts, user_id="u1", items=[], propensities=[], policy="uniform"
    )
    chain.feed([nothing, *shown])
    assert sum(join.n_letters for join in chain.joins) == 0
    assert sum(int(join.counters["closed"]) for join in chain.joins) > 0


@pytest.mark.parametrize("order", [(0, 1, 2, 2), (1, 2, 0, 2)])
@pytest.mark.parametrize(("item", "after_ms", "learned"), [("a", 900, 0), ("z", 900, 1), ("a", 21_000, 1)])
def test_after_a_forget_a_click_is_learned_if_it_does_not_belong_to_what_was_erased(
    item: str, after_ms: int, learned: int, order: tuple[int, ...]
) -> None:
    said: list[LoggedEvent] = [
        Decision(request_id="r", ts=T0, user_id="ann", items=["a", "b"], propensities=[0.5, 0.5],
                 policy="uniform"),
        Forget(user_id="ann", ts=T0 + 500),
        Click(ts=T0 + after_ms, user_id="ann", item_id=item, request_id="r"),
    ]  # fmt: skip
    events, chain = [said[n] for n in order], Chain(SETTINGS, 2)
    for event in events:
        chain.feed([event])
    for parts in (embedded(events).parts, chain.users[chain.home("ann")].parts):
        (row,) = parts.users.find(["ann"]).tolist()
        assert (parts.history.length(row) if row >= 0 else 0) == learned
