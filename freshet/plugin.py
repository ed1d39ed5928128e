"""What a package with parts of its own imports: this module, and `freshet.testing` in its tests.

A part's module has a class `Settings` and a function `build(settings, world)`, and is registered under the
entry point group `freshet.parts`; see docs/guides/plugins.md. Names here stay, or their going is announced in
the change log; those of the rooms may change.
"""

from __future__ import annotations

from bandits.arms import ArmCounts
from bandits.base import Choice, Context, Policy, Reach
from bandits.draws import Draws, Uniforms
from bandits.errors import PolicyError
from bandits.forgetting import Forgetting, ForgettingSettings
from bandits.graph import ClusterItemGraph
from bandits.plans import Beliefs, InverseGap, Places, Plan, Rule
from learners.ask import Ask, Listed
from learners.part import Column, Columns, Part, PartSpec
from learners.rows import RowBlock
from learners.scorer import Scorer
from learners.world import World
from learning.errors import SettingsError
from learning.measure import Figure, Labels, Measure
from replay.estimator import Estimator
from replay.rounds import Rounds
from serving.source import Role, Source
from stream.blocks import CLICK, CLOSED, ORGANIC, SHOWN, FeedbackBlock
from stream.errors import FreshetError
from stream.frame import Frame

__all__ = [
    "CLICK",
    "CLOSED",
    "ORGANIC",
    "SHOWN",
    "ArmCounts",
    "Ask",
    "Beliefs",
    "Choice",
    "ClusterItemGraph",
    "Column",
    "Columns",
    "Context",
    "Draws",
    "Estimator",
    "FeedbackBlock",
    "Figure",
    "Forgetting",
    "ForgettingSettings",
    "Frame",
    "FreshetError",
    "InverseGap",
    "Labels",
    "Listed",
    "Measure",
    "Part",
    "PartSpec",
    "Places",
    "Plan",
    "Policy",
    "PolicyError",
    "Reach",
    "Role",
    "Rounds",
    "RowBlock",
    "Rule",
    "Scorer",
    "SettingsError",
    "Source",
    "Uniforms",
    "World",
]
