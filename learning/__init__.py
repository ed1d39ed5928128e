"""Outcomes in, rows out: everything that learns, as one step on one machine or in parts on many.

`Pipeline` joins and learns in one process; `shards` has the same steps by partition, for Kafka. `rows`
carries what was learned to replicas.
"""

from __future__ import annotations

from learning.errors import SettingsError, StartError
from learning.parts import Parts, build_parts
from learning.pipeline import Pipeline
from learning.settings import LearningSettings, LearnSettings, PolicySettings

__all__ = [
    "LearnSettings",
    "LearningSettings",
    "Parts",
    "Pipeline",
    "PolicySettings",
    "SettingsError",
    "StartError",
    "build_parts",
]
