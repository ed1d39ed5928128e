"""The steps as they run on Kafka: one object an owned partition, records in, records out."""

from __future__ import annotations

from learning.shards.join import JoinShard

__all__ = ["JoinShard"]
