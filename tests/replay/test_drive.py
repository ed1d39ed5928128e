"""The live steps in event time: the same state as the engine's, and observers who look first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from freshet.config import Settings, load_settings
from learning.pipeline import Pipeline
from replay.drive import Observer, drive
from replay.source import FolderSource, LinesSource
from stream.blocks import CLICK, CLOSED, SHOWN, FeedbackBlock
from stream.clock import ManualClock
from stream.codec import encode_events
from stream.commits import CommitLog
from stream.engine import LocalEngine, SnapshotStore
from stream.events import Click, Decision, ItemEvent, LoggedEvent
from stream.frame import pack
from stream.join import JoinSettings
from stream.log import MemoryLog, Record

_KEY = b"sixteen bytes or more"


def _events(n_slates: int = 60) -> Iterator[LoggedEvent]:
    rng = np.random.default_rng(3)
    items = [f"i{number}" for number in range(12)]
    yield from (ItemEvent(item_id=item, ts=0) for item in items)
    for n in range(n_slates):
        ts, shown = 60_000 * n, rng.permutation(items)[:4].tolist()
        yield Decision(
            request_id=f"r{n}", ts=ts, user_id=f"u{n % 5}", items=shown, propensities=[0.5] * 4,
            policy="uniform", clusters=[0],
            weights=[1.0],
        )  # fmt: skip
        if n % 3:
            yield Click(request_id=f"r{n}", item_id=shown[n % 4], ts=ts + 10_000)


def _log(events: list[LoggedEvent], bundle: int) -> MemoryLog:
    log = MemoryLog()
    log.append(
        [
            Record("events", encode_events(events[n : n + bundle]), 5 * n + 1)
            for n in range(0, len(events), bundle)
        ]
    )
    return log


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(environ={}, flags={"clock": "event", "learn": {"embedding_dim": 4}})


def test_a_replay_ends_in_the_state_of_the_engine(settings: Settings, tmp_path: Path) -> None:
    log = _log(list(_events()), bundle=7)
    live, commits = Pipeline(settings, _KEY), CommitLog(tmp_path / "learner.db")
    engine = LocalEngine(
        live, {"events-0": log}, commits, SnapshotStore(tmp_path), clock=ManualClock(1e6), mode="event"
    )
    while engine.run_once():
        continue
    commits.close()
    replayed = Pipeline(settings, _KEY)
    drive(replayed, FolderSource({"events-0": log}), join=settings.join, observers=[Nosy()])
    assert pack(replayed.snapshot()) == pack(live.snapshot())


class Nosy(Observer):
    """Forces the smallest batches."""

    def needs_state(self, block: FeedbackBlock) -> bool:
        return True


class Witness(Observer):
    """Notes, at each click, how often the pipeline has seen the clicked item clicked."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._items = pipeline.parts.items
        self.clicks: list[int] = []
        self.kinds: list[int] = []

    def needs_state(self, block: FeedbackBlock) -> bool:
        return CLICK in block.kind

    def observe(self, block: FeedbackBlock) -> None:
        self.kinds += block.kind
        for kind, ref, place in zip(block.kind, block.ref, block.place, strict=True):
            if kind == CLICK:
                row = self._items.row_of(block.slates[ref].items[place])
                self.clicks.append(int(self._items.clicks[row]))


def test_an_observer_sees_the_state_before_the_click_and_after_all_else(settings: Settings) -> None:
    shown = [
        Decision(request_id=r, ts=n, user_id=r, items=["a"], propensities=[1.0], policy="uniform")
        for n, r in enumerate("xyz")
    ]
    clicks = [Click(request_id=r, item_id="a", ts=10 + n) for n, r in enumerate("xyz")]
    pipeline = Pipeline(settings, _KEY)
    witness = Witness(pipeline)
    drive(pipeline, FolderSource({"e": _log([*shown, *clicks], 1)}), join=settings.join, observers=[witness])
    assert witness.clicks == [0, 1, 2]


def test_windows_close_in_event_time(settings: Settings) -> None:
    pipeline = Pipeline(settings, _KEY)
    witness = Witness(pipeline)
    driven = drive(
        pipeline, FolderSource({"e": _log(list(_events()), 5)}), join=settings.join, observers=[witness]
    )
    assert witness.kinds.count(SHOWN) == 60
    assert witness.kinds.count(CLOSED) == driven.outcomes["closed"] > 0
    assert driven.outcomes["joined"] == witness.kinds.count(CLICK) == 40
    assert driven.ticks >= 59


def test_a_wall_clock_replay_lives_through_acceptance_times(settings: Settings) -> None:
    late = [Click(ts=5, user_id="u", item_id="a"), Click(ts=6, user_id="u", item_id="b")]
    log = MemoryLog()
    log.append(
        [Record("events", encode_events([late[0]]), 10), Record("events", encode_events([late[1]]), 10**7)]
    )
    source = FolderSource({"e": log})
    outcomes = [
        drive(Pipeline(settings, _KEY), source, join=JoinSettings(), mode=mode, observers=[Nosy()]).outcomes[
            "late"
        ]
        for mode in ("event", "wall")
    ]
    assert outcomes == [0, 1]


def test_progress_is_told(settings: Settings) -> None:
    told: list[int] = []
    line = b'{"type": "click", "ts": %d, "user_id": "u", "item_id": "a"}'
    source = LinesSource(line % (1_700_000_000_000 + n) for n in range(2_500))
    driven = drive(Pipeline(settings, _KEY), source, join=settings.join, progress=told.append)
    assert told == [1_000, 2_000]
    assert driven.events == 2_500
