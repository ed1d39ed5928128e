"""How many files and connections this process may have open at once, and what to say when that is all."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress

__all__ = ["few_files_note", "in_words", "is_full", "raise_file_limit"]

_PLACES = 3  # SQLite opens as many files for one database


def raise_file_limit() -> int:
    """Take all the open files that this process may have; how many that are.

    Example:
        >>> raise_file_limit() > 0
        True
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass  # a system that has a lower limit of its own
    return soft if soft != resource.RLIM_INFINITY else 1 << 30


def few_files_note() -> str:
    """What to do about it.

    Example:
        >>> few_files_note().partition(" files")[2]
        ' and connections open at once; allow more with `ulimit -n 4096`, in systemd by LimitNOFILE='
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (
        f"this process may have {most:,} files and connections open at once; allow more with "
        "`ulimit -n 4096`, in systemd by LimitNOFILE="
    )


def is_full() -> bool:
    """Whether there is no place for some more open files; for errors that do not say so.

    Example:
        >>> is_full()
        False
    """
    opened: list[int] = []
    try:
        while len(opened) < _PLACES:
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    finally:
        for each in opened:
            with suppress(OSError):
                os.close(each)
    return False


def in_words(error: BaseException) -> str:
    """What an error says, and where it is about too many open files, what to do.

    Example:
        >>> in_words(ValueError("no")), in_words(OSError(24, "Too many open files")).partition(": this")[0]
        ('no', '[Errno 24] Too many open files')
    """
    cause = error
    while not isinstance(cause, OSError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OSError) and cause.errno == errno.EMFILE:
        return f"{error}: {few_files_note()}"
    return str(error)
