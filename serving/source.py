"""What a source of candidates is: it offers rows for a request; kinds are the modules of
`serving.candidates`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import numpy.typing as npt

from learners.ask import Ask

__all__ = ["NO_ROWS", "Role", "Source"]

Int32 = npt.NDArray[np.int32]

Role = Literal["personal", "policy", "anyone"]
"""`personal`: chosen for this user. `policy`: what the exploring policy may choose from. `anyone`: the same
for everybody, so that it stands in for users of whom nothing is known."""

NO_ROWS = np.zeros(0, np.int32)


class Source(ABC):
    """Offers candidates. What may not be shown is filtered afterwards, for all sources at once: clicked,
    excluded, gone, of another group, not available now.

    Example:
        >>> class Editors(Source):
        ...     def offer(self, ask: Ask) -> Int32:
        ...         return np.array([7, 2], np.int32)
        >>> Editors().offer(Ask(user=0, now_ms=5)).tolist(), Editors().role
        ([7, 2], 'anyone')
    """

    role: Role = "anyone"

    @abstractmethod
    def offer(self, ask: Ask) -> Int32:
        """Distinct item rows (n,), best first."""

    def exhaust(self, ask: Ask, offered: Int32) -> Int32:
        """As `offer`, which gave `offered`, when all sources together have fewer than the answer needs: all
        that it has."""
        return offered

    def refresh(self) -> None:  # noqa: B027
        """The learned parts have changed: forget what was kept of them between requests."""
