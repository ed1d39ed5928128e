"""A disk that refuses, and files that are deleted underneath: nothing is promised, and readiness tells."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serving.writer import GroupWriter
from stream.clock import ManualClock
from stream.errors import DiskFullError
from stream.log import Record, SQLiteLog
from tests.harness.live import TIMEOUT_S, wait_until

LOST = {
    "the log": ("events-0.db", "events-0.db-wal"),
    "its write-ahead log": ("events-0.db-wal",),
    "what was learned": ("learner.db",),
    "the key": ("key",),
}


@pytest.mark.parametrize("what", LOST)
def test_nothing_is_accepted_into_files_that_were_deleted(
    run: Any, kit: Any, tmp_path: Path, what: str
) -> None:
    with run(tmp_path / "data", learner=False) as system:
        system.send(kit.click("u", "i"))
        for name in LOST[what]:
            (tmp_path / "data" / name).unlink()
        wait_until(lambda: "no longer there" in system.client.get("/readyz").text)
        refused = system.client.post("/v1/events", json={"events": [kit.click("u", "i")]})
        asked = system.client.post("/v1/recommend", json={"user_id": "u"})
        assert (refused.status_code, asked.status_code) == (503, 503)
        assert LOST[what][0] in refused.json()["detail"]


def test_no_202_is_given_for_a_file_that_has_just_been_deleted(run: Any, kit: Any, tmp_path: Path) -> None:
    with run(tmp_path / "data", learner=False) as system:
        system.send(kit.click("u", "i"))
        for file in tmp_path.glob("data/events-0.db*"):
            file.unlink()
        # At once: nobody has looked since.
        answer = system.client.post("/v1/events", json={"events": [kit.click("u", "i")]})
        assert answer.status_code == 503 and "events-0.db is no longer there" in answer.json()["detail"]


def test_a_folder_that_is_put_back_is_gone_on_with(run: Any, kit: Any, tmp_path: Path) -> None:
    with run(tmp_path / "data") as system:
        (tmp_path / "data").rename(tmp_path / "away")
        (tmp_path / "data").mkdir()
        wait_until(lambda: "replaced" in system.client.get("/readyz").text)
        (tmp_path / "data").rmdir()
        (tmp_path / "away").rename(tmp_path / "data")
        wait_until(lambda: system.client.get("/readyz").status_code == 200)
        system.settle(kit.click("u", "i"))


def record(n_bytes: int) -> Record:
    return Record("events", b"[%s]" % (b" " * n_bytes), accepted_at=0)


def test_a_worker_that_cannot_store_is_not_ready_until_there_is_room(tmp_path: Path) -> None:
    log, clock = SQLiteLog(tmp_path / "log.db", max_bytes=200_000), ManualClock()

    async def fill() -> None:
        writer = GroupWriter(log, clock, lambda _: None)
        writer.start()
        with pytest.raises(DiskFullError):
            for _ in range(100):
                await writer.submit(record(20_000), durable=True)
        # Not for a while only, and not until a decision finds its place.
        clock.advance_ms(3_600_000)
        await writer.submit(record(10), durable=False)
        assert "the last commit failed: " in writer.why_not_ready()
        log.database.read("PRAGMA max_page_count=1000000")
        while writer.why_not_ready():
            await asyncio.sleep(0.01)
        await writer.submit(record(20_000), durable=True)
        await writer.stop()

    asyncio.run(asyncio.wait_for(fill(), TIMEOUT_S))
    log.close()
