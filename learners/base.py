"""What every learner is: state that learns from row blocks, lets go of rows, and can be copied row by row."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from learners.rows import RowBlock
from stream.step import Replicated

__all__ = ["Int32", "Learner"]

Int32 = npt.NDArray[np.int32]


class Learner(Replicated, Protocol):
    """State over user and item rows; arrays grow with the rows, so its bound is that of the tables."""

    def learn(self, rows: RowBlock) -> object:
        """Learn the operations in order; cutting them into other blocks changes no bit."""

    def remove_items(self, rows: Int32) -> None:
        """Forget these item rows (n,), so that a later owner of the row starts afresh."""

    def remove_users(self, rows: Int32) -> None:
        """Forget these user rows (n,)."""
