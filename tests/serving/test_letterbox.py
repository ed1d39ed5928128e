"""What is refused waits within a bound, and accepted events go first."""

from __future__ import annotations

import asyncio
from pathlib import Path

from serving.letterbox import LetterBox
from serving.writer import GroupWriter
from stream.clock import WallClock
from stream.dead_letters import DeadLetter
from stream.log import Record, SQLiteLog

KIB = 1 << 10


def letters(count: int, size: int) -> list[DeadLetter]:
    return [DeadLetter(n, "unreadable", f"request/{n}", b"x" * size) for n in range(count)]


def test_what_waits_is_bounded_in_bytes_and_the_rest_is_counted(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "events-0.db")

    async def flood() -> LetterBox:
        writer = GroupWriter(log, WallClock(), lambda _: None)
        box = LetterBox(writer, log.dead_letters.add, max_bytes=1 << 20)
        writer.start()
        for n in range(10):
            box.put([letter._replace(place=f"{n}/{letter.place}") for letter in letters(10, 100 * KIB)])
        assert box.waiting_bytes <= 1 << 20
        box.flush()
        await writer.stop()
        return box

    box = asyncio.run(flood())
    assert log.dead_letters.count() + box.dropped == 100 and log.dead_letters.count() >= 10
    assert box.waiting_bytes == 0
    log.close()


def test_an_event_waits_for_a_few_letters_at_most(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "events-0.db")
    stored: list[int] = []

    def store(some: list[DeadLetter]) -> None:
        stored.append(len(some))
        log.dead_letters.add(some)

    async def beside() -> int:
        writer = GroupWriter(log, WallClock(), lambda _: None)
        box = LetterBox(writer, store)
        writer.start()
        box.put(letters(4_000, 100))
        await writer.submit(Record("events", b"[]", 0), durable=True)
        before = sum(stored)
        box.flush()
        await writer.stop()
        return before

    assert asyncio.run(beside()) <= 200
    assert sum(stored) == log.dead_letters.count() == 4_000 and max(stored) == 200
    log.close()
