"""The contract kits for parts of other packages, to inherit: see docs/guides/plugins.md. They need pytest."""

from __future__ import annotations

from bandits.testing import PolicyContract
from learning.testing import MeasureContract, PartContract, PolicyPartContract
from replay.testing import EstimatorContract

__all__ = ["EstimatorContract", "MeasureContract", "PartContract", "PolicyContract", "PolicyPartContract"]
