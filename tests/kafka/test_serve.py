"""A serving worker on Kafka: serves rows from topics, and what it accepts is in `events`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from kafka import KafkaAdminClient
from typer.testing import CliRunner

from freshet.cli import app
from freshet.config import Settings
from freshet.run.serve_kafka import followed_topics
from freshet.run.worker import worker_config
from learning.errors import StartError
from learning.parts import build_parts
from learning.rows.codec import ItemRow, encode_row
from learning.settings import LearnSettings
from serving.kafka.backend import KafkaBackend
from serving.kafka.consumer import LostRowsError, RowConsumer
from serving.service import Service
from stream.clock import WallClock
from stream.engine.shard import Output
from stream.engine.worker_settings import WorkerSettings
from stream.events import Click, Decision
from stream.join import JoinSettings
from stream.kafka import KafkaSettings
from stream.kafka.layout import LAYOUT
from stream.kafka.partitioning import partition_of
from stream.kafka.topics import create_topics, missing_topics
from tests.harness.cells import near
from tests.harness.live import LiveWorker, wait_until
from tests.harness.servers import RowWriter, events_in, item_rows, user_row
from tests.harness.workers import WorkerThread

pytestmark = pytest.mark.kafka

T0 = 1_700_000_000_000
LEARN = LearnSettings(embedding_dim=4, max_users=4_096, max_items=4_096)


class Server:
    """A worker in this process, and a client of it."""

    def __init__(self, worker: LiveWorker, client: httpx.Client) -> None:
        self.worker, self.service, self.client = worker, worker.service, client
        assert isinstance(self.service.backend, KafkaBackend)
        self.backend = self.service.backend

    def ask(self, user_id: str = "ann", **body: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/recommend", json={"user_id": user_id, **body})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def metric(self, name: str) -> float:
        lines = self.client.get("/metrics").text.splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"freshet_{name} "))

    def ready(self) -> bool:
        return self.service.readiness().ready


@pytest.fixture
def ready(topics: KafkaSettings) -> KafkaSettings:
    create_topics(topics)
    return topics


@pytest.fixture
def rows(ready: KafkaSettings) -> Iterator[RowWriter]:
    writer = RowWriter(ready)
    yield writer
    writer.close()


def settings(kafka: KafkaSettings, **serve: Any) -> Settings:
    made = Settings(clock="event", kafka=kafka, learn=LEARN)
    return msgspec.structs.replace(made, serve=msgspec.structs.replace(made.serve, **serve))


@contextmanager
def serving(data: Path, chosen: Settings, *, ready: bool = True) -> Iterator[Server]:
    parts, clock = build_parts(chosen), WallClock()
    backend = KafkaBackend(data, chosen, parts, clock, topics=followed_topics(chosen.kafka))
    worker = LiveWorker(Service(backend, parts, worker_config(chosen), clock))
    with worker, httpx.Client(base_url=worker.url, timeout=300) as client:
        server = Server(worker, client)
        if ready:
            wait_until(server.ready)
        yield server


def films(n: int = 12) -> list[Output]:
    """`n` items, each the more popular the higher its number; the last stands where Ann looks."""
    made = [item_rows(f"i{k}", [1.0, 0.1 * k, 0.0, 0.0], 1 + k, 4, T0 + k) for k in range(n)]
    return [row for pair in made for row in pair] + [user_row("ann", [0.0, 1.0, 0.0, 0.0], ["i0"], 4, T0)]


def test_rows_in_the_topics_are_what_is_served(ready: KafkaSettings, rows: RowWriter, tmp_path: Path) -> None:
    rows.write(films(), absorbed_at=T0)
    with serving(tmp_path / "s", settings(ready, ready_lag_ms=1 << 42)) as server:  # they are years old
        answer = server.ask(k=20, after=T0)
        shown = [item["item_id"] for item in answer["items"]]
        assert set(shown) == {f"i{k}" for k in range(1, 12)}  # i0 is clicked already
        assert (answer["stale"], answer["absorbed_at"], answer["fallback"]) == (False, T0, None)
        assert server.client.get("/v1/items/i7").json()["clicks"] == 8
        assert server.client.get("/v1/users/ann").json()["recent"][0]["item_id"] == "i0"
        assert server.ask(after=T0 + 1)["stale"]
        rows.write([*item_rows("new", [0, 1, 0, 0], 40, 4, T0 + 50)], absorbed_at=T0 + 60)
        wait_until(lambda: "new" in [item["item_id"] for item in server.ask(k=20, after=T0 + 60)["items"]])
        gone = partition_of("i5", 4)
        rows.write([Output(t, gone, None, b"i5") for t in ("catalogue", "item-vectors")], absorbed_at=T0 + 70)
        wait_until(lambda: "i5" not in [item["item_id"] for item in server.ask(k=20, after=T0 + 70)["items"]])


def test_the_catalogue_is_read_before_any_other_row(ready: KafkaSettings, rows: RowWriter) -> None:
    rows.write(films())
    consumer = RowConsumer(ready, None)
    polls: list[set[str]] = []
    while consumer.left():
        polls.append({record.topic for record in consumer.poll(1.0, 5_000)})
    consumer.close()
    others = {"item-vectors", "policy", "user-vectors"}
    first = next(n for n, topics in enumerate(polls) if topics & others)
    assert {"catalogue"} == set().union(*polls[:first]) and set().union(*polls[first:]) <= others


def absorb(server: Server, worker: WorkerThread, *events: dict[str, Any]) -> None:
    """Send events and wait until their rows are here."""
    # What was decided goes another way than what was clicked.
    wait_until(lambda: server.backend.log.n_waiting == 0)
    answer = server.client.post("/v1/events", json={"events": list(events)})
    assert answer.status_code == 202, answer.text
    at = answer.json()["accepted_at"]
    wait_until(lambda: server.worker.learned_up_to() >= at or worker.has_ended())
    assert worker.reason is None


def test_the_loop_closes_with_real_workers(ready: KafkaSettings, tmp_path: Path) -> None:
    chosen = msgspec.structs.replace(
        settings(ready),
        join=JoinSettings(window_ms=500, lateness_ms=1_000),
        work=WorkerSettings(metrics_port=0),
    )
    items = [{"type": "item", "item_id": f"i{k}", "ts": T0 + k} for k in range(8)]
    clicks = [{"type": "click", "user_id": "ann", "item_id": i, "ts": T0 + 90} for i in ("i0", "i1")]
    with WorkerThread(chosen) as worker, serving(tmp_path / "s", chosen) as server:
        absorbed = partial(absorb, server, worker)
        absorbed(*items, *clicks)
        assert [r["item_id"] for r in server.client.get("/v1/users/ann").json()["recent"]] == ["i1", "i0"]
        answer = server.ask(request_id="r1", k=8)
        assert sorted(item["item_id"] for item in answer["items"]) == [f"i{k}" for k in range(2, 8)]
        click = {"type": "click", "user_id": "ann", "request_id": "r1", "item_id": "i5", "ts": T0 + 200}
        absorbed(click)
        assert "i5" not in [item["item_id"] for item in server.ask(k=8)["items"]]
        wait_until(lambda: server.client.get("/v1/items/i5").json()["clicks"] == 1)
        absorbed({"type": "forget", "user_id": "ann", "ts": T0 + 300})
        assert server.client.get("/v1/users/ann").status_code == 404


def test_a_click_on_a_candidate_that_nobody_knew_is_learned(ready: KafkaSettings, tmp_path: Path) -> None:
    chosen = msgspec.structs.replace(settings(ready), work=WorkerSettings(metrics_port=0))
    listed: dict[str, Any] = {
        "candidates": ["a", "gone", "b", "a"],
        "item_context": [{"price": 3}, None, {"price": 4}, None],
    }
    with WorkerThread(chosen) as worker, serving(tmp_path / "s", chosen) as server:
        absorb(server, worker, {"type": "item", "item_id": "gone", "ts": T0, "deleted": True})
        first = server.ask(request_id="r1", ts=T0 + 9, **listed)
        reasons = {each["item_id"]: each["reason"] for each in first["dropped"]}
        assert reasons.items() >= {("a", "repeated")} and "b" not in reasons
        last = first["items"][-1]["item_id"]
        click = {"type": "click", "user_id": "ann", "request_id": "r1", "item_id": last, "ts": T0 + 200}
        absorb(server, worker, click)
        wait_until(lambda: server.client.get(f"/v1/items/{last}").json().get("clicks") == 1)
        scores = {s["item_id"]: s["score"] for s in server.ask("eve", request_id="r2", **listed)["items"]}
        assert scores[last] == max(scores.values()) > min(scores.values())
        (logged,) = [e for _, _, e in events_in(ready) if isinstance(e, Decision) and e.request_id == "r1"]
        assert logged.given and logged.item_context is not None


def test_bad_rows_are_counted_and_do_not_stop_it(
    ready: KafkaSettings, rows: RowWriter, tmp_path: Path
) -> None:
    bad = [Output(topic, 0, b"\xff", b"x") for topic in ("control", "catalogue", "item-vectors", "policy")]
    unlike = ItemRow(item_id="odd", parts={"cooccurrence": near(5, [], [], 1.0)})
    other = [*films(), Output("item-vectors", 0, encode_row(unlike), b"odd")]
    rows.write([*bad, Output("user-vectors", 1, b"{}", b"\xff"), *other], absorbed_at=T0)
    with serving(tmp_path / "s", settings(ready)) as server:
        assert len(server.ask()["items"]) == 10
        assert server.metric("rows_refused") == 6
        why = server.client.get("/readyz").json()["why"]
        assert "rows of part 'cooccurrence' are passed over: half_life_ms: expected" in why


def test_accepted_events_are_in_the_topic(ready: KafkaSettings, rows: RowWriter, tmp_path: Path) -> None:
    rows.write(films(), absorbed_at=T0)
    with serving(tmp_path / "s", settings(ready)) as server:
        clicks = [{"type": "click", "user_id": f"u{k}", "item_id": "i1", "ts": T0 + k} for k in range(40)]
        answer = server.client.post("/v1/events", json={"events": [*clicks, {"type": "click"}]})
        assert answer.status_code == 202, answer.text
        found = [event for _, _, event in events_in(ready)]
        told = answer.json()
        assert told["accepted"] == 40 and told["accepted_at"] >= T0 and told["rejected"][0]["index"] == 40
        sent = sorted(event.user_id or "" for event in found if isinstance(event, Click))
        assert sent == sorted(f"u{k}" for k in range(40))


def test_a_decision_is_in_the_topic_as_it_was_logged(
    ready: KafkaSettings, rows: RowWriter, tmp_path: Path
) -> None:
    rows.write(films(), absorbed_at=T0)
    with serving(tmp_path / "s", settings(ready)) as server:
        answers = [server.ask(request_id=f"r{k}") for k in range(20)]
        assert server.ask(request_id="r3") == answers[3]
        again = server.client.post("/v1/recommend", json={"user_id": "bob", "request_id": "r3"})
        assert again.status_code == 409
        wait_until(lambda: server.backend.log.n_waiting == 0)
        logged = {r.request_id: r.body for r in server.backend.log.read(0, 100)}
        found = {event.request_id: (place, value) for place, value, event in events_in(ready)
                 if isinstance(event, Decision)}  # fmt: skip
        assert set(found) == set(logged) == {f"r{k}" for k in range(20)}
        assert all(place == partition_of(name, 4) for name, (place, _) in found.items())
        assert all(logged[name][1:-1] in value for name, (_, value) in found.items())


def test_a_restart_goes_on_from_the_copy_on_disk(
    ready: KafkaSettings, rows: RowWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows.write(films(), absorbed_at=T0)
    with serving(tmp_path / "s", settings(ready)) as server:
        before = server.ask(request_id="r1")
        read = server.backend.reader.n_rows
    rows.write([], absorbed_at=T0 + 5)
    with serving(tmp_path / "s", settings(ready)) as server:
        assert server.ask(request_id="r1") == before
        assert server.ask(request_id="r2", after=T0 + 5)["items"]
        assert server.backend.reader.n_rows == 8 < read  # only what came since
    other = msgspec.structs.replace(LEARN, neighbours=50)
    with serving(tmp_path / "s", msgspec.structs.replace(settings(ready), learn=other)) as server:
        assert server.backend.reader.n_rows > read
    assert "rows.snapshot is not used: it was written under other settings" in caplog.text


@pytest.mark.parametrize("name", ["outbox.db", "name"])
def test_no_decision_is_answered_that_would_go_into_a_deleted_file(
    ready: KafkaSettings, rows: RowWriter, tmp_path: Path, name: str
) -> None:
    rows.write(films(), absorbed_at=T0)
    with serving(tmp_path / "s", settings(ready, ready_lag_ms=1 << 42)) as server:
        (tmp_path / "s" / name).rename(tmp_path / "away")
        wait_until(lambda: not server.ready())
        refused = server.client.post("/v1/recommend", json={"user_id": "ann"})
        assert refused.status_code == 503 and f"{name} is no longer there" in refused.json()["detail"]
        (tmp_path / "away").rename(tmp_path / "s" / name)
        wait_until(server.ready)
        server.ask()


def test_it_is_ready_only_once_the_rows_are_there(
    ready: KafkaSettings, rows: RowWriter, tmp_path: Path
) -> None:
    with serving(tmp_path / "s", settings(ready), ready=False) as server:
        wait_until(lambda: "has not been heard of" in server.client.get("/readyz").text)
        assert server.ask()["items"] == []
        rows.write(films(), absorbed_at=T0)
        wait_until(lambda: server.client.get("/readyz").status_code == 200)
        # The rows are years old: that is told, and keeps nobody from asking.
        assert "workers are behind or away" in server.client.get("/readyz").json()["why"]


def test_topics_that_are_made_anew_under_it_are_told_of_and_it_answers_on(
    ready: KafkaSettings, rows: RowWriter, tmp_path: Path
) -> None:
    rows.write(films(), absorbed_at=T0)
    with serving(tmp_path / "s", settings(ready)) as server:
        names = [ready.topic(topic.name) for topic in LAYOUT]
        admin = KafkaAdminClient(bootstrap_servers=ready.bootstrap)
        admin.delete_topics(names)
        admin.close()
        wait_until(lambda: missing_topics(ready, names) == names)
        create_topics(ready)
        wait_until(lambda: not server.ready())
        assert len(server.ask()["items"]) == 10
        answer = server.client.get("/readyz")
    assert answer.status_code == 503 and "restart this worker" in answer.text


def test_that_topics_are_made_anew_is_told_by_a_poll_whoever_asks_the_client_first(
    ready: KafkaSettings, rows: RowWriter
) -> None:
    rows.write(films(), absorbed_at=T0)
    consumer = RowConsumer(ready, None)
    wait_until(lambda: not consumer.poll(0.1, 100) and consumer.left() == 0)
    names = [ready.topic(topic.name) for topic in LAYOUT]
    admin = KafkaAdminClient(bootstrap_servers=ready.bootstrap)
    admin.delete_topics(names)
    admin.close()
    wait_until(lambda: missing_topics(ready, names) == names)
    create_topics(ready)

    def is_told() -> bool:
        for _ in range(200):
            consumer.lag()
        try:
            consumer.poll(0.01, 100)
        except LostRowsError as error:
            return "restart this worker" in str(error)
        return False

    wait_until(is_told, timeout_s=90)
    consumer.close()


def test_missing_topics_are_named_before_anything_starts(topics: KafkaSettings, tmp_path: Path) -> None:
    environ = {"FRESHET_KAFKA_REPLICATION": "1", "FRESHET_KAFKA_MIN_INSYNC": "1"}
    command = ["serve", "--kafka", topics.bootstrap, "--prefix", topics.prefix, "--port", "0"]
    ran = CliRunner().invoke(app, [*command, "--data", str(tmp_path / "s")], env=environ)
    assert isinstance(ran.exception, StartError) and "run `freshet topics create`" in str(ran.exception)
    assert not (tmp_path / "s").exists()
