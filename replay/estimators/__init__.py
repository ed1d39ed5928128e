"""Estimators, one a file; the name of a file is the kind that `[[estimators]]` chooses.

Example:
    >>> from replay.estimators import Ips, Rounds, estimate
    >>> log = Rounds.single(target=[0.5, 0.5], logged=[0.5, 0.25], rewards=[1.0, 0.0])
    >>> estimate(Ips(), log).value.mean
    0.5
"""

from __future__ import annotations

from replay.estimates import estimate
from replay.estimators.ips import Ips
from replay.estimators.snips import Snips
from replay.rounds import Rounds

__all__ = ["Ips", "Rounds", "Snips", "estimate"]
