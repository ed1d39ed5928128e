"""The plugin's policy keeps the contract that ours keep, by the kit that its author is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from freshet.plugin import Policy, PolicyContract
from tests.plugin.boltzmann.freshet_boltzmann import Boltzmann


class TestBoltzmann(PolicyContract):
    settings: ClassVar[Mapping[str, Any]] = {"temperature": 0.3}

    def make(self) -> Policy:
        return Boltzmann()
