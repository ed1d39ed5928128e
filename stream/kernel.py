"""Typed doors to numba, so that every hot loop is compiled the same way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["background_kernel", "bare_kernel", "kernel"]

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile `function` on first call and cache it on disk; the interpreter lock is kept while it runs.

    Most kernels take microseconds. Letting go of the lock around each would hand it, dozens of times in one
    answer, to whichever thread waits for it, and add that thread's turn to the answer's time. What runs long
    on another thread is a `background_kernel`.

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
    return _compiled(function, releases_lock=False)


def background_kernel(function: F) -> F:
    """As `kernel`, with the interpreter lock released: for long work beside a thread that answers."""
    return _compiled(function, releases_lock=True)


def bare_kernel(function: F) -> F:
    """As `kernel`, for many small functions that call each other for every element, and make no arrays.

    Each becomes part of whoever calls it, and nobody counts references to arrays. Else every call counts
    those of all its arrays, up and down and in step with other cores, which takes ten times as long as a look
    at a few bytes.
    """
    return _compiled(function, releases_lock=False, is_bare=True)


def _compiled(function: F, *, releases_lock: bool, is_bare: bool = False) -> F:
    # The cache is keyed by the source file; functions without one (a doctest, a console) skip it.
    has_file = not function.__code__.co_filename.startswith("<")
    if is_bare:
        return cast(F, njit(cache=has_file, forceinline=True, _nrt=False)(function))  # type: ignore[call-overload]
    return cast(F, njit(cache=has_file, nogil=releases_lock)(function))
