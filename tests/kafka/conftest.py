"""A real broker, shared by every test marked `kafka`, and topics of its own for each."""

from __future__ import annotations

import gc
import os
import uuid
import warnings
from collections.abc import Iterator

import pytest

from stream.kafka import KafkaSettings
from stream.kafka.connection import admin_client
from tests.harness.broker import Broker, NoBrokerError, running_broker


def _drop_forgotten_sockets() -> None:
    """What kafka-python leaves open after a failure, and aiokafka of a connection that it was just making, is
    left to the collector; not for us to mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed |loop is closed", ResourceWarning)
        gc.collect()


def pytest_itemcollected(item: pytest.Item) -> None:
    """The collector may come while a test of this folder runs."""
    item.add_marker(pytest.mark.filterwarnings("ignore:unclosed |loop is closed:ResourceWarning"))


def pytest_runtest_logfinish() -> None:
    """Nor shall it find them in the next test, of another room."""
    _drop_forgotten_sockets()


def pytest_unconfigure() -> None:
    """Nor at the end."""
    _drop_forgotten_sockets()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that answers; a skip without one, a failure where one is required."""
    try:
        with running_broker(
            tmp_path_factory.mktemp("broker"), os.environ.get("FRESHET_TEST_KAFKA")
        ) as running:
            yield running
    except NoBrokerError as error:
        if os.environ.get("FRESHET_REQUIRE_KAFKA") == "1" or os.environ.get("FRESHET_TEST_KAFKA"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that are run in a test wait for a broker as long as its other clients do: a machine may stand
    still for longer than the default."""
    monkeypatch.setenv("FRESHET_KAFKA_TIMEOUT_MS", "120000")


@pytest.fixture
def topics(broker: Broker) -> Iterator[KafkaSettings]:
    """Settings with a prefix that no other test has; its topics are removed afterwards."""
    settings = broker.settings(prefix=f"t{uuid.uuid4().hex[:12]}-")
    yield settings
    with admin_client(settings) as admin:
        mine = [name for name in admin.list_topics() if name.startswith(settings.prefix)]
        if mine:
            admin.delete_topics(mine, timeout_ms=settings.timeout_ms)
