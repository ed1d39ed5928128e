"""What would have happened: recorded logs through the live steps, and what other policies would have earned.

`Rounds` are logged decisions with the propensities of another policy; the estimators (`Ips`, `Snips`) and
`diagnose` say what that policy would have earned, and whether the log can tell.
"""

from __future__ import annotations

from replay.errors import ReplayError
from replay.estimators import (
    ESTIMATORS,
    Diagnosis,
    Estimate,
    Estimator,
    Ips,
    Rounds,
    Snips,
    diagnose,
    estimate,
)
from replay.open_bandit import OpenBanditLog, load_open_bandit

__all__ = [
    "ESTIMATORS",
    "Diagnosis",
    "Estimate",
    "Estimator",
    "Ips",
    "OpenBanditLog",
    "ReplayError",
    "Rounds",
    "Snips",
    "diagnose",
    "estimate",
    "load_open_bandit",
]
