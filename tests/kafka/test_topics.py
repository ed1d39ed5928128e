"""`freshet topics` against a real broker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from freshet.cli import app
from stream.errors import BrokerError
from stream.kafka import KafkaSettings
from stream.kafka.connection import admin_client
from stream.kafka.layout import LAYOUT
from stream.kafka.topics import check_topics, create_topics
from tests.harness.broker import free_port

pytestmark = pytest.mark.kafka


@pytest.fixture
def command(topics: KafkaSettings, tmp_path: Path) -> Callable[..., Any]:
    """Runs `freshet topics` with a settings file that fits the broker."""
    shown = {name: value for name, value in msgspec.structs.asdict(topics).items() if name in _SHOWN}
    file = tmp_path / "freshet.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in shown.items()]
    file.write_text("\n".join(["[kafka]", *lines]), "utf-8")
    return lambda *words: CliRunner().invoke(app, ["topics", *words, "--config", str(file)])


_SHOWN = ("bootstrap", "prefix", "partitions", "replication", "min_insync")


def test_created_topics_are_as_wanted_and_creating_again_does_nothing(topics: KafkaSettings) -> None:
    assert create_topics(topics) == [topics.topic(topic.name) for topic in LAYOUT]
    assert check_topics(topics) == []
    assert create_topics(topics) == []


def test_a_topic_that_was_made_otherwise_is_told_and_left_alone(topics: KafkaSettings) -> None:
    events = topics.topic("events")
    with admin_client(topics) as client:
        otherwise = {"num_partitions": 2, "configs": {"cleanup.policy": "compact"}}
        client.create_topics({events: otherwise}, wait_for_metadata=True)
    created = create_topics(topics)
    assert events not in created
    differing = {difference.what: difference for difference in check_topics(topics)}
    assert {difference.topic for difference in differing.values()} == {events}
    assert {"partitions", "cleanup.policy"} <= set(differing)
    assert (differing["partitions"].expected, differing["partitions"].found) == ("4", "2")


def test_more_copies_than_brokers_are_refused_with_advice(topics: KafkaSettings) -> None:
    with pytest.raises(BrokerError, match="lower `replication` under"):
        create_topics(msgspec.structs.replace(topics, replication=30))


def test_nobody_at_the_address(topics: KafkaSettings) -> None:
    nobody = msgspec.structs.replace(topics, bootstrap=f"127.0.0.1:{free_port()}", timeout_ms=1_500)
    with pytest.raises(BrokerError, match="nobody listens there; start the brokers"):
        check_topics(nobody)


def test_the_command_checks_creates_and_checks_again(command: Callable[..., Any]) -> None:
    before = command("check", "--json", "-")
    assert before.exit_code == 1
    assert {d["what"] for d in json.loads(before.stdout)["differences"]} == {"topic"}
    made = command("create")
    assert (made.exit_code, "as wanted" in made.stdout, "created" in made.stdout) == (0, False, True)
    after = command("check", "--json", "-")
    assert (after.exit_code, json.loads(after.stdout)) == (0, {"created": [], "differences": []})


def test_a_wrong_call_ends_with_2(command: Callable[..., Any]) -> None:
    assert command("destroy").exit_code == 2
