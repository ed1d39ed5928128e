"""The topics as data, and how they differ from what the brokers have. No client is needed here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from stream.kafka.settings import KafkaSettings

__all__ = ["LAYOUT", "Difference", "TopicFound", "TopicLayout", "differences", "topic_configs"]

_DAY_MS = 86_400_000

MAX_RECORD_BYTES = 1_000_000
"""Records are kept below this; brokers take 1,048,588 bytes unless told otherwise."""


class TopicLayout(NamedTuple):
    """One topic: its name without prefix, what its records are keyed by, and what they hold."""

    name: str
    key: str
    holds: str
    cleanup: Literal["delete", "compact"] = "delete"
    sharded: bool = True

    def partitions(self, settings: KafkaSettings) -> int:
        """How many it has; sharded topics have equally many, so a partition's state has the same number."""
        return settings.partitions if self.sharded else 1


LAYOUT: tuple[TopicLayout, ...] = (
    TopicLayout(
        "events", "request id; organic: user id; item: item id; forget: user id", "what was sent and decided"
    ),
    TopicLayout("feedback", "partition", "blocks: joined outcomes, by user"),
    TopicLayout("item-feedback", "partition", "blocks with user vectors and logged contexts, by item"),
    TopicLayout(
        "training", "partition", "blocks: decided lists with features, and clicks on them", sharded=False
    ),
    TopicLayout("catalogue", "item id", "the item as last sent", "compact"),
    TopicLayout("user-vectors", "user id", "one row", "compact"),
    TopicLayout("item-vectors", "item id", "one row", "compact"),
    TopicLayout("policy", "item id", "all arm statistics of the item", "compact"),
    TopicLayout(
        "state-join", "partition, generation, chunk", "position and snapshot of the joiner", "compact"
    ),
    TopicLayout("state-users", "partition, generation, chunk", "likewise, of the users' learner", "compact"),
    TopicLayout("state-items", "partition, generation, chunk", "likewise, of the items' learner", "compact"),
    TopicLayout(
        "state-train", "partition, generation, chunk", "likewise, of the lists' learner", "compact", False
    ),
    TopicLayout(
        "state-sources", "topic, partition", "positions in the topics of others, see sources", "compact"
    ),
    TopicLayout("control", "name", "centroids, ranker weights, switches", "compact", sharded=False),
    TopicLayout("dead-letters", "place", "what could not be read: reason, place, original bytes"),
)
"""Every topic of Freshet."""


class TopicFound(NamedTuple):
    """A topic as the brokers have it: its partitions, the fewest copies of one, and all its settings."""

    partitions: int
    replication: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing about a topic that is not as it should be, and how to mend it."""

    topic: str
    what: str
    expected: str
    found: str
    mend: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.what}: expected {self.expected}, found {self.found}; {self.mend}"


def topic_configs(topic: TopicLayout, settings: KafkaSettings) -> dict[str, str]:
    """The settings that a topic is created with.

    Records leave after `keep_days`. In compacted topics that is the longest time until a replaced or deleted
    row is really gone.

    Example:
        >>> topic_configs(LAYOUT[0], KafkaSettings())["retention.ms"]
        '604800000'
    """
    keep_ms = str(int(settings.keep_days * _DAY_MS))
    kept = {"retention.ms" if topic.cleanup == "delete" else "max.compaction.lag.ms": keep_ms}
    return {
        "cleanup.policy": topic.cleanup,
        **kept,
        "min.insync.replicas": str(settings.min_insync),
        "unclean.leader.election.enable": "false",
    }


def differences(
    settings: KafkaSettings, found: Mapping[str, TopicFound], layout: Iterable[TopicLayout] = LAYOUT
) -> list[Difference]:
    """What of the layout is missing or otherwise on the brokers; `found` has full names, with the prefix.

    Example:
        >>> found = {"events": TopicFound(4, 3, topic_configs(LAYOUT[0], KafkaSettings()))}
        >>> for difference in differences(KafkaSettings(), found, LAYOUT[:1]):
        ...     print(difference)
        events: partitions: expected 8, found 4; set partitions = 4 under [kafka] if nothing else \
was planned; the number is fixed once records are there, for ids would move
    """
    result: list[Difference] = []
    for topic in layout:
        name = settings.topic(topic.name)
        if name not in found:
            result.append(Difference(name, "topic", "one", "none", "run `freshet topics create`"))
        else:
            result += _of_topic(name, topic, settings, found[name])
    return result


def _of_topic(
    name: str, topic: TopicLayout, settings: KafkaSettings, found: TopicFound
) -> Iterable[Difference]:
    wanted = topic.partitions(settings)
    if found.partitions != wanted:
        advice = (
            f"set partitions = {found.partitions} under [kafka] if nothing else was planned; "
            "the number is fixed once records are there, for ids would move"
        )
        mend = advice if topic.sharded else "delete it and run `freshet topics create`"
        yield Difference(name, "partitions", str(wanted), str(found.partitions), mend)
    if found.replication < settings.replication:
        mend = "raise it with kafka-reassign-partitions.sh, or lower replication under [kafka]"
        yield Difference(name, "replication", str(settings.replication), str(found.replication), mend)
    for key, value in topic_configs(topic, settings).items():
        came = found.configs.get(key, "nothing")
        if came != value:
            yield Difference(name, key, value, came, _alter(settings, name, key, value))
    largest = found.configs.get("max.message.bytes", str(MAX_RECORD_BYTES))
    if int(largest) < MAX_RECORD_BYTES:
        mend = _alter(settings, name, "max.message.bytes", "1048588")
        yield Difference(name, "max.message.bytes", f"at least {MAX_RECORD_BYTES}", largest, mend)


def _alter(settings: KafkaSettings, name: str, key: str, value: str) -> str:
    return (
        f"run `kafka-configs.sh --bootstrap-server {settings.bootstrap} --alter --entity-type topics "
        f"--entity-name {name} --add-config {key}={value}`, or change [kafka]"
    )
