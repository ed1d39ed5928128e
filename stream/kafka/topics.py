"""Looks at the topics on the brokers and creates the missing ones; never alters or deletes any."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stream.errors import LogError
from stream.kafka.connection import admin_client, kafka, theirs
from stream.kafka.layout import LAYOUT, Difference, TopicFound, TopicLayout, differences, topic_configs
from stream.kafka.settings import KafkaSettings

__all__ = ["check_topics", "create_topics", "describe_topics", "missing_topics", "require_topics"]


def describe_topics(settings: KafkaSettings, layout: Iterable[TopicLayout] = LAYOUT) -> dict[str, TopicFound]:
    """The topics of the layout that are there, by their full names.

    Raises:
        BrokerError: no broker answers, or it refuses.
    """
    with admin_client(settings) as client:
        return _describe(client, settings, layout)


def check_topics(settings: KafkaSettings, layout: Iterable[TopicLayout] = LAYOUT) -> list[Difference]:
    """What is not as it should be; nothing when all is well.

    Raises:
        BrokerError: no broker answers, or it refuses.
    """
    chosen = list(layout)
    return differences(settings, describe_topics(settings, chosen), chosen)


def require_topics(settings: KafkaSettings, layout: Iterable[TopicLayout] = LAYOUT) -> None:
    """See that the topics are there, with the partitions that are wanted.

    Raises:
        LogError: they are not.
        BrokerError: no broker answers, or it refuses.
    """
    wrong = [each for each in check_topics(settings, layout) if each.what in ("topic", "partitions")]
    if wrong:
        raise LogError("; ".join(map(str, wrong)))


def missing_topics(settings: KafkaSettings, names: Iterable[str]) -> list[str]:
    """Which of these topics of others are not there; names as the brokers know them.

    Raises:
        BrokerError: no broker answers, or it refuses.
    """
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return []
    with admin_client(settings) as client:
        answer = client.describe_topics(wanted)
    there = {topic["name"] for topic in answer if theirs.for_code(topic["error_code"]) is theirs.NoError}
    return [name for name in wanted if name not in there]


def create_topics(settings: KafkaSettings, layout: Iterable[TopicLayout] = LAYOUT) -> list[str]:
    """Create what is missing; returns the full names of what was created.

    Raises:
        BrokerError: no broker answers, or it refuses, such as more copies than there are brokers.
    """
    chosen = list(layout)
    with admin_client(settings) as client:
        there = _describe(client, settings, chosen)
        missing = {
            settings.topic(topic.name): {
                "num_partitions": topic.partitions(settings),
                "replication_factor": settings.replication,
                "configs": topic_configs(topic, settings),
            }
            for topic in chosen
            if settings.topic(topic.name) not in there
        }
        return _create(client, missing, settings.timeout_ms) if missing else []


def _create(client: Any, missing: dict[str, Any], timeout_ms: int) -> list[str]:
    answer = client.create_topics(missing, timeout_ms=timeout_ms, raise_errors=False)
    errors = {topic["name"]: theirs.for_code(topic["error_code"]) for topic in answer["topics"]}
    refused = [
        error for error in errors.values() if error not in (theirs.NoError, theirs.TopicAlreadyExistsError)
    ]
    if refused:
        raise refused[0]
    # The brokers know of a topic a moment after they promised it.
    client.wait_for_topics(list(missing), timeout_ms=timeout_ms)
    return [name for name, error in errors.items() if error is theirs.NoError]


def _describe(client: Any, settings: KafkaSettings, layout: Iterable[TopicLayout]) -> dict[str, TopicFound]:
    answer = client.describe_topics([settings.topic(topic.name) for topic in layout])
    errors = {topic["name"]: theirs.for_code(topic["error_code"]) for topic in answer}
    refused = [
        error
        for error in errors.values()
        if error not in (theirs.NoError, theirs.UnknownTopicOrPartitionError)
    ]
    if refused:
        raise refused[0]
    there = [topic for topic in answer if errors[topic["name"]] is theirs.NoError]
    if not there:
        return {}
    resources = [
        kafka.admin.ConfigResource(kafka.admin.ConfigResourceType.TOPIC, topic["name"]) for topic in there
    ]
    configs = client.describe_configs(resources, config_filter="all")["topic"]
    return {topic["name"]: _found(topic, configs.get(topic["name"])) for topic in there}


def _found(topic: Any, configs: Any) -> TopicFound:
    if not configs:
        # The client passes over the refusal: every topic has dozens of them.
        raise theirs.TopicAuthorizationFailedError
    fewest = min(len(partition["replica_nodes"]) for partition in topic["partitions"])
    known = {name: str(config["value"]) for name, config in configs.items()}
    return TopicFound(len(topic["partitions"]), fewest, known)
