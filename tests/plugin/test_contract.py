"""The plugin's policy keeps the contracts that ours keep, by the kits that its author is given."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from freshet.plugin import Policy
from freshet.testing import PolicyContract, PolicyPartContract
from tests.plugin.boltzmann.freshet_boltzmann import Boltzmann

PLUGIN = Path(__file__).resolve().parent / "boltzmann" / "freshet_boltzmann.py"


class TestBoltzmann(PolicyContract):
    settings: ClassVar[Mapping[str, Any]] = {"temperature": 0.3}

    def make(self) -> Policy:
        return Boltzmann()


class TestBoltzmannAsAPart(PolicyPartContract):
    name, policies = "boltzmann", ({"kind": "boltzmann"},)

    @pytest.fixture(autouse=True)
    def installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The package on Python's path, as an installer writes it."""
        info = tmp_path / "freshet_boltzmann-1.0.dist-info"
        info.mkdir()
        shutil.copy(PLUGIN, tmp_path)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: freshet-boltzmann\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[freshet.parts]\npolicies.boltzmann = freshet_boltzmann\n")
        monkeypatch.syspath_prepend(str(tmp_path))
