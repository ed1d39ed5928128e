"""Each kind of row has a mark of its own: who waits for which, and what makes an answer stale."""

from __future__ import annotations

import asyncio
from typing import Any

from learning.rows.marks import Marks
from serving.replica import Replica
from stream.clock import ManualClock
from stream.commits import Delta
from stream.frame import pack
from tests.harness.live import wait_until

NOW = 1_700_000_000_000


class Commits:
    """Commits that only move marks."""

    def __init__(self, *marks: Marks) -> None:
        self._deltas = [
            Delta(seq, mark.absorbed_at, 0, pack({"marks": mark.frame()}))
            for seq, mark in enumerate(marks, 1)
        ]

    def last_seq(self) -> int:
        return len(self._deltas)

    def read_deltas(self, after_seq: int, limit: int = 1, max_bytes: int = 0) -> list[Delta]:
        return self._deltas[after_seq : after_seq + 1]

    def load(self) -> tuple[None, list[str]]:
        return None, []


def replica_of(*marks: Marks) -> Replica:
    commits = Commits(*marks)
    numbered = {"ann": 0, "bob": 1}
    return Replica(
        {}, reader=commits, snapshots=commits, clock=ManualClock(NOW), partition_of=numbered.__getitem__
    )


def test_a_user_waits_for_the_mark_of_their_own_partition() -> None:
    async def play() -> tuple[bool, bool, bool]:
        replica = replica_of(Marks((70, 40), 10, 10))

        async def poll() -> None:
            replica.poll()

        ann, bob, _ = await asyncio.gather(
            replica.wait_absorbed("ann", 60, 120), replica.wait_absorbed("bob", 60, 0.05), poll()
        )
        return ann, bob, await replica.wait_absorbed("bob", 40, 0)

    assert asyncio.run(play()) == (True, False, True)


def test_a_mark_of_items_or_policies_that_stands_still_is_named_with_its_age() -> None:
    replica = replica_of(
        Marks((NOW, NOW), NOW - 6_000, NOW - 2_000, NOW - 9_000), Marks((NOW, NOW), NOW - 5_000, NOW, NOW)
    )
    assert replica.lagging(5_000) == {}  # nobody was heard of yet, which readiness tells
    replica.poll()
    assert replica.lagging(5_000) == {"items": 6_000, "trained": 9_000}
    assert replica.lagging(1_000) == {"items": 6_000, "policies": 2_000, "trained": 9_000}
    replica.poll()
    assert replica.lagging(5_000) == {}


def test_without_after_an_answer_is_stale_once_the_learner_stands_still(
    run: Any, kit: Any, tmp_path: Any
) -> None:
    with run(tmp_path / "data") as system:
        system.settle(kit.item("a"))
        wait_until(lambda: not system.ask()["stale"])
    with run(tmp_path / "data", kit.serve(ready_lag_ms=300), learner=False) as system:
        wait_until(lambda: system.client.get("/readyz").status_code == 503)
        answer = system.ask()
        assert answer["stale"] is True and answer["items"]
