"""Which features stand in which order: lists of names, their ids, and how one list is read as another.

A decision logs the id of the list that its features follow. The lists are kept with the ranker's weights, so
features of an older list can still be learned from, by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

__all__ = ["FeatureSchemas", "schema_id"]

_MOST = 64
_UNTOLD = ""
"""The id of decisions that tell none: they were logged before there were ids."""


def schema_id(names: Sequence[str]) -> str:
    """The id of a list of features: 16 hexadecimal digits of BLAKE2b over the names, NUL between them.

    Example:
        >>> schema_id(["popular_0", "taste"])
        'b764173e334c7eaa'
    """
    return blake2b("\0".join(names).encode(), digest_size=8).hexdigest()


class FeatureSchemas:
    """The lists of features that decisions were logged with, and the one in use.

    Decisions that tell no id count as logged with the list that was in use when ids came, as far as that is
    known, else with the one in use. Keeps the newest 64 lists.

    Example:
        >>> before, now = FeatureSchemas(["a", "b"]), FeatureSchemas(["b", "c"])
        >>> now.learn_of(before.frame())
        >>> logged = np.array([[1, 2], [3, 4]], "<f4").tobytes()
        >>> np.frombuffer(now.read(before.id, logged, 2), "<f4").tolist()
        [2.0, 0.0, 4.0, 0.0]
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.id = schema_id(self.names)
        self._lists: dict[str, tuple[str, ...]] = {_UNTOLD: self.names, self.id: self.names}

    def __len__(self) -> int:
        """Number of features in use."""
        return len(self.names)

    def strange(self, ids: Iterable[str]) -> set[str]:
        """Those of `ids` that stand for another list than the one in use, or for none that is known."""
        return {each for each in set(ids) if self._lists.get(each) != self.names}

    def read(self, schema: str, features: bytes, n_rows: int) -> bytes | None:
        """Features (n_rows, F') of that list as the list in use has them; None where nothing can be read.

        A feature that the list does not have is 0 in every row: it says nothing of one candidate against
        another, and no weight moves by it.
        """
        theirs = self._lists.get(schema)
        if theirs is None or not n_rows or len(features) != 4 * len(theirs) * n_rows:
            return None
        pairs = [(mine, theirs.index(name)) for mine, name in enumerate(self.names) if name in theirs]
        if not pairs:
            return None
        here, there = zip(*pairs, strict=True)
        out = np.zeros((n_rows, len(self)), "<f4")
        out[:, here] = np.frombuffer(features, "<f4").reshape(n_rows, -1)[:, there]
        return out.tobytes()

    def frame(self) -> list[Any]:
        """All lists, the newest last."""
        return [[each, list(names)] for each, names in self._lists.items()]

    def learn_of(self, frame: Iterable[Any]) -> None:
        """Take up the lists of a `frame()` as well."""
        theirs = {str(each): tuple(map(str, names)) for each, names in frame}
        lists = {**self._lists, **theirs}
        newest = [each for each in lists if each not in (_UNTOLD, self.id)][-(_MOST - 2) :]
        kept = {each: lists[each] for each in newest}
        self._lists = {_UNTOLD: lists[_UNTOLD], **kept, self.id: self.names}
