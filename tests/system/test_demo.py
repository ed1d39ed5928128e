"""The demo: a history that is loaded and foretold, the last ratings live, two users at the end."""

from __future__ import annotations

from pathlib import Path

import msgspec

from freshet.config import load_settings
from freshet.data import load_movietweetings
from freshet.demo.client import ApiClient
from freshet.demo.history import feed_history, score_history
from freshet.demo.people import meet, two_of
from freshet.demo.play import play
from freshet.demo.world import World
from freshet.offline import StateRecommender
from freshet.run import EmbeddedSystem
from learning.pipeline import Pipeline
from replay import Prequential, drive
from replay.source import LinesSource
from stream.clock import WallClock

SETTINGS = load_settings(environ={}, flags={"port": 0, "clock": "event"})


def test_a_history_is_foretold_as_a_replay_of_it_foretells_every_click() -> None:
    log = load_movietweetings(150)
    world, lines = World(log), []
    for index in range(150):
        lines += [msgspec.json.encode(event) for event in world.events(index)]
        world.learn(index)
    pipeline = Pipeline(SETTINGS, b"key of a test, which forgets nobody")
    exact = Prequential(StateRecommender(pipeline.parts, SETTINGS.serve.sources), k=20)
    drive(
        pipeline,
        iter(LinesSource(lines)),
        join=SETTINGS.join,
        tick_ms=SETTINGS.engine.tick_ms,
        observers=[exact],
    )
    contest, _ = score_history(World(log), 150, SETTINGS, 3, lambda _index: None)
    assert contest.hits["freshet"].tolist() == list(exact.result.hits)[::3]
    assert contest.ts_ms.tolist() == log.ts_ms[::3]
    assert sum(contest.hits["freshet"]) > 0


def test_what_follows_a_loaded_history_is_played_live_and_knows_it(tmp_path: Path) -> None:
    log, clock = load_movietweetings(420), WallClock()
    with (
        EmbeddedSystem(tmp_path / "data", SETTINGS, clock) as system,
        ApiClient(system.host, system.port) as api,
    ):
        fed: list[int] = []
        feed_history(log, 400, system.url, api, clock, fed.append)
        world = World(log)
        _, known = score_history(world, 400, SETTINGS, 100, lambda _index: None)
        result = play(log, api, clock, world=world, start=400)
        person = meet(two_of(log)[0], log.ts_ms[-1], log, api, known)
    assert (sum(fed), result.events, result.ts_ms.tolist()) == (400, 20, log.ts_ms[400:])
    clicks = [
        log.titles[item] for user, item in zip(log.users, log.items, strict=True) if user == person.user_id
    ]
    assert person.clicked == clicks[::-1][:5]
    assert not {title for title, _, _ in person.offered} & set(clicks)
