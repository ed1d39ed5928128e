"""What goes wrong in a part while a request is answered: said by name, counted, and answered without it.

A policy, a source or a scorer may be of another author. One that raises costs an answer its share in it, not
the caller the answer.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from traceback import extract_tb

from stream.errors import PartError

__all__ = ["Failures", "raise_named"]

_log = logging.getLogger(__name__)


class Failures:
    """Notes what raised, by part; one line in the log for the first time, the second, the fourth, the eighth
    and so on, so that a part that always raises does not fill the disk.

    Grows with the parts that raise.

    Example:
        >>> failures = Failures()
        >>> failures.note("policy 'mine'", "answered request 'r-1'", ValueError("no"))
        >>> dict(failures.counts)
        {"policy 'mine'": 1}
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each has raised."""
        return self._counts

    def note(self, part: str, doing: str, error: Exception) -> None:
        """A part raised while it was `doing` something.

        Raises:
            MemoryError: it was that, which is no fault of the part.
        """
        if isinstance(error, MemoryError):
            raise error
        self._counts[part] += 1
        n = self._counts[part]
        if n & (n - 1) == 0:
            times = f", {n} times by now" if n > 1 else ""
            _log.error("%s raised while it %s%s: %r%s", part, doing, times, error, _place(error))


def raise_named(part: str, doing: str, error: Exception) -> None:
    """For where nothing is to be answered without a part: the error with its name.

    Raises:
        PartError: always, unless memory is short.

    Example:
        >>> raise_named("source 'mine'", "answered request 'r-1'", ValueError("no"))
        Traceback (most recent call last):
        stream.errors.PartError: source 'mine' raised while it answered request 'r-1': ValueError('no')
    """
    if isinstance(error, MemoryError):
        raise error
    msg = f"{part} raised while it {doing}: {error!r}{_place(error)}"
    raise PartError(msg) from error


def _place(error: Exception) -> str:
    """Where it was raised; empty where nobody knows."""
    found = extract_tb(error.__traceback__)
    return f" ({Path(found[-1].filename).name}:{found[-1].lineno}, in {found[-1].name})" if found else ""
