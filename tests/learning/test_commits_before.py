"""A folder of before: its snapshot and the commits behind it are read, and the learner goes on from them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from freshet.config import Settings, load_settings
from learners.testing import digest
from learning.parts import Parts, build_parts
from learning.pipeline import Pipeline
from stream.events import LoggedEvent, Tick
from stream.frame import unpack
from stream.step import Step
from stream.testing import ScriptedEvents, drive
from tests.harness.rows import SCORERS_BEFORE

DATA = Path(__file__).parent / "data"
NAMES = ["commits_before_parts", "commits_version_2"]
KEY = b"a key for tests, no secret"
SETTINGS: Settings = load_settings(
    environ={},
    flags={
        "learn": {"embedding_dim": 8, "maintain_ms": 2_000, "max_items": 4_096, "max_users": 4_096},
        "policy": {"centroids": 6, "others": ["uniform", "thompson", "epsilon_greedy"]},
        "scorers": SCORERS_BEFORE,
    },
)


def script() -> list[LoggedEvent]:
    """What was learned then: a snapshot after 150 events, then a commit every ten."""
    events = ScriptedEvents(1, n_features=build_parts(SETTINGS).ranker.n_features).take(300)
    return [*events, Tick(ts=events[-1].ts + 45 * 60_000)]


def stored(name: str) -> tuple[bytes, list[bytes]]:
    packed = (DATA / f"{name}.msgpack.gz").read_bytes()
    snapshot, commits = msgspec.msgpack.decode(gzip.decompress(packed))
    return snapshot, commits


def meaning(parts: Parts) -> dict[str, Any]:
    """Everything but which rows were touched since the last commit, and counters of publishing."""
    frames = parts.snapshot()
    del frames["learners"]  # names alone
    return {name: digest(_settled(frame)) for name, frame in frames.items()}


def ids_by_cluster(parts: Parts) -> dict[int, list[str]]:
    """What may be offered in each cluster."""
    clusters = [0, *parts.centroids.ids.tolist()]
    rows = {c: parts.graph.candidates(np.array([c], np.int32)) for c in clusters}
    return {cluster: sorted(map(str, parts.items.ids_of(of))) for cluster, of in rows.items()}


def _settled(frame: Any) -> Any:
    if not isinstance(frame, dict):
        return frame
    dropped = {"touched", "marks", "fresh", "published", "version", "renamed"}
    return {key: _settled(value) for key, value in frame.items() if key not in dropped}


@pytest.mark.parametrize("name", NAMES)
def test_the_learner_goes_on_from_a_snapshot_of_before(name: str) -> None:
    whole, again = Pipeline(SETTINGS, KEY), Pipeline(SETTINGS, KEY)
    drive(cast(Step, whole), script())
    frame = unpack(stored(name)[0])
    again.restore(frame)
    then, ranker = frame["ranker"], again.parts.ranker
    assert ranker.weights.tolist() == then["weights"].tolist() and ranker.explain()["linear"] == 1.0
    drive(cast(Step, again), script()[150:])
    found, expected = meaning(again.parts), meaning(whole.parts)
    # Then it was one linear order, learned from decided lists alone: the ranker goes on from there otherwise.
    assert {**found, "ranker": ""} == {**expected, "ranker": ""}
    assert ranker.steps > then["steps"]


def test_default_features_of_now_start_afresh_beside_a_snapshot_of_before() -> None:
    frame = unpack(stored(NAMES[1])[0])
    now = Pipeline(msgspec.structs.replace(SETTINGS, scorers=()), KEY)
    now.restore(frame)
    ranker, rates = now.parts.ranker, now.parts.more["item_rates"]
    weights = dict(zip(ranker.names, ranker.weights.tolist(), strict=True))
    assert [weights[name] for name in frame["ranker"]["names"]] == frame["ranker"]["weights"].tolist()
    assert weights["rate_1h"] == 0.0 and not rates.snapshot()["rows"].size
    drive(cast(Step, now), script()[150:])
    assert rates.snapshot()["rows"].size > 10


@pytest.mark.parametrize("file", NAMES)
def test_a_replica_follows_commits_of_before(file: str) -> None:
    snapshot, commits = stored(file)
    learner, replica = Pipeline(SETTINGS, KEY), build_parts(SETTINGS)
    drive(cast(Step, learner), script())
    replica.restore(unpack(snapshot))
    for commit in map(unpack, commits):
        for name, part in replica.named().items():
            if commit.get(name):
                part.apply(commit[name])
    expected, found = meaning(learner.parts), meaning(replica)
    for name in ("popularity", "cooccurrence", "history", "catalogue", "policy_counts", "organic_clicks"):
        assert found[name] == expected[name], name
    assert ids_by_cluster(replica) == ids_by_cluster(learner.parts)
    for name, policy in learner.parts.policies.items():
        assert digest(_settled(replica.policies[name].snapshot())) == digest(_settled(policy.snapshot()))
