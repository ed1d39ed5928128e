"""Numbers for decisions: a generator keyed by (seed, request id, place), the same in replay as when live.

``key = blake2b-64(seed as 8 bytes little-endian + request id as UTF-8)``, read little-endian. The numbers are
`bandits.ops.draws.uniform(key, place, lane)`. In a slate, lane 0 of a place decides whether to explore and
lane 1 which item; a policy that needs more takes lanes from 2 on.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Protocol

import numpy as np

from bandits.ops.draws import uniform

__all__ = ["Draws", "Uniforms", "request_key"]


class Uniforms(Protocol):
    """Whatever gives uniform doubles in [0, 1): `Draws`, or a numpy Generator."""

    def random(self) -> float:
        """The next number."""


def request_key(seed: int, request_id: str) -> np.uint64:
    """The 64-bit key of a request; `seed` is taken modulo 2**64.

    Example:
        >>> hex(request_key(7, "r1"))
        '0xf126e61b3f9f6c9a'
    """
    text = (seed % 2**64).to_bytes(8, "little") + request_id.encode()
    return np.uint64(int.from_bytes(blake2b(text, digest_size=8).digest(), "little"))


class Draws:
    """Uniform numbers of one request, read lane by lane at one place.

    Example:
        >>> first, again = Draws(7, "r1"), Draws(7, "r1")
        >>> first.random() == again.random(), first.random() == first.random()
        (True, False)
        >>> Draws(7, "r1", place=3).random() == first.at(3).random()
        True
    """

    def __init__(self, seed: int, request_id: str, *, place: int = 0) -> None:
        self.seed = seed
        self.key = request_key(seed, request_id)
        self._place = place
        self._lane = 0

    def random(self) -> float:
        """The number of the next lane of this place."""
        lane = self._lane
        self._lane += 1
        return uniform(self.key, self._place, lane)

    def at(self, place: int) -> Draws:
        """The same request's draws at another place, from its first lane."""
        other = object.__new__(Draws)
        other.seed, other.key, other._place, other._lane = self.seed, self.key, place, 0
        return other
