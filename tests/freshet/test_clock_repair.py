"""A data folder that was used while the clock was wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from freshet.config import Settings, load_settings
from freshet.run.clock_repair import repair_clock, why_folder_ahead
from freshet.run.learner import fingerprint, refuse_future
from learning.errors import StartError
from learning.pipeline import Pipeline
from stream.clock import ManualClock, WallClock
from stream.codec import encode_events
from stream.engine import LocalEngine
from stream.events import Click, Decision, LoggedEvent
from stream.folder import DataFolder
from stream.log import Record

NOW = int(WallClock().now_ms())
YEAR = 365 * 86_400_000
SETTINGS: Settings = load_settings(environ={}, flags={"learn": {"embedding_dim": 8}})


@contextmanager
def learner(path: Path, now_ms: int) -> Iterator[tuple[LocalEngine, Pipeline]]:
    folder, clock = DataFolder(path), ManualClock(now_ms)
    sources = folder.readers()
    pipeline = Pipeline(SETTINGS, folder.key)
    with closing(folder.commit_log()) as commits:
        mark = fingerprint(SETTINGS)
        store = folder.snapshot_store()
        engine = LocalEngine(pipeline, sources, commits, store, clock=clock, fingerprint=mark)
        engine.recover()
        yield engine, pipeline
    for source in sources.values():
        source.close()


def append(path: Path, accepted_at: int, *events: LoggedEvent) -> None:
    with closing(DataFolder(path).writer("events-0")) as log:
        log.append([Record("events", encode_events(list(events)), accepted_at)])


def click(user: str, ts: int) -> Click:
    return Click(ts=ts, user_id=user, item_id="a")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What was learned from `before` and from a decision that the clock put a year ahead."""
    path = tmp_path / "data"
    DataFolder(path).prepare(1)
    shown = Decision(
        request_id="r", ts=NOW + YEAR, user_id="u", items=["a"], propensities=[1.0], policy="uniform"
    )
    append(path, NOW - 1_000, click("before", NOW - 1_000))
    append(path, NOW + YEAR, shown)
    with learner(path, NOW + YEAR) as (engine, _):
        engine.finish()
    return path


def test_a_folder_whose_time_has_not_come_is_named_and_not_gone_on_with(folder: Path) -> None:
    assert "31536" in why_folder_ahead(folder, SETTINGS, ManualClock(NOW))
    with learner(folder, NOW) as (engine, _), pytest.raises(StartError, match="--repair-clock"):
        refuse_future(engine, DataFolder(folder), SETTINGS)


def test_after_the_repair_clicks_are_learned_again_and_nothing_is_lost(folder: Path) -> None:
    append(folder, NOW + 5, click("waited", NOW + 5))
    assert "begins again now" in repair_clock(folder, SETTINGS, ManualClock(NOW + 10))
    assert why_folder_ahead(folder, SETTINGS, ManualClock(NOW + 10)) == ""
    append(folder, NOW + 20, click("after", NOW + 20))
    with learner(folder, NOW + 30) as (engine, pipeline):
        refuse_future(engine, DataFolder(folder), SETTINGS)
        engine.finish()
        assert NOW <= engine.absorbed_at <= NOW + 30 and engine.watermark <= NOW + 30
    assert pipeline.joiners[False].counters["late"] == 0
    assert [pipeline.parts.users.row_of(user) >= 0 for user in ("before", "waited", "after")] == [True] * 3


def test_a_slate_of_the_wrong_time_is_given_up(folder: Path) -> None:
    repair_clock(folder, SETTINGS, ManualClock(NOW))
    with learner(folder, NOW) as (_, pipeline):
        assert pipeline.joiners[False].pressure == 0.0


def test_a_folder_in_order_is_left_alone(tmp_path: Path) -> None:
    DataFolder(tmp_path / "data").prepare(1)
    append(tmp_path / "data", NOW, click("u", NOW))
    with learner(tmp_path / "data", NOW) as (engine, _):
        engine.finish()
    assert why_folder_ahead(tmp_path / "data", SETTINGS, ManualClock(NOW)) == ""
