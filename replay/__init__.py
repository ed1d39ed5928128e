"""What would have happened: recorded logs through the live steps, and what other policies would have earned.

`drive` feeds a log's events and ticks into a step as the engine does, and lets observers look before anything
is learned: `Prequential` scores predictions so, `OffPolicy` gathers rounds for the estimators (`Ips`,
`Snips`), and `diagnose` says whether the log can answer. `simulate` runs policies in closed loop on a seeded
world.
"""

from __future__ import annotations

from replay.chosen_estimators import ESTIMATORS, build_estimators, estimator_entries
from replay.diagnosis import Diagnosis, diagnose
from replay.drive import Driven, Observer, drive
from replay.errors import ReplayError
from replay.estimates import Estimate, estimate
from replay.estimator import Estimator
from replay.estimators.ips import Ips
from replay.estimators.snips import Snips
from replay.off_policy import OffPolicy
from replay.open_bandit import OpenBanditLog, load_open_bandit
from replay.prequential import Prequential, PrequentialResult, Recommender
from replay.rounds import Rounds
from replay.simulate import Simulation, make_policies, make_world, simulate
from replay.source import Entry, FolderSource, LinesSource, LogSource, open_folder, seen_items
from replay.targets import LoggedTarget, PolicyTarget, Target

__all__ = [
    "ESTIMATORS",
    "Diagnosis",
    "Driven",
    "Entry",
    "Estimate",
    "Estimator",
    "FolderSource",
    "Ips",
    "LinesSource",
    "LogSource",
    "LoggedTarget",
    "Observer",
    "OffPolicy",
    "OpenBanditLog",
    "PolicyTarget",
    "Prequential",
    "PrequentialResult",
    "Recommender",
    "ReplayError",
    "Rounds",
    "Simulation",
    "Snips",
    "Target",
    "build_estimators",
    "diagnose",
    "drive",
    "estimate",
    "estimator_entries",
    "load_open_bandit",
    "make_policies",
    "make_world",
    "open_folder",
    "seen_items",
    "simulate",
]
