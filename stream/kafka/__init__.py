"""Freshet on Kafka: its topics, their records, and the clients that write and read them.

Nothing here is needed by the embedded system, and importing this package imports no Kafka client. The modules
that speak to brokers need the `kafka` extra and say so.
"""

from __future__ import annotations

from stream.kafka.settings import KafkaSettings

__all__ = ["KafkaSettings"]
