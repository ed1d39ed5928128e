"""Brokers go away and servers are killed: answers go on, and no decision is lost."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.kafka.outbox import DecisionOutbox
from stream.events import Click, Decision
from stream.kafka import KafkaSettings
from stream.kafka.topics import create_topics
from stream.log import Record
from tests.harness.broker import JavaBroker, NoBrokerError, broker_jars, free_port, wait_until
from tests.harness.servers import RowWriter, ServeProcess, events_in, item_rows, user_row

pytestmark = pytest.mark.kafka

T0 = 1_700_000_000_000
QUICK = {
    "FRESHET_CLOCK": "event",
    "FRESHET_LEARN_EMBEDDING_DIM": "4",
    "FRESHET_LEARN_MAX_USERS": "4096",
    "FRESHET_LEARN_MAX_ITEMS": "4096",
}

Start = Callable[..., tuple[ServeProcess, httpx.Client]]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaBroker]:
    """A broker that tests may kill."""
    try:
        broker = JavaBroker(tmp_path_factory.mktemp("own"), broker_jars())
    except NoBrokerError as error:
        if os.environ.get("FRESHET_REQUIRE_KAFKA") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))
    yield broker
    broker.kill()


@pytest.fixture
def kafka(own: JavaBroker) -> KafkaSettings:
    """The broker, running, with topics and a few rows that nobody else uses."""
    own.kill()
    own.start()
    settings = own.settings(prefix=f"t{uuid.uuid4().hex[:8]}-", timeout_ms=8_000)
    create_topics(settings)
    writer = RowWriter(settings)
    items = [item_rows(f"i{k}", [1.0, 0.1 * k, 0.0, 0.0], 1 + k, 4, T0 + k) for k in range(12)]
    user = user_row("ann", [0.0, 1.0, 0.0, 0.0], ["i0"], 4, T0)
    writer.write([*(row for pair in items for row in pair), user], absorbed_at=T0)
    writer.close()
    return settings


@pytest.fixture
def start(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Start]:
    """Start a server over the one folder, and wait until it is ready."""
    started: list[tuple[ServeProcess, httpx.Client]] = []

    def begin(**more: str) -> tuple[ServeProcess, httpx.Client]:
        server = ServeProcess(kafka, tmp_path / "data", tmp_path / "log", QUICK | more)
        wait_until(lambda: bool(server.url) or server.process.poll() is not None, 300, "it listens")
        assert server.process.poll() is None, server.said()
        client = httpx.Client(base_url=server.url, timeout=300)
        started.append((server, client))
        wait_until(lambda: _ready(client), 300, f"it is ready\n{server.said()}")
        return server, client

    yield begin
    for server, client in started:
        client.close()
        if server.process.poll() is None:
            server.kill()


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _ask(client: httpx.Client, request_id: str) -> dict[str, Any]:
    answer = client.post("/v1/recommend", json={"user_id": "ann", "request_id": request_id})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _gauge(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"freshet_{name} "))


def _click(client: httpx.Client, user_id: str) -> httpx.Response:
    click = {"type": "click", "user_id": user_id, "item_id": "i1", "ts": T0}
    return client.post("/v1/events", json={"events": [click]})


def _decided(kafka: KafkaSettings) -> list[str]:
    return [event.request_id for _, _, event in events_in(kafka) if isinstance(event, Decision)]


def test_the_broker_goes_away_and_comes_back(own: JavaBroker, kafka: KafkaSettings, start: Start) -> None:
    server, client = start()
    _ask(client, "before")
    wait_until(lambda: _click(client, "before").status_code == 202, 300, "a click is taken")
    own.kill()
    answers = [_ask(client, f"r{k}") for k in range(30)]
    assert all(len(answer["items"]) == 10 for answer in answers)
    refused = _click(client, "while")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1"), refused.text
    wait_until(lambda: "decisions wait in the outbox" in client.get("/readyz").text, 300, "it tells of it")
    assert _ready(client)
    assert _gauge(client, "outbox_records") >= 30
    wait_until(lambda: _gauge(client, "broker_connected") == 0, 300, "it sees that the broker is away")
    assert _ask(client, "r3") == answers[3]
    own.start()
    wait_until(lambda: _gauge(client, "outbox_records") == 0, 300, "the outbox is empty")
    wait_until(lambda: _gauge(client, "broker_connected") == 1, 300, "it sees that the broker is back")
    wait_until(lambda: _click(client, "after").status_code == 202, 300, "events are taken again")
    writer = RowWriter(kafka)
    writer.write([], absorbed_at=T0 + 9)
    writer.close()
    wait_until(lambda: _ask_after(client, T0 + 9), 300, "rows are followed again")
    assert server.stop() == 0, server.said()
    assert set(_decided(kafka)) >= {"before", *(f"r{k}" for k in range(30))}
    users = {event.user_id for _, _, event in events_in(kafka) if isinstance(event, Click)}
    assert {"before", "after"} <= users


def _ask_after(client: httpx.Client, after: int) -> bool:
    answer = client.post("/v1/recommend", json={"user_id": "ann", "after": after}).json()
    return bool(answer["absorbed_at"] >= after)


def test_a_killed_server_loses_no_decision_and_starts_without_a_broker(
    own: JavaBroker, kafka: KafkaSettings, start: Start, tmp_path: Path
) -> None:
    server, client = start(FRESHET_SERVE_SNAPSHOT_S="0.2")
    wait_until(lambda: _gauge(client, "row_copies") >= 1, 300, "the rows are on disk")
    own.kill()
    answers = [_ask(client, f"r{k}") for k in range(20)]
    server.kill()
    outbox = DecisionOutbox(tmp_path / "data" / "outbox.db", max_mb=2)
    outbox.append([Record("decision", bytes(1 << 20), accepted_at=T0, request_id="no decision")])
    outbox.close()

    server, client = start(FRESHET_SERVE_OUTBOX_MB="1")
    assert _ask(client, "r7") == answers[7]
    wait_until(lambda: "brokers away" in client.get("/readyz").text, 300, "it sees that the broker is away")
    full = client.post("/v1/recommend", json={"user_id": "ann"})
    assert (full.status_code, full.headers["retry-after"]) == (503, "1")
    assert "outbox: 21 decisions" in full.json()["detail"]

    own.start()
    wait_until(lambda: _gauge(client, "outbox_records") == 0, 300, "the outbox is empty")
    assert sorted(_decided(kafka)) == sorted(f"r{k}" for k in range(20))
    assert len(_ask(client, "r20")["items"]) == 10
    assert server.stop() == 0, server.said()
    assert "it is not sent" in server.said()  # what was no decision, passed over and told of


def test_without_a_copy_it_ends_when_nobody_answers(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    nobody = KafkaSettings(bootstrap=address, replication=1, min_insync=1, timeout_ms=3_000)
    server = ServeProcess(nobody, tmp_path / "data", tmp_path / "log", QUICK)
    assert server.process.wait(300) == 1
    assert f"freshet: Kafka at {address}: " in server.said() and not server.url
