"""The demo: real logged ratings played through the public HTTP API, beside plain baselines."""

from __future__ import annotations

from freshet.demo.baselines import Baseline, all_baselines
from freshet.demo.play import DemoResult, play

__all__ = ["Baseline", "DemoResult", "all_baselines", "play"]
