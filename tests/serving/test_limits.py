"""What a caller sends without end, without haste or without a token, and what it costs the others."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from serving.app import Application, Lifespan
from serving.asgi import Response
from serving.connection import MAX_HEAD_BYTES
from serving.connections import room_for_connections
from serving.metrics import HttpMetrics
from serving.routing import Request, Route, Router
from serving.settings import ServeSettings
from stream.clock import WallClock
from stream.open_files import raise_file_limit
from tests.harness.live import wait_until

POST = b"POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"


def connect(system: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", system.worker.port), timeout=120)


def answer_to(system: Any, *pieces: bytes) -> bytes:
    """What comes back until the connection is closed."""
    with connect(system) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except OSError:
            pass  # refused in the middle
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    found = b""
    try:
        while piece := connection.recv(65_536):
            found += piece
    except ConnectionResetError:
        pass
    return found


@pytest.fixture
def hasty(run: Any, kit: Any, tmp_path: Path) -> Any:
    """It hangs up on the silent soon."""
    with run(tmp_path / "data", kit.serve(receive_s=1.0), learner=False) as system:
        yield system


@pytest.fixture
def narrow(run: Any, kit: Any, tmp_path: Path) -> Any:
    """It has room for little, and time: nobody who is slow here is hung up on for that."""
    changes = {"receive_s": 3_600, "max_receiving_bytes": 200_000, "max_connections": 20}
    with run(tmp_path / "data", kit.serve(**changes), learner=False) as system:
        yield system


@pytest.mark.parametrize(
    ("start", "unit", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: ", b"a", b"431"),
        (b"GET /healthz HTTP/1.1\r\nhost: a\r\n", b"x: a\r\n", b"431"),
        (b"GET /", b"a", b"414"),
        (POST + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: a\r\n", b"431"),
        (POST + b"transfer-encoding: chunked\r\n\r\n1;x=", b"a", b"400"),
    ],
)
def test_a_head_without_end_is_refused_at_its_bound(
    system: Any, start: bytes, unit: bytes, status: bytes
) -> None:
    some = unit * (MAX_HEAD_BYTES // len(unit) // 4)
    found = answer_to(system, start, *[some] * 40)
    assert found == b"" or found.startswith(b"HTTP/1.1 " + status)
    assert system.client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /healthz HTTP/1.1\r\nhost: a\r\n", POST + b"content-length: 900\r\n\r\n{", b"\r\n\r\n"],
)
def test_who_starts_and_does_not_go_on_is_hung_up_on(hasty: Any, sent: bytes) -> None:
    found = answer_to(hasty, sent)
    assert found == b"" or found.startswith(b"HTTP/1.1 408")


def test_between_two_requests_a_connection_may_wait_as_long_as_proxies_let_it(hasty: Any) -> None:
    assert hasty.service.config.serve.keep_alive_s == 75.0
    with connect(hasty) as kept:
        kept.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        assert kept.recv(65_536).startswith(b"HTTP/1.1 200")
        assert answer_to(hasty, b"") == b""  # one that came later and said nothing was ended before
        kept.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        rest = read_all(kept)  # the first answer's body may have come after its head
        assert b"HTTP/1.1 200" in rest and b"connection: close" in rest


def test_large_bodies_wait_for_each_other_and_small_ones_do_not(narrow: Any, kit: Any) -> None:
    budget, large = narrow.service.app.bodies, b" " * 240_000
    with connect(narrow) as half:
        half.sendall(POST + b"content-length: 250000\r\n\r\n" + large)
        wait_until(lambda: budget.held_bytes > 150_000)
        headers = {"content-type": "application/json"}
        other = narrow.client.post("/v1/events", content=large, headers=headers)
        assert other.status_code == 429 and "serve.max_receiving_bytes" in other.json()["detail"]
        assert narrow.send(kit.click("u", "i1"))["accepted"] == 1
    wait_until(lambda: budget.held_bytes == 0)


def test_more_connections_than_there_is_room_for_end_the_longest_silent(narrow: Any) -> None:
    silent = [connect(narrow) for _ in range(60)]
    assert narrow.client.get("/healthz").status_code == 200
    assert len(narrow.service.connections) <= 20 and narrow.service.connections.evicted > 0
    assert read_all(silent[0]) == b""
    for connection in silent:
        connection.close()


def test_connections_leave_files_to_the_worker() -> None:
    assert room_for_connections(raise_file_limit(), 10, 5_000) <= 5_000
    assert room_for_connections(1_024, 40, 5_000) == 856
    assert room_for_connections(64, 60, 5_000) == 8


def test_health_is_answered_when_as_much_is_asked_as_may_be(run: Any, kit: Any, tmp_path: Path) -> None:
    with (
        run(tmp_path / "data", kit.serve(max_concurrent=1, receive_s=3_600), learner=False) as system,
        connect(system) as half,
    ):
        half.sendall(POST + b"content-length: 900\r\n\r\n{")
        wait_until(lambda: system.service.app.in_progress == 1)
        assert system.client.get("/healthz").status_code == 200
        assert system.client.get("/openapi.json").status_code == 503


def test_more_events_than_a_body_may_hold_are_refused_by_their_number(system: Any) -> None:
    body = b'{"events": [' + b"0," * 200_000 + b"0]}"
    json_type = {"content-type": "application/json"}
    answer = system.client.post("/v1/events", content=body, headers=json_type)
    assert answer.status_code == 413 and "150000 events" in answer.json()["detail"]
    lines = system.client.post(
        "/v1/events", content=b"0\n" * 200_000, headers={"content-type": "application/x-ndjson"}
    )
    assert lines.status_code == 413


def test_many_refused_events_are_counted_and_some_are_told(system: Any, kit: Any) -> None:
    answer = system.send(*[{}] * 20_000, kit.click("u1", "i1"))
    assert answer["accepted"] == 1 and answer["n_rejected"] == 20_000
    assert [refused["index"] for refused in answer["rejected"]] == list(range(1_000))


async def too_much(request: Request) -> Response:
    return Response(200, bytes(1 << 62))


async def nothing() -> None:
    pass


def test_a_request_that_no_memory_is_left_for_is_to_be_sent_again() -> None:
    router = Router([Route("GET", "/much", too_much, "More than a machine holds")])
    metrics = HttpMetrics(CollectorRegistry())
    app = Application(router, ServeSettings(), WallClock(), metrics, Lifespan(nothing, nothing))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost"
        ) as client:
            return await client.get("/much")

    answer = asyncio.run(ask())
    assert answer.status_code == 503 and "no memory is left" in answer.json()["detail"]
    assert answer.headers["retry-after"] == "1"
