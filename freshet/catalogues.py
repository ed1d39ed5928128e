"""Every list of parts that the settings have, with its kinds."""

from __future__ import annotations

from learning.catalogue import LEARNERS, MEASURES, POLICIES, SCORERS, Kinds
from replay.chosen_estimators import ESTIMATORS
from serving.chosen_sources import SOURCES

__all__ = ["CATALOGUES"]

CATALOGUES: dict[str, Kinds] = {
    kinds.section: kinds for kinds in (POLICIES, LEARNERS, MEASURES, SCORERS, SOURCES, ESTIMATORS)
}
"""By section, in the order of the settings."""
