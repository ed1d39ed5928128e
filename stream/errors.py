"""What can go wrong in Freshet, as one tree.

FreshetError
├── EventError            an event cannot be read or breaks a rule        (stream.errors)
├── FrameError            bytes are not a frame, or are damaged or newer  (stream.errors)
│   └── NewerFrameError   a newer program wrote them                      (stream.errors)
├── SnapshotError         a snapshot file is damaged, foreign or newer    (stream.errors)
├── LogError              an event log or data folder cannot be used      (stream.errors)
│   ├── StorageError      the disk refuses for now; waiting may help      (stream.errors)
│   │   ├── DiskFullError     it or the file's stated bound is full       (stream.errors)
│   │   └── FilesGoneError    files were deleted or replaced underneath   (stream.errors)
│   └── BrokerError       a Kafka broker refuses, or is set up otherwise (stream.errors)
│       └── BrokerAwayError   nobody answers there; waiting may help      (stream.errors)
├── FencedError           another process has taken over this partition   (stream.errors)
├── PartError             a part raised while it learned or answered    (stream.errors)
├── OverloadedError       a stated bound is reached; try again later      (stream.errors)
└── each room's own errors, see <room>/errors.py
"""

from __future__ import annotations

import errno

from stream.open_files import few_files_note

__all__ = [
    "BrokerAwayError",
    "BrokerError",
    "DiskFullError",
    "EventError",
    "FencedError",
    "FilesGoneError",
    "FrameError",
    "FreshetError",
    "LogError",
    "NewerFrameError",
    "OverloadedError",
    "PartError",
    "SnapshotError",
    "StorageError",
    "may_pass",
    "storage_error",
]


class FreshetError(Exception):
    """Root of all errors that Freshet raises on purpose; the message is meant for a person."""


class PartError(FreshetError):
    """A part raised: the message names the part and the record or request; the process ends with it."""


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


class StorageError(LogError):
    """The disk refuses for now: full, over a quota, read-only, in error. Nothing was half-written.

    Whoever meets it may wait and try again: the cause lies outside, and somebody may remove it.
    """


class DiskFullError(StorageError):
    """No room left on the disk, or a file reached its stated bound; nothing was half-written."""


class FilesGoneError(StorageError):
    """Files that a process holds open were deleted or replaced: what it writes would be lost with them."""


class BrokerError(LogError):
    """A Kafka broker cannot be reached, refuses, or is set up otherwise; the message says what to try."""


class BrokerAwayError(BrokerError):
    """No broker answers at all: it is down, not reachable yet, or the address is wrong."""


class FencedError(FreshetError):
    """Another process has taken over what this one owned; nothing of this one's was written since."""


class OverloadedError(FreshetError):
    """A stated bound (memory, queue, disk) is reached; nothing was taken, try again later."""


_MAY_PASS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ENFILE,
    errno.EMFILE, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.EBUSY,
}  # fmt: skip


def storage_error(message: str, error: OSError) -> LogError:
    """The error of ours for one of the operating system: one that may pass, or not.

    Example:
        >>> storage_error("no file", OSError(errno.EROFS, "")), storage_error("no file", OSError())
        (StorageError('no file'), LogError('no file'))
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(message)
    if error.errno == errno.EMFILE:
        return StorageError(f"{message}: {few_files_note()}")
    return StorageError(message) if error.errno in _MAY_PASS else LogError(message)


def may_pass(error: BaseException) -> bool:
    """Whether trying again later may help: the disk refuses, which somebody may mend.

    Example:
        >>> may_pass(DiskFullError()), may_pass(OSError(errno.ENOSPC, "")), may_pass(LogError())
        (True, True, False)
    """
    return isinstance(error, StorageError) or (isinstance(error, OSError) and error.errno in _MAY_PASS)
