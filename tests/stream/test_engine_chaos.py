"""kill -9 at random instants: nothing accepted is lost, nothing counted twice, and no bit differs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from stream.frame import pack
from stream.testing_chaos import SETTINGS, Chaos, undisturbed
from stream.testing_log import CountingStep

N_KILLS = int(os.environ.get("FRESHET_CHAOS_KILLS", "6"))


@pytest.mark.chaos
def test_killed_writers_and_learners_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    chaos = Chaos(tmp_path, 2, "stream.testing_log:CountingStep", np.random.default_rng(N_KILLS))
    chaos.kill(N_KILLS, longest_s=1.5)
    chaos.stop()
    frame, problems = chaos.folder.snapshot_store().load()
    assert frame is not None and problems == []
    seen = frame["step"]["seen"]
    assert chaos.accepted() and chaos.accepted() <= set(seen)
    assert set(seen.values()) == {1}
    again, differing = undisturbed(chaos.folder, CountingStep(), SETTINGS)
    assert pack(again) == pack(frame["step"])
    assert differing == []
