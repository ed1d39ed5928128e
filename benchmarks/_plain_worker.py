"""A Faust agent as it comes, which looks at records and does nothing; says how many a second, and ends."""

from __future__ import annotations

import asyncio
import os
import sys
from time import perf_counter
from typing import Any

import faust

__all__ = ["main"]


class _App(faust.App):
    def _create_directories(self) -> None:
        """None are used, and the folder where this is run is not ours to leave some in."""


async def main(bootstrap: str, prefix: str, n_records: int) -> None:
    """Take so many records from `events`."""
    app: Any = _App(
        f"{prefix}plain",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
    )
    source = app.topic(f"{prefix}events", key_serializer="raw", value_serializer="raw")
    done = asyncio.Event()

    async def look(stream: Any) -> None:
        n, began_s = 0, 0.0
        async for _ in stream.events():
            began_s = began_s or perf_counter()
            n += 1
            if n == n_records:
                print((n - 1) / (perf_counter() - began_s))
                done.set()

    app.agent(source, name="look")(look)
    await app.start()
    await done.wait()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    _at = sys.argv.index
    asyncio.run(
        main(
            sys.argv[_at("--kafka") + 1],
            sys.argv[_at("--prefix") + 1],
            int(os.environ["FRESHET_PLAIN_RECORDS"]),
        )
    )
