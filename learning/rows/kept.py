"""Rows, as they came, of ids that have no place: what they come back with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import islice

from stream.frame import Frame

__all__ = ["KeptRows"]

_MOST_OUTSIDE = 100_000


class KeptRows:
    """The newest encoded row of each id, those of the catalogue apart from those outside it.

    Grows with the catalogue. Of ids outside it the newest `most` are kept: one of them may be in the
    catalogue a moment later, for topics come in any order.

    Example:
        >>> kept = KeptRows(most=1)
        >>> for name in ("tea", "x1", "x2"):
        ...     kept.put(name, b"row", listed=name == "tea")
        >>> kept.first(9), len(kept.listed)
        (['tea', 'x2'], 1)
        >>> kept.relist(["x2", "tea"], [True, False])
        >>> kept.first(9)
        ['x2', 'tea']
    """

    def __init__(self, most: int = _MOST_OUTSIDE) -> None:
        self._most = most
        self._listed: dict[str, bytes] = {}
        self._outside: dict[str, bytes] = {}

    def __len__(self) -> int:
        """Ids of which there is a row here."""
        return len(self._listed) + len(self._outside)

    @property
    def listed(self) -> Collection[str]:
        """Ids of the catalogue, first come first."""
        return self._listed.keys()

    def put(self, name: str, row: bytes, *, listed: bool) -> None:
        """Keep a row instead of the one before."""
        self.pop(name)
        if listed:
            self._listed[name] = row
        else:
            self._outside[name] = row
            if len(self._outside) > self._most:
                del self._outside[next(iter(self._outside))]

    def get(self, name: str) -> bytes | None:
        """The row of an id, None where there is none."""
        return self._listed.get(name) or self._outside.get(name)

    def pop(self, name: str) -> bytes | None:
        """The row of an id, which is kept no longer."""
        return self._listed.pop(name, None) or self._outside.pop(name, None)

    def relist(self, names: Iterable[str], listed: Iterable[bool]) -> None:
        """Say of each id whether it is in the catalogue now."""
        if not len(self):
            return
        for name, is_listed in zip(names, listed, strict=True):
            if name not in (self._listed if is_listed else self._outside):
                row = self.pop(name)
                if row is not None:
                    self.put(name, row, listed=is_listed)

    def first(self, n: int) -> list[str]:
        """At most `n` ids, those of the catalogue before the others."""
        found = [*islice(self._listed, n)]
        return [*found, *islice(self._outside, n - len(found))]

    def snapshot(self) -> Frame:
        """All rows."""
        return {"listed": dict(self._listed), "outside": dict(self._outside)}

    def restore(self, frame: Mapping[str, Mapping[str, bytes]]) -> None:
        """Become what `snapshot` described; of an empty mapping, empty."""
        self._listed, self._outside = dict(frame.get("listed", {})), dict(frame.get("outside", {}))
