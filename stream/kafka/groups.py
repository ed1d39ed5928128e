"""Who takes part in a consumer group now."""

from __future__ import annotations

from collections.abc import Iterable

from stream.kafka.connection import admin_client
from stream.kafka.settings import KafkaSettings

__all__ = ["live_members"]


def live_members(settings: KafkaSettings, groups: Iterable[str]) -> list[str]:
    """Each member of the groups as `GROUP: CLIENT at HOST`; a killed one counts until its session is over.

    Raises:
        BrokerError: no broker answers, or it refuses.

    Example:
        See `tests/kafka/test_clock_repair.py`.
    """
    with admin_client(settings) as client:
        found = client.describe_groups(list(groups))
    return [
        f"{name}: {member['client_id']} at {str(member['client_host']).lstrip('/')}"
        for name, group in found.items()
        for member in group["members"]
    ]
