"""One partition in memory: the store that every other is compared with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from stream.engine.shard import Headers, Output, Recovered, SourceRecord
from stream.errors import FencedError
from stream.frame import Frame, pack, unpack

__all__ = ["MemoryPartition", "MemoryShardStore"]

_BATCH = 3  # small, so that a hole of a few records already takes several batches


class MemoryPartition:
    """A source partition, and what its owners have committed; outlives any number of them.

    Nothing is ever dropped: it grows with all that is written.

    Example:
        >>> partition = MemoryPartition()
        >>> partition.append(b"a").offset, partition.skip(), partition.append(b"b").offset
        (0, None, 2)
    """

    def __init__(self) -> None:
        self.records: list[SourceRecord] = []
        self.outputs: list[Output] = []
        self.position = 0
        self.snapshot: tuple[bytes, int] | None = None
        self.owner = 0
        self.end = 0

    def append(self, value: bytes, *, headers: Headers = (), at: int = 0) -> SourceRecord:
        """Put a record at the end of the source."""
        since = self.records[-1].offset + 1 if self.records else 0
        record = SourceRecord(self.end, value, None, at, headers, since)
        self.records.append(record)
        self.end += 1
        return record

    def skip(self) -> None:
        """Use up an offset without a record, as transaction markers and compaction do."""
        self.end += 1


class MemoryShardStore:
    """A `stream.engine.shard.ShardStore` over a `MemoryPartition`.

    Example:
        >>> import asyncio
        >>> partition = MemoryPartition()
        >>> old, new = MemoryShardStore(partition), MemoryShardStore(partition)
        >>> asyncio.run(old.recover()), asyncio.run(new.recover()).position
        (Recovered(frame=None, taken_at=0, position=0), 0)
        >>> asyncio.run(old.commit([], 1))
        Traceback (most recent call last):
            ...
        stream.errors.FencedError: owner 1 of the partition was replaced by owner 2; nothing was written
    """

    def __init__(self, partition: MemoryPartition) -> None:
        self._partition = partition
        self._owner = 0

    async def recover(self) -> Recovered:
        """Become the owner."""
        partition = self._partition
        partition.owner += 1
        self._owner = partition.owner
        data, taken_at = partition.snapshot or (b"", 0)
        return Recovered(unpack(data) if data else None, taken_at, partition.position)

    async def read(self, start: int, stop: int) -> AsyncIterator[Sequence[SourceRecord]]:
        """The records of [start, stop), a few at a time."""
        found = [record for record in self._partition.records if start <= record.offset < stop]
        for first in range(0, len(found), _BATCH):
            yield found[first : first + _BATCH]

    async def end(self) -> int:
        """Where the next record goes."""
        return self._partition.end

    async def commit(self, outputs: Sequence[Output], position: int) -> None:
        """Outputs and position at once."""
        self._check_owner()
        self._partition.outputs += outputs
        self._partition.position = position

    async def save(self, frame: Frame, position: int) -> None:
        """Keep this snapshot instead of the last."""
        self._check_owner()
        self._partition.snapshot = (pack(frame), position)
        self._partition.position = position

    async def close(self) -> None:
        """Nothing to let go of."""

    def _check_owner(self) -> None:
        if self._owner != self._partition.owner:
            msg = (
                f"owner {self._owner} of the partition was replaced by owner {self._partition.owner}; "
                "nothing was written"
            )
            raise FencedError(msg)
