"""Run by `test_plugin.py` where the plugin is installed: its estimator passes the contract of estimators."""

from __future__ import annotations

from freshet.testing import EstimatorContract


class TestClipped(EstimatorContract):
    # No weight of the planted logs is larger.
    kind, settings = "clipped", {"most": 20.0}
