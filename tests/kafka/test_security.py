"""Brokers that ask who is there: what fails is said clearly, and no secret with it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from typer.testing import CliRunner

from freshet.cli import app
from freshet.config import Settings
from freshet.run.serve_kafka import followed_topics
from stream.errors import BrokerError
from stream.events import Click, Forget
from stream.kafka import KafkaSettings
from stream.kafka.connection import client_options, explained
from stream.kafka.layout import LAYOUT
from stream.kafka.producer import EventProducer
from stream.kafka.topics import check_topics, create_topics
from tests.harness.broker import JavaBroker, NoBrokerError, broker_jars
from tests.harness.secured_broker import SECRET, secured_broker
from tests.harness.workers import WorkerThread, outcomes

pytestmark = pytest.mark.kafka

EVENTS = [topic for topic in LAYOUT if topic.name == "events"]
# Said instead where the broker's last word came in one piece with the end of the connection.
_LOST = "hangs up before it answers; look whether `protocol`, the port in `bootstrap` and `sasl_mechanism`"
AT = 1_700_000_000_000
ANN = [Forget(user_id="ann", ts=AT)], [b'{"type":"forget","user_id":"ann","ts":%d}' % AT]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaBroker]:
    """A broker that asks who is there."""
    try:
        broker = secured_broker(tmp_path_factory.mktemp("secured"), broker_jars())
        broker.start()
    except NoBrokerError as error:
        if os.environ.get("FRESHET_REQUIRE_KAFKA") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))
    yield broker
    broker.kill()


@pytest.fixture
def ways(secured: JavaBroker) -> dict[str, KafkaSettings]:
    """Settings by which it can be reached, by name."""

    def settings(listener: str, **more: str) -> KafkaSettings:
        address = f"127.0.0.1:{secured.ports[listener]}"
        return msgspec.structs.replace(secured.settings(timeout_ms=60_000, **more), bootstrap=address)

    ca, cert, key = (str(secured.folder / name) for name in ("ca.pem", "client.pem", "client.key"))
    login = {"sasl_mechanism": "PLAIN", "user": "writer", "password": SECRET}
    return {
        "plain": settings("PLAINTEXT"),
        "password": settings("SASL_SSL", protocol="SASL_SSL", ca=ca, **login),
        "certificate": settings("SSL", protocol="SSL", ca=ca, cert=cert, key=key),
    }


def _stranger(settings: KafkaSettings) -> str:
    return str(Path(settings.ca).with_name("stranger-ca.pem"))


def test_a_user_with_a_password_creates_topics_and_writes(ways: dict[str, KafkaSettings]) -> None:
    settings = msgspec.structs.replace(ways["password"], prefix="by-password-")
    create_topics(settings)
    assert check_topics(settings) == []
    with EventProducer(settings) as producer:
        producer.send(*ANN)


def test_a_client_certificate_opens_the_door_and_no_more(ways: dict[str, KafkaSettings]) -> None:
    admin = KafkaAdminClient(**client_options(ways["certificate"]))
    assert admin.list_topics() == []
    admin.close()


@pytest.mark.parametrize(
    ("way", "wrong", "said"),
    [
        ("password", {"password": "not the one"}, "user or password is refused"),
        ("password", {"sasl_mechanism": "SCRAM-SHA-256"}, f"it does not know this `sasl_mechanism`|{_LOST}"),
        ("password", {"ca": _stranger}, "its certificate is not signed by what `ca`"),
        ("password", {"ca": "missing.pem"}, "kafka.ca: expected a PEM file, found none at missing.pem"),
        ("password", {"protocol": "PLAINTEXT"}, f"it speaks TLS there|{_LOST}"),
        ("certificate", {"cert": "", "key": ""}, "it refuses the client's certificate, or none was shown"),
        ("plain", {"protocol": "SSL"}, "it does not speak TLS there"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_try(
    ways: dict[str, KafkaSettings], way: str, wrong: dict[str, Any], said: str
) -> None:
    made = {name: value(ways[way]) if callable(value) else value for name, value in wrong.items()}
    settings = msgspec.structs.replace(ways[way], **made)
    with pytest.raises(BrokerError) as caught:
        check_topics(settings)
    assert re.search(said, str(caught.value))


def test_a_server_that_is_refused_ends_even_where_it_has_a_copy(ways: dict[str, KafkaSettings]) -> None:
    wrong = msgspec.structs.replace(ways["password"], password="not the one")
    with pytest.raises(BrokerError, match=f"user or password is refused|{_LOST}"):
        followed_topics(wrong)


def test_a_user_without_permission_is_told_so(ways: dict[str, KafkaSettings]) -> None:
    guest = msgspec.structs.replace(ways["password"], user="guest")
    for act in (lambda: check_topics(guest), lambda: create_topics(guest), lambda: EventProducer(guest)):
        with pytest.raises(BrokerError, match="this user may not do that; grant it with kafka-acls"):
            act()


def test_no_message_log_or_trace_holds_the_password(
    ways: dict[str, KafkaSettings], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = msgspec.structs.replace(ways["password"], ca=_stranger(ways["password"]))
    environment = {
        f"FRESHET_KAFKA_{name.upper()}": str(getattr(settings, name))
        for name in ("bootstrap", "protocol", "sasl_mechanism", "user", "password", "ca", "timeout_ms")
    }
    ran = CliRunner().invoke(app, ["topics", "check"], env=environment)
    assert isinstance(ran.exception, BrokerError)
    assert SECRET not in f"{ran.output}{ran.exception!r}{settings!r}{caplog.text}"
    assert SECRET not in explained(OSError(f"odd: {SECRET}"), settings)


def test_a_producer_outlives_its_brokers(ways: dict[str, KafkaSettings], secured: JavaBroker) -> None:
    settings = msgspec.structs.replace(ways["plain"], prefix="restart-", timeout_ms=60_000)
    create_topics(settings, EVENTS)
    with EventProducer(settings) as producer:
        producer.send(*ANN)
        secured.kill()
        written = producer.submit(*ANN)
        secured.start()
        written.result(timeout=300)
        producer.send(*ANN)
    consumer = KafkaConsumer(bootstrap_servers=settings.bootstrap)
    places = [TopicPartition("restart-events", number) for number in range(settings.partitions)]
    assert sum(consumer.end_offsets(places).values()) == 3
    consumer.close()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_worker_joins_through_tls_with_a_password(ways: dict[str, KafkaSettings], mechanism: str) -> None:
    ways = {name: msgspec.structs.replace(found, prefix=f"{mechanism}-") for name, found in ways.items()}
    create_topics(ways["plain"])
    # On the event clock: the click is years old, and no tick may come before it.
    click, login = Click(user_id="ann", item_id="tea", ts=AT), {"sasl_mechanism": mechanism}
    secured = msgspec.structs.replace(ways["password"], **login)
    with WorkerThread(Settings(clock="event", kafka=secured)) as worker:
        with EventProducer(secured) as producer:
            producer.send([click], [msgspec.json.encode(click)])
        found = outcomes(ways["plain"], 1)
    assert worker.reason is None and found == {("organic", "ann", "tea"): 1}
