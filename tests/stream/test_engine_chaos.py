"""kill -9 at random instants: nothing accepted is lost, nothing counted twice, and no bit differs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from stream.clock import WallClock
from stream.frame import pack
from stream.housekeeping import Housekeeping
from stream.testing_log import CountingStep
from tests.harness.chaos import SETTINGS, Chaos, undisturbed

# Three tenths for each test here; tests/system takes the other two fifths, with the whole pipeline.
N_KILLS = 3 * int(os.environ.get("FRESHET_CHAOS_KILLS", "30")) // 10


@pytest.mark.chaos
def test_killed_writers_and_learners_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    chaos = Chaos(tmp_path, 2, "stream.testing_log:CountingStep", np.random.default_rng(N_KILLS))
    chaos.kill(N_KILLS, longest_s=1.0)
    chaos.stop()
    frame, problems = chaos.folder.snapshot_store().load()
    assert frame is not None and problems == []
    seen = frame["step"]["seen"]
    assert chaos.accepted() and chaos.accepted() <= set(seen)
    assert set(seen.values()) == {1}
    again, differing = undisturbed(chaos.folder, CountingStep(), SETTINGS)
    assert pack(again) == pack(frame["step"])
    assert differing == []


@pytest.mark.chaos
def test_forgotten_users_are_in_no_file_however_often_their_scrubbing_was_killed(tmp_path: Path) -> None:
    rng = np.random.default_rng(N_KILLS)
    chaos = Chaos(tmp_path, 2, "stream.testing_log:CountingStep", rng, forgets=True)
    chaos.kill(N_KILLS, longest_s=1.0)
    chaos.stop()
    folder = chaos.folder
    logs, commits = {name: folder.writer(name) for name in folder.sources()}, folder.commit_reader()
    assert Housekeeping(logs, commits, SETTINGS, WallClock()).run()
    frame, _ = folder.snapshot_store().load()
    assert frame is not None and chaos.accepted() <= set(frame["step"]["seen"])
    held = b"".join(path.read_bytes() for path in folder.path.rglob("*") if path.is_file())
    forgotten, named = chaos.forgotten(), {name.decode() for name in re.findall(rb"person-\d+-", held)}
    assert forgotten and not forgotten & named
    for log in logs.values():
        log.close()
    commits.close()
