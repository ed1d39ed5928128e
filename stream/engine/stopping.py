"""Waiting for work that a stop may come before."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["done_or_stopped"]


async def done_or_stopped(work: asyncio.Future[Any], stop: asyncio.Event) -> None:
    """Wait until `work` is done or `stop` is set; neither is touched.

    Example:
        >>> async def look():
        ...     stop = asyncio.Event()
        ...     stop.set()
        ...     work = asyncio.ensure_future(asyncio.Event().wait())
        ...     await done_or_stopped(work, stop)
        ...     return work.cancel()
        >>> asyncio.run(look())
        True
    """
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
