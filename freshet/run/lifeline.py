"""A child's end of the supervisor's lifeline, and its polite way to stop."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

__all__ = ["StopFlag", "watch_lifeline"]


class StopFlag:
    """Set by SIGTERM or SIGINT, and by the end of the supervisor."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> bool:
        """Whether it is time to stop."""
        return self._event.is_set()

    def set(self) -> None:
        """Ask for the stop."""
        self._event.set()

    def wait(self, timeout_s: float) -> None:
        """Sleep, but not beyond the moment it is set."""
        self._event.wait(timeout_s)

    def on_signals(self) -> None:
        """Let SIGTERM and SIGINT set this flag."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._event.set()


def watch_lifeline() -> None:
    """End this process politely (SIGTERM to itself) once the supervisor is gone."""
    descriptor = os.environ.get("FRESHET_LIFELINE")
    if descriptor is None:
        return

    def wait() -> None:
        # Nobody ever writes: the read returns when the last writing end, the supervisor's, is closed.
        os.read(int(descriptor), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
