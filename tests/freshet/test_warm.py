"""Warming up reaches what a first click needs."""

from __future__ import annotations

from freshet.config import Settings
from freshet.run.warm import warm_frames


def test_the_made_up_events_are_joined_learned_and_closed() -> None:
    last = warm_frames(Settings())[-1]["join"]["counters"]
    assert last["late"] == 0
    assert all(last[name] > 0 for name in ("organic", "joined", "closed", "foreign", "forgets", "items"))
