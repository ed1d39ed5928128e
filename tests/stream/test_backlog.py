"""What waits in a partition: in order and once, and bounded in bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from stream.engine.backlog import Backlog
from stream.engine.shard import SourceRecord


def test_what_is_too_much_to_keep_is_read_again_when_its_turn_has_come() -> None:
    log = [SourceRecord(n, b"%d" % n, since=n) for n in range(9)]
    read: list[tuple[int, int]] = []

    async def reading(start: int, stop: int) -> AsyncIterator[Sequence[SourceRecord]]:
        read.append((start, stop))
        for n in range(start, stop, 2):
            yield log[n : min(n + 2, stop)]

    async def play() -> list[int]:
        backlog: Backlog[SourceRecord] = Backlog(reading, most_bytes=4)
        backlog.put(log[:3], 0)
        backlog.put(log[1:8], 0)
        taken = await backlog.take(0) or []
        backlog.put_back(taken[1:])
        found = [taken[0].offset]
        while (records := await backlog.take(found[-1] + 1)) is not None:
            found += [record.offset for record in records]
            if found[-1] == 5:
                backlog.put(log[8:], 6)  # while the others are read
        return found

    assert asyncio.run(play()) == list(range(9))
    assert read == [(4, 8), (8, 9)]
