"""What an item is, as numbers: its attributes hashed into a vector of a fixed length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from math import log1p, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ContentFeatures"]

Float64 = npt.NDArray[np.float64]

_MOST = 1e6
_MOST_WORDS = 256  # of a list; those behind it say nothing
_KEPT_WORDS, _LONG = 32_768, 1_024


class ContentFeatures:
    """A vector (dim,) of length 1 for the attributes of an item; zeros where they say nothing.

    A word adds 1 or -1 to one entry, which a hash of "name=word" chooses, sign and all, so that words which
    meet in one entry cancel as often as they add up. A list does so for each of its words and whole numbers,
    with all of them together as long as one word. A number x adds sign(x) log(1 + |x|) / log(1 + 10^6) to the
    entry of its name, beyond a million as a million. `true` and `false` are words. Objects, null and lists in
    lists say nothing. So an attribute may be a word in one item and a number in the next.

    Args:
        names: the attributes that count, none for all.
        dim: entries; 0 for none.

    Bounded: it keeps the entries of the last 32,768 words at most.

    Example:
        >>> features = ContentFeatures(dim=4)
        >>> features.of({"genres": ["Comedy", "Crime"], "price": 9.5, "made": None}).round(2).tolist()
        [-0.7, 0.7, 0.17, 0.0]
        >>> features.of({"genres": [], "price": {}}).any()
        np.False_
    """

    def __init__(self, names: Sequence[str] = (), *, dim: int = 64) -> None:
        self.names, self.dim = tuple(names), dim
        self._entries: dict[str, tuple[int, float]] = {}

    def of(self, attributes: Mapping[str, Any]) -> Float64:
        """The vector (dim,) of the attributes of one item."""
        x = np.zeros(self.dim)
        if not self.dim:
            return x
        for name in self.names or attributes:
            for text, weight in _words(name, attributes.get(name)):
                at, sign = self._entry(text)
                x[at] += sign * weight
        length = float(np.sqrt(x @ x))
        return x / length if length > 0 else x

    def _entry(self, text: str) -> tuple[int, float]:
        found = self._entries.get(text)
        if found is None:
            digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            number = int.from_bytes(digest, "little")
            # The sign is of another bit than those that choose the entry.
            found = number % self.dim, 1.0 if number >> 63 else -1.0
            if len(text) <= _LONG:
                if len(self._entries) >= _KEPT_WORDS:
                    self._entries.clear()
                self._entries[text] = found
        return found


def _words(name: str, value: Any) -> list[tuple[str, float]]:
    """What an attribute says: texts to hash, with their weights."""
    if isinstance(value, str):
        return [(f"{name}={value}", 1.0)]
    if isinstance(value, bool):
        return [(f"{name}={str(value).lower()}", 1.0)]
    if isinstance(value, int | float):
        # Compared as it is: no float holds a number of four hundred digits.
        size = _MOST if not -_MOST <= value <= _MOST else abs(float(value))
        return [(name, (1.0 if value > 0 else -1.0) * log1p(size) / log1p(_MOST))] if value else []
    if isinstance(value, list):
        words = [word for word in value[:_MOST_WORDS] if isinstance(word, str | int)]
        return [(f"{name}={word}", 1.0 / sqrt(len(words))) for word in words if not _is_huge(word)]
    return []


def _is_huge(word: str | int) -> bool:
    """Whether it is a number that Python would refuse to write out."""
    return isinstance(word, int) and abs(word) >= 1 << 63
