"""Things that fall due when the watermark passes their time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Agenda"]

T = TypeVar("T")

_BUCKET_MS = 1_000


class Agenda(Generic[T]):
    """Pairs of a time and a thing, handed out once their time is before a limit.

    Pairs lie in buckets of a second, so adding costs a list append whatever order the times come in; only
    the bucket that the limit cuts is looked through. Grows with what was added and is not yet due. What has
    become void in the meantime is the caller's to recognise.

    Example:
        >>> agenda: Agenda[str] = Agenda()
        >>> for ts, name in ((5_000, "late"), (1_999, "soon"), (1_000, "first")):
        ...     agenda.add(ts, name)
        >>> sorted(agenda.due(1_999)), sorted(agenda.due(2_000)), len(agenda)
        ([(1000, 'first')], [(1999, 'soon')], 1)
    """

    __slots__ = ("_buckets", "_numbers")

    def __init__(self) -> None:
        self._buckets: dict[int, list[tuple[int, T]]] = {}
        self._numbers: list[int] = []

    def add(self, ts: int, thing: T) -> None:
        """Put down `thing`, due when the limit is beyond `ts`."""
        number = ts // _BUCKET_MS
        bucket = self._buckets.get(number)
        if bucket is None:
            self._buckets[number] = [(ts, thing)]
            heapq.heappush(self._numbers, number)
        else:
            bucket.append((ts, thing))

    def due(self, limit: int) -> list[tuple[int, T]]:
        """Take out all pairs with a time below `limit`, in no order that has a meaning."""
        taken: list[tuple[int, T]] = []
        cut = limit // _BUCKET_MS
        while self._numbers and self._numbers[0] < cut:
            taken += self._buckets.pop(heapq.heappop(self._numbers))
        if self._numbers and self._numbers[0] == cut:
            bucket = self._buckets[cut]
            early = [pair for pair in bucket if pair[0] < limit]
            if len(early) == len(bucket):
                heapq.heappop(self._numbers)
                del self._buckets[cut]
            elif early:
                self._buckets[cut] = [pair for pair in bucket if pair[0] >= limit]
            taken += early
        return taken

    def __iter__(self) -> Iterator[tuple[int, T]]:
        """All pairs, bucket by bucket."""
        for bucket in self._buckets.values():
            yield from bucket

    def __len__(self) -> int:
        """Number of pairs that are not yet due, void ones included."""
        return sum(map(len, self._buckets.values()))
