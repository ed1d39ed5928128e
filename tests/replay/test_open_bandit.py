"""On real logged propensities: what one policy's log says of another agrees with that other's own log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monitor import mean_interval
from replay.chosen_estimators import build_estimators
from replay.diagnosis import diagnose
from replay.errors import ReplayError
from replay.estimates import estimate
from replay.open_bandit import OpenBanditLog, load_open_bandit
from replay.rounds import Rounds


def _load(campaign: str, policy: str) -> OpenBanditLog:
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    path = Path(os.environ.get("FRESHET_SHARED_DATA", beside)) / "obd_small" / "events.parquet"
    if not path.exists():
        pytest.skip(
            f"no Open Bandit sample at {path}; FRESHET_SHARED_DATA names the folder that holds obd_small"
        )
    return load_open_bandit(path, campaign=campaign, policy=policy)


def _assert_agrees(log: Rounds, shown: OpenBanditLog) -> None:
    truth = mean_interval(shown.click)
    for estimator in build_estimators().values():
        value = estimate(estimator, log).value
        assert value.low <= truth.high, (estimator.name, value, truth)
        assert truth.low <= value.high, (estimator.name, value, truth)


@pytest.mark.parametrize("campaign", ["all", "men"])
def test_the_bts_log_tells_what_random_earned(campaign: str) -> None:
    _assert_agrees(_load(campaign, "bts").uniform_rounds(), _load(campaign, "random"))


@pytest.mark.parametrize("campaign", ["all", "men", "women"])
def test_the_random_log_tells_what_bts_earned(campaign: str) -> None:
    random, bts = _load(campaign, "random"), _load(campaign, "bts")
    log = random.rounds_towards(bts)
    _assert_agrees(log, bts)
    assert diagnose(log).effective > 100


def test_a_log_with_tiny_propensities_says_that_it_cannot_answer() -> None:
    found = diagnose(_load("women", "bts").uniform_rounds())
    assert found.effective < 10
    assert "cannot answer" in found.warnings()[0]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="nowhere"):
        load_open_bandit(tmp_path / "nowhere.parquet", campaign="all", policy="bts")
