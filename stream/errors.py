"""What can go wrong in Freshet, as one tree.

FreshetError
├── EventError            an event cannot be read or breaks a rule        (stream.errors)
├── FrameError            bytes are not a frame, or are damaged or newer  (stream.errors)
│   └── NewerFrameError   a newer program wrote them                      (stream.errors)
├── SnapshotError         a snapshot file is damaged, foreign or newer    (stream.errors)
├── LogError              an event log or data folder cannot be used      (stream.errors)
│   ├── DiskFullError     the disk or the file's stated bound is full     (stream.errors)
│   └── BrokerError       a Kafka broker refuses, or is set up otherwise (stream.errors)
│       └── BrokerAwayError   nobody answers there; waiting may help      (stream.errors)
├── FencedError           another process has taken over this partition   (stream.errors)
├── OverloadedError       a stated bound is reached; try again later      (stream.errors)
└── each room's own errors, see <room>/errors.py
"""

from __future__ import annotations

__all__ = [
    "BrokerAwayError",
    "BrokerError",
    "DiskFullError",
    "EventError",
    "FencedError",
    "FrameError",
    "FreshetError",
    "LogError",
    "NewerFrameError",
    "OverloadedError",
    "SnapshotError",
]


class FreshetError(Exception):
    """Root of all errors that Freshet raises on purpose; the message is meant for a person."""


class EventError(FreshetError):
    """An event cannot be read or breaks a rule of the event schema."""


class FrameError(FreshetError):
    """Bytes are not a frame of ours, or are damaged, or were written by a newer version."""


class NewerFrameError(FrameError):
    """A newer program wrote these bytes: not they are wrong, but this program is old."""


class SnapshotError(FreshetError):
    """A snapshot file is damaged, of another kind, or newer than this program."""


class LogError(FreshetError):
    """An event log or a data folder cannot be opened, read or written."""


class DiskFullError(LogError):
    """No room left on the disk, or a file reached its stated bound; nothing was half-written."""


class BrokerError(LogError):
    """A Kafka broker cannot be reached, refuses, or is set up otherwise; the message says what to try."""


class BrokerAwayError(BrokerError):
    """No broker answers at all: it is down, not reachable yet, or the address is wrong."""


class FencedError(FreshetError):
    """Another process has taken over what this one owned; nothing of this one's was written since."""


class OverloadedError(FreshetError):
    """A stated bound (memory, queue, disk) is reached; nothing was taken, try again later."""
