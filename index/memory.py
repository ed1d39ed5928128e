"""Arrays that grow without ever being copied: address space now, pages when they are touched."""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["reserve"]

T = TypeVar("T", bound=np.generic)

# Python names this flag only from 3.13 on; the value is Linux's on every architecture we run on.
_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)
_MADV_HUGEPAGE: int | None = getattr(mmap, "MADV_HUGEPAGE", None)
_HUGE_BYTES = 2 << 20


def reserve(shape: tuple[int, ...], dtype: type[T]) -> NDArray[T]:
    """An array of zeros that costs memory only where it has been written.

    A private anonymous mapping: the kernel hands out a page on its first write, so room for a hundred times
    more rows costs nothing, and growing is no event: no copy, no pause, no address that changes under a
    reader. What lies beyond the first 2 MiB comes in large pages where the kernel has them: a walk jumps from
    row to row, and every jump to another small page costs a look-up of its address.

    Example:
        >>> room = reserve((1_000_000, 64), np.float32)
        >>> room.shape, float(room[999_999, 63])
        ((1000000, 64), 0.0)
    """
    n_bytes = max(1, int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    pages = mmap.mmap(-1, n_bytes, flags=flags)
    if _MADV_HUGEPAGE is not None and n_bytes > 2 * _HUGE_BYTES:
        with suppress(OSError):  # a kernel without large pages
            pages.madvise(_MADV_HUGEPAGE, _HUGE_BYTES, n_bytes - _HUGE_BYTES)
    count = int(np.prod(shape, dtype=np.int64))
    return np.frombuffer(pages, dtype=dtype, count=count).reshape(shape)
