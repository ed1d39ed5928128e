"""A checksum a record, so that a changed letter on the disk is noticed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

__all__ = ["checksum"]

_MASK = (1 << 32) - 1


def checksum(parts: Iterable[bytes | memoryview], seed: int = 0) -> bytes:
    """CRC-32 of the parts together, as four little-endian bytes; `seed` ties it to a place.

    Example:
        >>> checksum([b"freshet"]) == checksum([b"fresh", b"et"]), checksum([b"freshet"], seed=1).hex()
        (True, 'cf46e9b4')
    """
    found = seed & _MASK
    for part in parts:
        found = zlib.crc32(part, found)
    return found.to_bytes(4, "little")
