"""A serving worker on Kafka: the same worker as embedded, over topics instead of a data folder.

Decisions go to a `DecisionOutbox` on disk and from there to the topic `events`; events of clients go there
at once. Rows come from the compacted topics. The modules that speak to brokers need the `kafka` extra and
say so; importing this package does not.
"""

from __future__ import annotations

from serving.kafka.outbox import DecisionOutbox

__all__ = ["DecisionOutbox"]
