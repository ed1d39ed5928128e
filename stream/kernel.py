"""One typed door to numba, so that every hot loop is compiled the same way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["kernel"]

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile `function` on first call, without the interpreter lock, and cache it on disk.

    No fast-math: a kernel must give the same bits whatever machine code the loop is unrolled into, since a
    restarted learner repeats events and compares.

    Example:
        >>> import numpy as np
        >>> @kernel
        ... def total(x: np.ndarray) -> float:
        ...     s = 0.0
        ...     for value in x:
        ...         s += value
        ...     return s
        >>> total(np.array([1.0, 2.5]))
        3.5
    """
    # The cache is keyed by the source file; functions without one (a doctest, a console) skip it.
    has_file = not function.__code__.co_filename.startswith("<")
    return cast(F, njit(cache=has_file, nogil=True)(function))
