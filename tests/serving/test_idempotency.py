"""The same request id gives the same answer, whatever happens in between."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def test_the_same_request_again_gives_the_logged_answer(system: Any, kit: Any) -> None:
    first = system.ask("u4", request_id="again-1", k=7)
    system.settle(kit.click("u4", first["items"][0]["item_id"], kit.t0 + 9_000))
    assert system.ask("u4", request_id="again-1", k=7, after=kit.t0, ts=kit.t0) == first


def test_another_body_under_the_same_id_is_a_conflict(system: Any) -> None:
    system.ask("u4", request_id="again-2", k=7)
    answer = system.client.post("/v1/recommend", json={"user_id": "u4", "request_id": "again-2", "k": 8})
    assert answer.status_code == 409 and "again-2" in answer.json()["detail"]


def test_many_at_once_under_one_id_are_one_decision(system: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: system.ask("u6", request_id="again-3"), range(24)))
    assert all(answer == answers[0] for answer in answers)
    bodies = [
        record for record in system.service.backend.log.read(0, 100_000) if record.request_id == "again-3"
    ]
    assert len(bodies) == 1


def test_a_restarted_worker_knows_what_it_answered(run: Any, kit: Any, tmp_path: Path) -> None:
    with run(tmp_path / "data") as system:
        system.settle(kit.item("a"), kit.item("b"))
        first = system.ask("u", request_id="kept")
    with run(tmp_path / "data") as system:
        assert system.ask("u", request_id="kept") == first


def test_ids_given_by_the_worker_are_never_the_same(system: Any) -> None:
    given = {system.ask("u1", k=1)["request_id"] for _ in range(5)}
    assert len(given) == 5
