"""Run by `test_plugin.py` where the plugin is installed: its policy passes the contract of parts."""

from __future__ import annotations

from learning.testing import PolicyPartContract


class TestBoltzmann(PolicyPartContract):
    name, policies = "warm", ({"kind": "boltzmann", "name": "warm", "temperature": 0.05},)
