"""The pipeline is a step like any other; replicas follow it; order within lateness does not matter."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from bandits import DiagLinUcb
from freshet.config import Settings, load_settings
from learning.parts import Parts, build_parts
from learning.pipeline import Pipeline
from stream.events import Click, Forget, ItemEvent, LoggedEvent, Tick
from stream.frame import pack, unpack
from stream.step import Step
from stream.testing import ScriptedEvents, StepContract, drive

SETTINGS: Settings = load_settings(
    environ={},
    flags={
        "learn": {"embedding_dim": 8, "maintain_ms": 2_000, "max_items": 4_096, "max_users": 4_096},
        "policy": {"centroids": 6, "others": ["uniform", "thompson", "epsilon_greedy"]},
    },
)
KEY = b"a key for tests, no secret"


def script(seed: int = 1, n: int = 400) -> list[LoggedEvent]:
    n_features = build_parts(SETTINGS).ranker.n_features
    events = ScriptedEvents(seed, n_features=n_features).take(n)
    return [*events, Tick(ts=events[-1].ts + 45 * 60_000)]


class TestPipelineIsAStep(StepContract):
    def make_step(self) -> Step:
        return cast(Step, Pipeline(SETTINGS, KEY))

    def script(self) -> list[LoggedEvent]:
        return script()


def follow(pipeline: Pipeline, events: list[LoggedEvent], every: int) -> Parts:
    replica = build_parts(SETTINGS)
    for start in range(0, len(events), every):
        drive(cast(Step, pipeline), events[start : start + every])
        frame = unpack(pack(pipeline.take()))
        for name, part in replica.named().items():
            if frame.get(name):
                part.apply(frame[name])
    return replica


@pytest.mark.parametrize("every", [1, 50])
def test_a_replica_that_applies_every_commit_serves_what_the_learner_knows(every: int) -> None:
    pipeline = Pipeline(SETTINGS, KEY)
    replica, leader = follow(pipeline, script(), every), pipeline.parts
    rows = np.arange(leader.items.size, dtype=np.int32)
    names = leader.items.ids_of(rows)
    assert replica.items.ids_of(rows) == names
    np.testing.assert_array_equal(replica.items.data[rows], leader.items.data[rows])
    now = script()[-1].ts
    np.testing.assert_array_equal(
        replica.popularity.scores(now, 0, rows), leader.popularity.scores(now, 0, rows)
    )
    np.testing.assert_array_equal(replica.ranker.weights, leader.ranker.weights)
    for row in rows.tolist():
        for ours, theirs in zip(edges(replica, row), edges(leader, row), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(replica.graph.clusters_of(row), leader.graph.clusters_of(row))
    for user in range(leader.users.size):
        np.testing.assert_array_equal(replica.history.clicked(user), leader.history.clicked(user))


def edges(parts: Parts, row: int) -> tuple[NDArray[Any], ...]:
    policy = parts.policies["diag_lin_ucb"]
    assert isinstance(policy, DiagLinUcb)
    return policy.edges(row)


def policy_state(events: list[LoggedEvent]) -> dict[tuple[str, int], tuple[float, float]]:
    pipeline = Pipeline(SETTINGS, KEY)
    drive(cast(Step, pipeline), events)
    parts = pipeline.parts
    state = {}
    for row, name in enumerate(parts.items.ids_of(np.arange(parts.items.size, dtype=np.int32))):
        for cluster, b, d in zip(*edges(parts, row), strict=True):
            state[str(name), int(cluster)] = (float(b), float(d))
    return state


@pytest.mark.parametrize("seed", range(4))
def test_any_order_within_the_lateness_and_any_duplication_give_the_same_policy_state(seed: int) -> None:
    events = [event for event in script(7, 300) if type(event).__name__ not in ("Forget", "Tick")]
    close = Tick(ts=max(event.ts for event in events) + 3_600_000)
    rng = np.random.default_rng(seed)
    shuffled = [events[n] for n in rng.permutation(len(events))]
    doubled = [*shuffled, *(events[n] for n in rng.integers(len(events), size=100))]
    straight, mixed = policy_state([*events, close]), policy_state([*doubled, close])
    assert straight.keys() == mixed.keys()
    for key, value in straight.items():
        assert mixed[key] == pytest.approx(value, abs=1e-9)


def test_forgotten_users_leave_no_row_and_are_dropped_when_delivered_again() -> None:
    pipeline = Pipeline(SETTINGS, KEY)
    click = Click(ts=1_000, user_id="zz-secret", item_id="a", event_id="e")
    drive(cast(Step, pipeline), [click, Forget(user_id="zz-secret", ts=2_000), click])
    assert "zz-secret" not in pipeline.parts.users
    assert b"zz-secret" not in pack(pipeline.snapshot())
    assert pipeline.joiners[False].counters["forgotten"] == 1


def test_a_flood_of_unknown_ids_neither_evicts_the_catalogue_nor_keeps_new_items_out() -> None:
    pipeline = Pipeline(settings_of(max_items=256), KEY)
    script: list[LoggedEvent] = [ItemEvent(item_id=f"i{n}", ts=n) for n in range(100)]
    for n in range(20_000):
        script.append(Click(ts=n, user_id="ann", item_id=f"x{n}"))
        script += [Tick(ts=n)] if n % 1_000 == 0 else []
    script += [ItemEvent(item_id=f"j{n}", ts=20_000) for n in range(9)]
    drive(cast(Step, pipeline), script)
    parts = pipeline.parts
    rows = parts.items.find([*(f"i{n}" for n in range(100)), *(f"j{n}" for n in range(9))])
    assert parts.catalogue.servable(rows, 20_000).all() and len(parts.items) <= 256


def settings_of(**learn: Any) -> Settings:
    return load_settings(environ={}, flags={"learn": {"embedding_dim": 8, "maintain_ms": 1_000, **learn}})


def test_items_put_in_one_block_are_the_same_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    names = rng.integers(0, 12, 80).tolist()
    events = [
        ItemEvent(item_id=f"i{name}", ts=100 + n % 7, group=f"g{n % 3}", deleted=n % 11 == 0)
        for n, name in enumerate(names)
    ]
    together, apart = (Pipeline(SETTINGS, KEY) for _ in range(2))
    together.on_events(events)
    for event in events:
        apart.on_events([event])
    assert pack(together.snapshot()) == pack(apart.snapshot())
