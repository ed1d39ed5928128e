"""kill -9 under load, with everything that learns: no bit differs, nothing is lost, nothing is doubled."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from stream.frame import pack
from tests.harness.chaos import SETTINGS, Chaos, undisturbed
from tests.harness.chaos_pipeline import chaos_pipeline

# Of the kills asked for, this test takes two fifths; the two of the bare engine take the rest.
N_KILLS = 2 * int(os.environ.get("FRESHET_CHAOS_KILLS", "30")) // 5
CLICKS = 3
"""Of one record: one joins, one is organic, one waits for a slate that never comes."""


@pytest.mark.chaos
def test_the_learners_state_is_that_of_a_run_nobody_disturbed(tmp_path: Path) -> None:
    rng = np.random.default_rng(N_KILLS)
    events = "tests.harness.chaos:mixed_events"
    chaos = Chaos(tmp_path, 2, "tests.harness.chaos_pipeline:chaos_pipeline", rng, events=events)
    chaos.kill(N_KILLS, longest_s=1.0)
    chaos.stop()
    frame, problems = chaos.folder.snapshot_store().load()
    assert frame is not None and problems == []
    state, differing = undisturbed(chaos.folder, chaos_pipeline(), SETTINGS)
    assert differing == []
    assert pack(state) == pack(frame["step"])
    counters = frame["step"]["join"]["counters"]
    sent, accepted = counters["items"] * CLICKS, len(chaos.accepted())
    outcomes = sum(counters[name] for name in ("joined", "organic", "late"))
    assert 0 < accepted <= sent
    assert counters["duplicate"] == 0
    assert 2 * sent // 3 <= outcomes <= sent
