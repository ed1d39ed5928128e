"""Events from files to a running Freshet: readers of the common formats, and a sender that can resume."""

from __future__ import annotations

from freshet.feeding.readers import Row, count_rows, read_rows
from freshet.feeding.sender import Sender, SendReport

__all__ = ["Row", "SendReport", "Sender", "count_rows", "read_rows"]
