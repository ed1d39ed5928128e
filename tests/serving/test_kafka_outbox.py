"""Decisions wait on disk until they are sent, within bounds, and are found for a while after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.kafka.outbox import DecisionOutbox
from stream.errors import LogError
from stream.log import Record

HOUR_MS = 3_600_000


def decision(number: int, size: int = 10, at: int = 1_000) -> Record:
    return Record("decision", bytes(size), accepted_at=at, request_id=f"r{number}")


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[DecisionOutbox]:
    outbox = DecisionOutbox(tmp_path / "outbox.db", max_mb=1, keep_hours=1)
    yield outbox
    outbox.close()


def test_a_killed_worker_finds_what_it_had_not_sent(outbox: DecisionOutbox, tmp_path: Path) -> None:
    positions = outbox.append([decision(n) for n in range(5)], durable=False)
    outbox.sent(positions[2])
    # Its lock goes with it; everything else is in the file as a kill leaves it.
    outbox.close()
    again = DecisionOutbox(tmp_path / "outbox.db")
    assert [record.request_id for record in again.waiting(10)] == ["r3", "r4"]
    assert (again.n_waiting, again.waiting_bytes) == (2, 20)
    assert again.find_decision("r0") is not None
    again.close()


def test_beyond_its_bound_nothing_of_a_group_is_taken(outbox: DecisionOutbox) -> None:
    outbox.append([decision(0, 1 << 19)])
    with pytest.raises(LogError, match=r"outbox: 1 decisions, 524288 bytes, wait for the brokers"):
        outbox.append([decision(1), decision(2, 1 << 19)])
    assert outbox.n_waiting == 1 and outbox.find_decision("r1") is None
    outbox.sent(outbox.end())
    outbox.append([decision(1), decision(2, 1 << 19)])
    assert outbox.n_waiting == 2


def test_what_was_sent_goes_when_it_is_old_and_what_waits_never(outbox: DecisionOutbox) -> None:
    positions = outbox.append([decision(n, at=n * HOUR_MS) for n in range(4)])
    assert outbox.trim(10 * HOUR_MS) == 0
    outbox.sent(positions[1])
    assert outbox.trim(1.5 * HOUR_MS) == 1
    assert [outbox.find_decision(f"r{n}") is not None for n in range(4)] == [False, True, True, True]
    assert outbox.trim(10 * HOUR_MS) == 1
    assert [record.request_id for record in outbox.waiting(10)] == ["r2", "r3"]


def test_what_was_sent_goes_early_where_it_is_too_much(outbox: DecisionOutbox) -> None:
    for n in range(8):
        outbox.append([decision(n, 1 << 19)])
        outbox.sent(outbox.end())
    assert outbox.trim(1_000) >= 4
    assert outbox.find_decision("r0") is None and outbox.find_decision("r7") is not None


def test_two_workers_cannot_share_one(outbox: DecisionOutbox, tmp_path: Path) -> None:
    with pytest.raises(LogError, match="in use by process"):
        DecisionOutbox(tmp_path / "outbox.db")
    assert outbox.n_waiting == 0


def test_what_was_sent_is_not_sent_again_while_the_disk_refuses_the_note(outbox: DecisionOutbox) -> None:
    positions = outbox.append([decision(n) for n in range(3)])
    outbox._log.database.read("PRAGMA query_only=ON")
    outbox.sent(positions[1])
    assert [record.request_id for record in outbox.waiting(10)] == ["r2"]
    outbox._log.database.read("PRAGMA query_only=OFF")
