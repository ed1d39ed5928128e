"""What rows must hold once everything is learned: sums kept by a test, and those that stand in the topics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from kafka import KafkaConsumer, TopicPartition

from learning.rows.codec import PROGRESS_KEY, decode_item_row, decode_policy_row, decode_user_row
from stream.kafka import KafkaSettings
from tests.harness.cells import counts

__all__ = ["PublishedRows", "Sums"]

_TOPICS = ("user-vectors", "item-vectors", "policy")


class Sums:
    """Sums by kind of row, id and column; what is 0 does not count. Weights should be exact in binary.

    Example:
        >>> sums = Sums()
        >>> sums.shown("ann", ["tea"], [7], [0.5])
        >>> sums.clicked("ann", "tea", [7], [0.5])
        >>> sorted(sums.by_place.items())[2:4]
        [(('policy', 'tea', 'b7'), 0.5), (('policy', 'tea', 'd7'), 0.25)]
    """

    def __init__(self) -> None:
        self.by_place: Counter[tuple[str, str, str]] = Counter()

    def shown(
        self, user: str, items: Sequence[str], clusters: Sequence[int], weights: Sequence[float]
    ) -> None:
        """A slate that a policy decided upon."""
        self._add("user", user, "impressions", 1)
        for item in items:
            self._add("item", item, "impressions", 1)
            self._add("policy", item, "shown", 1)
            self._add("policy", item, "thompson impressions", 1)
            for cluster, weight in zip(clusters, weights, strict=True):
                self._add("policy", item, f"d{cluster}", weight * weight)

    def clicked(
        self, user: str, item: str, clusters: Sequence[int] = (), weights: Sequence[float] = ()
    ) -> None:
        """A click; of a shown item if there are clusters."""
        self._add("user", user, "clicks", 1)
        self._add("item", item, "clicks", 1)
        if clusters:
            self._add("policy", item, "thompson reward", 1)
        for cluster, weight in zip(clusters, weights, strict=True):
            self._add("policy", item, f"b{cluster}", weight)

    def _add(self, kind: str, name: str, column: str, value: Any) -> None:
        self.by_place[kind, name, column] += value


class PublishedRows:
    """The newest committed row of every id.

    Args:
        settings: where the brokers are.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._consumer: Any = KafkaConsumer(
            bootstrap_servers=settings.bootstrap, isolation_level="read_committed", enable_auto_commit=False
        )
        names = {settings.topic(name): name for name in _TOPICS}
        places = [TopicPartition(name, p) for name in names for p in range(settings.partitions)]
        self._consumer.assign(places)
        for place in places:
            self._consumer.seek(place, 0)
        self._names = names
        self.rows: dict[tuple[str, bytes], bytes | None] = {}
        self.n_rows = 0
        """Rows that came, all versions of them."""

    def look(self, timeout_ms: int = 100) -> int:
        """Take in what has come; how many rows that were."""
        n = 0
        for place, records in self._consumer.poll(timeout_ms=timeout_ms, max_records=20_000).items():
            for record in records:
                if record.key != PROGRESS_KEY:
                    n += 1
                    self.rows[self._names[place.topic], record.key] = record.value
        self.n_rows += n
        return n

    def sums(self, topics: Sequence[str] = _TOPICS) -> Counter[tuple[str, str, str]]:
        """What stands in the rows of these topics."""
        found: Counter[tuple[str, str, str]] = Counter()
        for (topic, _), value in self.rows.items():
            if topic in topics and value is not None:
                found.update(_READ[topic](value))
        return Counter({place: value for place, value in found.items() if value})

    def n_shown(self) -> float:
        """Impressions that the policies have learned, of all items."""
        found = self.sums(["policy"])
        return float(sum(n for (_, _, column), n in found.items() if column == "shown"))

    def n_ids(self) -> int:
        """Users and items that have a row."""
        return sum(topic != "policy" and value is not None for (topic, _), value in self.rows.items())

    def differences(self, sums: Sums) -> dict[tuple[str, str, str], tuple[float, float]]:
        """Where rows and sums differ: expected and found."""
        expected, found = sums.by_place, self.sums()
        places = sorted(expected.keys() | found.keys())
        return {place: (expected[place], found[place]) for place in places if expected[place] != found[place]}

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()


def _user(value: bytes) -> dict[tuple[str, str, str], Any]:
    row = decode_user_row(value)
    clicks, impressions, _ = counts(row.parts)
    return {("user", row.user_id, "clicks"): clicks, ("user", row.user_id, "impressions"): impressions}


def _item(value: bytes) -> dict[tuple[str, str, str], Any]:
    row = decode_item_row(value)
    clicks, impressions, _ = counts(row.parts)
    return {("item", row.item_id, "clicks"): clicks, ("item", row.item_id, "impressions"): impressions}


def _policy(value: bytes) -> dict[tuple[str, str, str], Any]:
    row = decode_policy_row(value)
    edges: Any = row.parts.get("diag_lin_ucb", {})
    shown = _number(edges, 0, "<i8")
    found: dict[tuple[str, str, str], Any] = {("policy", row.item_id, "shown"): shown}
    clusters = np.frombuffer(edges.get("clusters", b""), "<i4").tolist()
    for name, start in (("b", 0.0), ("d", 1.0)):
        sums = np.frombuffer(edges.get(name, b""), "<f8").tolist()
        for cluster, value_of in zip(clusters, sums, strict=True):
            found["policy", row.item_id, f"{name}{cluster}"] = value_of - start
    for policy, cells in row.parts.items():
        if policy not in ("diag_lin_ucb", "graph"):  # the graph counts nothing
            found["policy", row.item_id, f"{policy} impressions"] = _number(cells, 0, "<i8")
            found["policy", row.item_id, f"{policy} reward"] = _number(cells, 1, "<f8")
    return found


def _number(cells: Any, place: int, dtype: str) -> Any:
    return np.frombuffer(cells.get("", bytes(16)), dtype)[place].item()


_READ = {"user-vectors": _user, "item-vectors": _item, "policy": _policy}
