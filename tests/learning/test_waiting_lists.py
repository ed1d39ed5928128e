"""What takes long learns when there is time, and the same whenever that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from learning.parts import build_parts
from learning.pipeline import Pipeline
from learning.settings import LearningSettings, LearnSettings, PolicySettings
from learning.testing_engines import Embedded, pieces, scripted
from stream.clock import ManualClock
from stream.commits import CommitLog
from stream.engine import LocalEngine, SnapshotStore
from stream.frame import Frame, pack, unpack
from stream.join_settings import JoinSettings
from stream.log import MemoryLog
from stream.step import Step
from stream.testing import drive
from stream.testing_log import clicks
from tests.harness.listening import ENTRY, Listening, install

KEY = b"a key for tests, no secret"


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)


def settings(**more: Any) -> LearningSettings:
    made = LearningSettings(
        learn=LearnSettings(embedding_dim=4, max_items=4_096, max_users=4_096),
        policy=PolicySettings(centroids=6, features=("device", "hour"), feature_dim=4),
        policies=({**ENTRY, "late": True},),
        join=JoinSettings(window_ms=5_000, lateness_ms=1_000),
    )
    return msgspec.structs.replace(made, **more)


def heard(parts: Any) -> Listening:
    return cast(Listening, parts.policies["listening"])


def test_whenever_it_learns_and_wherever_it_is_restarted_the_bits_are_the_same() -> None:
    log, rng = scripted(settings(), n=300), np.random.default_rng(1)
    at_once = heard(Embedded(settings()).learn([log]).parts)
    pipeline, frames = Pipeline(settings(), KEY, late=True), list[Frame]()
    most = 0
    for number, batch in enumerate(pieces(log, rng)):
        drive(cast(Step, pipeline), batch)
        frames.append(unpack(pack(pipeline.take())))
        most = max(most, len(pipeline._lists))
        for _ in range(int(rng.integers(3))):
            pipeline.work()
        if number % 5 == 4:
            before, pipeline = pipeline, Pipeline(settings(), KEY, late=True)
            pipeline.restore(unpack(pack(before.snapshot())))
    assert most > 2
    while pipeline.waits:
        pipeline.work()
    frames.append(unpack(pack(pipeline.take())))
    found = heard(pipeline.parts)
    assert found.sum.tobytes() == at_once.sum.tobytes() != bytes(found.sum.nbytes)
    replica = heard(build_parts(settings()))
    for frame in frames:
        replica.apply(frame["policy:listening"])
    assert replica.given.columns["sum"].tobytes() == found.given.columns["sum"].tobytes()


def test_who_has_no_time_for_it_takes_up_what_was_left() -> None:
    log = scripted(settings(), n=200)
    before, after = Pipeline(settings(), KEY, late=True), Pipeline(settings(), KEY)
    drive(cast(Step, before), log)
    assert before.waits and not heard(before.parts).sum.any()
    after.restore(unpack(pack(before.snapshot())))
    at_once = heard(Embedded(settings()).learn([log]).parts)
    assert not after.waits and heard(after.parts).sum.tobytes() == at_once.sum.tobytes()


def test_lists_with_features_of_other_names_are_dropped_at_a_restart() -> None:
    before = Pipeline(settings(), KEY, late=True)
    drive(cast(Step, before), scripted(settings(), n=200))
    policy = PolicySettings(centroids=6, features=("hour", "device"), feature_dim=4)
    after = Pipeline(settings(policy=policy), KEY, late=True)
    after.restore(unpack(pack(before.snapshot())))
    assert not after.waits


def test_where_nothing_learns_late_nothing_waits() -> None:
    plain = settings(policies=(ENTRY, {"kind": "uniform"}))
    pipeline = Pipeline(plain, KEY, late=True)
    drive(cast(Step, pipeline), scripted(plain, n=200))
    assert not pipeline.waits and "waiting_lists" not in pipeline.snapshot()
    assert heard(pipeline.parts).sum.any()


def test_the_engine_lets_it_learn_between_commits_and_clicks_do_not_wait_for_all_of_it(
    tmp_path: Path,
) -> None:
    pipeline, log = Pipeline(settings(), KEY, late=True), MemoryLog()
    drive(cast(Step, pipeline), scripted(settings(), n=200))
    commits, snapshots = CommitLog(tmp_path / "learner.db"), SnapshotStore(tmp_path / "snapshots")
    engine = LocalEngine(
        cast(Step, pipeline), {"a": log}, commits, snapshots, clock=ManualClock(), mode="event"
    )
    looks: list[tuple[int, bool]] = []

    def is_done() -> bool:
        looks.append((engine.seq, pipeline.waits))
        if len(looks) == 3:  # in the middle of it
            log.append([clicks(1, 2, accepted_at=5)])
        return not pipeline.waits

    engine.run(is_done)
    commits.close()
    assert looks[3] == (1, True) and len(looks) > 10
    at_once = heard(Embedded(settings()).learn([scripted(settings(), n=200)]).parts)
    assert heard(pipeline.parts).sum.tobytes() == at_once.sum.tobytes()
