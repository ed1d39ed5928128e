"""What the gateway takes, refuses and keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.clock import WallClock
from tests.harness.live import wait_until


def letters(system: Any) -> list[Any]:
    found: list[Any] = system.service.backend.log.dead_letters.newest(1_000)
    return found


def post(system: Any, content: Any, **headers: str) -> Any:
    return system.client.post(
        "/v1/events", content=content, headers={"content-type": "application/json", **headers}
    )


def test_one_bad_event_does_not_refuse_the_others(system: Any, kit: Any) -> None:
    answer = system.send(kit.click("u1", "i1"), {"type": "click"}, kit.click("u1", "i2"))
    assert answer["accepted"] == 2 and answer["accepted_at"] > 1_600_000_000_000
    assert [refused["index"] for refused in answer["rejected"]] == [1]


def test_lines_of_json_are_taken_too(system: Any, kit: Any) -> None:
    lines = b"\n".join([json.dumps(kit.click("u1", f"i{n}")).encode() for n in range(3)] + [b"{broken", b""])
    answer = system.client.post(
        "/v1/events", content=lines, headers={"content-type": "application/x-ndjson; charset=utf-8"}
    )
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 3 and answer.json()["rejected"][0]["index"] == 3


CLICK = {"type": "click", "ts": 1_700_000_000_000, "user_id": "u", "item_id": "a"}
SHOWN = {"type": "impression", "ts": 1_700_000_000_000, "user_id": "u", "request_id": "r"}
BAD: list[dict[str, Any]] = [
    CLICK | {"type": "divination"},
    {"ts": 5},
    CLICK | {"ts": "now"},
    CLICK | {"ts": -1},
    CLICK | {"item_id": "a" * 10_000},
    CLICK | {"item_id": ""},
    SHOWN | {"items": []},
    SHOWN | {"items": ["a", "a"]},
    SHOWN | {"items": [str(n) for n in range(10_000)]},
    SHOWN | {"items": ["a"], "propensities": [1.5]},
    SHOWN | {"items": ["a"], "propensities": [0]},
    SHOWN | {"type": "decision", "items": [], "propensities": [], "policy": "p"},
    {"type": "item", "ts": 1_700_000_000_000, "item_id": "a", "vector": [1.0, 2.0]},
]


@pytest.mark.parametrize("event", BAD)
def test_a_bad_event_is_refused_with_a_reason_and_kept(system: Any, event: dict[str, Any]) -> None:
    answer = system.send(event)
    assert answer["accepted"] == 0 and answer["rejected"][0]["reason"]
    text = json.dumps(event, separators=(",", ":")).encode()
    wait_until(lambda: bool(letters(system)) and text.startswith(letters(system)[0].original))


@pytest.mark.parametrize(
    "event",
    [
        b'{"type":"click","ts":1700000000005,"user_id":"u","item_id":"a","value":NaN}',
        b'{"type":"click","ts":1700000000005,"user_id":"u","item_id":"a","value":Infinity}',
        b'{"type":"click","ts":1700000000005,"user_id":"\xff\xfe","item_id":"a"}',
        b'{"type":"click","ts":1700000000005,"user_id":"u","item_id":"a","x":'
        + b"[" * 5_000
        + b"]" * 5_000
        + b"}",
    ],
)
def test_unreadable_bytes_are_refused_and_everything_else_goes_on(system: Any, event: bytes) -> None:
    lines = event + b'\n{"type":"click","ts":1700000000005,"user_id":"u","item_id":"a"}'
    answer = post(system, lines, **{"content-type": "application/x-ndjson"})
    assert answer.status_code == 202 and answer.json()["accepted"] == 1
    assert post(system, b'{"events": [' + event + b"]}").status_code in (202, 400)
    assert system.client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"events": 5}', b'{"events": [{"type": "click"', b"\x00"]
)
def test_a_body_that_cannot_be_read_is_a_400_and_a_dead_letter(system: Any, body: bytes) -> None:
    before = len(letters(system))
    answer = post(system, body)
    assert answer.status_code == 400 and answer.headers["content-type"] == "application/problem+json"
    wait_until(lambda: len(letters(system)) > before)


def test_a_declared_100_megabytes_are_refused_before_they_are_read(system: Any) -> None:
    answer = post(system, b"x" * (100 << 20))
    assert answer.status_code == 413 and "8388608" in answer.json()["detail"]


def test_an_endless_body_is_refused_as_soon_as_it_is_too_long(system: Any) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * (1 << 20)

    assert post(system, chunks()).status_code == 413


def test_history_goes_its_own_way(system: Any, kit: Any) -> None:
    system.send(kit.click("historic", "i1", kit.t0), backfill=True)
    last = system.service.backend.log.read(system.service.backend.log.end() - 1, 1)[0]
    assert last.backfill and json.loads(last.body)[0]["user_id"] == "historic"


def test_unknown_fields_are_kept_in_the_log(system: Any, kit: Any) -> None:
    system.send(kit.click("u1", "i1", weather="fine"))
    found = [r for r in system.service.backend.log.read(0, 100_000) if b'"weather"' in r.body]
    assert found


def test_on_the_wall_clock_the_far_future_is_refused(run: Any, kit: Any, tmp_path: Path) -> None:
    wall = msgspec.structs.replace(kit.settings, clock="wall")
    with run(tmp_path / "data", wall) as system:
        answer = system.send(kit.click("u", "a", 4_000_000_000_000))
        asked = system.client.post("/v1/recommend", json={"user_id": "u", "ts": 4_000_000_000_000})
    assert answer["accepted"] == 0 and "ts" in answer["rejected"][0]["reason"]
    assert asked.status_code == 422 and "'ts'" in asked.json()["detail"]


def test_what_a_client_makes_up_is_taken_up_to_its_limit(system: Any, kit: Any) -> None:
    fits, too_large = {"x": "a" * 16_376}, {"x": "a" * 16_377}
    shown = SHOWN | {"ts": kit.t0, "items": ["i1"]}
    answer = system.send(
        kit.item("big", attributes=fits), kit.item("bigger", attributes=too_large),
        shown | {"context": fits, "request_id": "r1"}, shown | {"context": too_large, "request_id": "r2"},
    )  # fmt: skip
    reasons = [refused["reason"] for refused in answer["rejected"]]
    assert answer["accepted"] == 2
    assert reasons == [
        "attributes: expected at most 16384 bytes as JSON, got 16385",
        "context: expected at most 16384 bytes as JSON, got 16385",
    ]
    body = {"user_id": "u1", "k": 1}
    answers = [
        system.client.post("/v1/recommend", json=body | {"context": made}) for made in (fits, too_large)
    ]
    assert [one.status_code for one in answers] == [200, 422]
    assert "'context': expected at most 16384 bytes" in answers[1].json()["detail"]


def test_at_the_learners_bound_forgets_and_withdrawals_pass_and_readiness_says_so(
    run: Any, kit: Any, tmp_path: Path
) -> None:
    join = msgspec.structs.replace(kit.settings.join, max_seen=50)
    now = int(WallClock().now_ms())
    with run(tmp_path / "data", msgspec.structs.replace(kit.settings, clock="wall", join=join)) as full:
        clicks = [kit.click("ann", f"i{n}", now, event_id=str(n)) for n in range(60)]
        full.settle(kit.item("i1", now), *clicks)
        wait_until(lambda: full.client.get("/readyz").status_code == 503)
        assert "callers get 429" in full.client.get("/readyz").text
        one_more = full.client.post("/v1/events", json={"events": [kit.click("bob", "i1", now)]})
        forget = {"type": "forget", "user_id": "ann", "ts": now + 99}
        erased = full.send(forget, kit.item("i1", now, deleted=True))
        assert (one_more.status_code, erased["accepted"]) == (429, 2)
        wait_until(lambda: full.client.get("/v1/users/ann").status_code == 404)


def test_a_full_queue_is_a_429_that_says_when_to_come_back(run: Any, kit: Any, tmp_path: Path) -> None:
    with run(tmp_path / "data", kit.serve(max_queued_bytes=10), learner=False) as system:
        answer = system.client.post("/v1/events", json={"events": [kit.click("u", "a")]})
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1


def test_a_full_disk_refuses_and_loses_nothing(run: Any, kit: Any, tmp_path: Path) -> None:
    small = msgspec.structs.replace(
        kit.settings, engine=msgspec.structs.replace(kit.settings.engine, max_mb=1)
    )
    filler = [kit.click("u", "a", kit.t0 + n, session_id="s" * 200) for n in range(1_000)]
    with run(tmp_path / "data", small, learner=False) as system:
        codes = [system.client.post("/v1/events", json={"events": filler}).status_code for _ in range(8)]
        kept = sum(len(json.loads(record.body)) for record in system.service.backend.log.read(0, 10_000))
        why = system.service.writer.why_not_ready()
    assert codes[0] == 202 and codes[-1] == 503 and kept == 1_000 * codes.count(202)
    assert "the last commit failed" in why and "no room" in why
