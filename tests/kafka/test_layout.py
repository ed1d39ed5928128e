"""How the layout is compared with what brokers have; no broker is needed."""

from __future__ import annotations

import msgspec
import pytest

from stream.kafka import KafkaSettings
from stream.kafka.layout import LAYOUT, TopicFound, differences, topic_configs

SETTINGS = KafkaSettings(prefix="shop-")
AS_WANTED = {
    SETTINGS.topic(topic.name): TopicFound(topic.partitions(SETTINGS), 3, topic_configs(topic, SETTINGS))
    for topic in LAYOUT
}


def _changed(**more: object) -> list[str]:
    """The differences when `shop-events` is like this."""
    found = AS_WANTED | {"shop-events": AS_WANTED["shop-events"]._replace(**more)}  # type: ignore[arg-type]
    return [str(difference) for difference in differences(SETTINGS, found)]


def test_topics_as_created_do_not_differ() -> None:
    assert differences(SETTINGS, AS_WANTED) == []


def test_a_missing_topic_is_named() -> None:
    found = {name: topic for name, topic in AS_WANTED.items() if name != "shop-policy"}
    assert [(d.topic, d.what, d.mend) for d in differences(SETTINGS, found)] == [
        ("shop-policy", "topic", "run `freshet topics create`")
    ]


def test_other_partitions_are_no_matter_of_adding_some() -> None:
    (said,) = _changed(partitions=4)
    assert "expected 8, found 4" in said
    assert "ids would move" in said


def test_fewer_copies_differ_and_more_do_not() -> None:
    assert "replication: expected 3, found 2" in _changed(replication=2)[0]
    assert _changed(replication=5) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cleanup.policy", "compact"),
        ("retention.ms", "1000"),
        ("min.insync.replicas", "1"),
        ("max.message.bytes", "1000"),
    ],
)
def test_another_configuration_is_named_with_the_command_that_mends_it(key: str, value: str) -> None:
    configs = dict(AS_WANTED["shop-events"].configs) | {key: value}
    (said,) = _changed(configs=configs)
    assert f"found {value}" in said
    assert (
        f"kafka-configs.sh --bootstrap-server 127.0.0.1:9092 --alter --entity-type topics --entity-name \
shop-events --add-config {key}="
        in said
    )


def test_topics_of_others_are_none_of_ours() -> None:
    assert differences(SETTINGS, AS_WANTED | {"theirs": TopicFound(1, 1, {})}) == []


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="min_insync: expected at most replication"):
        msgspec.convert({"replication": 1, "min_insync": 2}, KafkaSettings)
