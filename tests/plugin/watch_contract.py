"""Run by `test_plugin.py` where the plugin is installed: its estimator and measure pass their contracts."""

from __future__ import annotations

from freshet.testing import EstimatorContract, MeasureContract


class TestClipped(EstimatorContract):
    # No weight of the planted logs is larger.
    kind, settings = "clipped", {"most": 20.0}


class TestClicksByPlace(MeasureContract):
    name, measures = "by_place", ({"kind": "clicks_by_place", "name": "by_place", "places": 2},)
