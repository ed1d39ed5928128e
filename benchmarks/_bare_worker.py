"""A worker as Faust's own documentation has it: a table, counted up by an agent. No part of Freshet."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import faust

__all__ = ["main"]

_PARTITIONS = 4


class _App(faust.App):
    def _create_directories(self) -> None:
        """None are used, and the folder where this is run is not ours to leave some in."""


def _app(bootstrap: str, prefix: str) -> Any:
    app: Any = _App(
        f"{prefix}bare",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        topic_partitions=_PARTITIONS,
        topic_replication_factor=1,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=3.0,
        broker_heartbeat_interval=0.5,
        web_enabled=False,
    )
    source = app.topic(f"{prefix}events", key_serializer="raw", value_serializer="raw")
    counts = app.Table("counts", default=int, key_type=str, partitions=_PARTITIONS)

    async def count(stream: Any) -> None:
        async for event in stream.events():
            counts[event.key.decode()] += 1

    app.agent(source, name="count")(count)
    return app


async def main(bootstrap: str, prefix: str) -> None:
    """Count until the process is ended."""
    app = _app(bootstrap, prefix)
    await app.start()
    await app.wait_until_stopped()
    sys.exit(1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[sys.argv.index("--kafka") + 1], sys.argv[sys.argv.index("--prefix") + 1]))
