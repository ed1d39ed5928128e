"""What of a partition waits to be learned: some of it in hand, the rest in the source; and what says so."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

__all__ = ["Backlog", "ShardGate"]


class _Record(Protocol):
    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes: ...
    @property
    def since(self) -> int | None: ...


R = TypeVar("R", bound=_Record)
C = TypeVar("C", contravariant=True)


class ShardGate(Protocol[C]):
    """Says how much of what comes may be learned now. No I/O; `stream.engine.pace` has one."""

    @property
    def wants_end(self) -> bool:
        """Whether it has to know where the source ends."""

    def admit(self, records: Sequence[C]) -> int:
        """How many of the records that come next may be learned; the others are offered again."""

    def settled(self, position: int) -> None:
        """All that was let through is committed, up to `position`."""

    def asks(self) -> Mapping[int, int]:
        """What it knows before the source is asked for its end."""

    def ended(self, end: int, asks: Mapping[int, int]) -> None:
        """The source ended at `end` after `asks` was taken."""

    def nudge(self) -> None:
        """There is more to do at once."""

    def close(self) -> None:
        """Its partition is somebody else's."""


class Backlog(Generic[R]):
    """Records in the order of their offsets; what is too much to keep is read again when its turn has come.

    Args:
        read: the records of the source from an offset up to another.
        most_bytes: of the records that are kept in hand.

    Example:
        See `tests/stream/test_backlog.py`.
    """

    def __init__(
        self, read: Callable[[int, int], AsyncIterator[Sequence[R]]], most_bytes: int = 16 << 20
    ) -> None:
        self.until = 0
        """All before this offset is to be learned."""
        self._records: list[R] = []
        self._n_bytes = self._stop = 0
        self._read, self._most_bytes = read, most_bytes
        self._reading: AsyncIterator[Sequence[R]] | None = None

    def __len__(self) -> int:
        """How many records are in hand."""
        return len(self._records)

    def put_back(self, records: Sequence[R]) -> None:
        """Keep what was taken and may not be learned yet."""
        self._records = [*records, *self._records]
        self._n_bytes = sum(len(record.value) for record in self._records)
        if records:
            self.until = max(self.until, self._records[-1].offset + 1)

    def put(self, records: Sequence[R], position: int) -> None:
        """Take note of what was delivered; `position` is the next to learn."""
        for record in records:
            behind = self._records[-1].offset + 1 if self._records else position
            if record.offset < behind:
                continue
            is_next = record.offset == behind or (record.since is not None and record.since <= behind)
            if (
                is_next
                and self._reading is None
                and self.until <= behind
                and self._n_bytes < self._most_bytes
            ):
                self._records.append(record)
                self._n_bytes += len(record.value)
            self.until = max(self.until, record.offset + 1)

    async def take(self, position: int) -> list[R] | None:
        """The records that come next, if any are left before `until`."""
        if self._records:
            records, self._records, self._n_bytes = self._records, [], 0
            return records
        while position < self.until:
            if self._reading is None:
                self._stop = self.until
                self._reading = self._read(position, self._stop)
            found = await anext(self._reading, None)
            if found:
                return list(found)
            if found is None:
                self._reading, position = None, self._stop
        await self.close()
        return None

    async def close(self) -> None:
        """Stop reading."""
        reading, self._reading = self._reading, None
        if isinstance(reading, AsyncGenerator):
            await reading.aclose()
