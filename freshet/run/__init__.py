"""The processes of the embedded system and who watches over them."""

from __future__ import annotations

from freshet.run.supervisor import ProcessSpec, Supervisor
from freshet.run.system import EmbeddedSystem

__all__ = ["EmbeddedSystem", "ProcessSpec", "Supervisor"]
