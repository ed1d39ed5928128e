"""The embedded engine: one process learns from all workers' logs and commits, on one machine."""

from __future__ import annotations

from stream.engine.driver import ClockMode, Driver
from stream.engine.local import LocalEngine
from stream.engine.nudge import Notifier, Nudge, NudgeSocket, NullNotifier, SocketNotifier
from stream.engine.settings import EngineSettings
from stream.engine.snapshots import LEARNER_KIND, SnapshotStore
from stream.engine.ticker import Ticker

__all__ = [
    "LEARNER_KIND",
    "ClockMode",
    "Driver",
    "EngineSettings",
    "LocalEngine",
    "Notifier",
    "Nudge",
    "NudgeSocket",
    "NullNotifier",
    "SnapshotStore",
    "SocketNotifier",
    "Ticker",
]
