"""The film ratings that come with Freshet, as rows to try things with."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from freshet.data import load_movietweetings
from freshet.feeding.readers import Row

__all__ = ["count_sample", "sample_rows"]

_encode = msgspec.json.Encoder().encode


def sample_rows(ends_at_ms: int, limit: int | None = None) -> Iterator[Row]:
    """Every rating as an organic click, and before the first of each film an `item` event with its title.

    Times keep their distances, and the last rating is at `ends_at_ms`.

    Example:
        >>> for row in sample_rows(1_700_000_000_000, limit=1):
        ...     print(row.body.decode())
        {"type":"item","item_id":"2171847","ts":1700000000000,"attributes":{"title":"Dead Mine (2012)"}}
        {"type":"click","user_id":"u12620","item_id":"2171847","ts":1700000000000}
    """
    log = load_movietweetings(limit)
    later_ms = ends_at_ms - log.ts_ms[-1]
    known: set[str] = set()
    number = 0
    for ts_ms, user_id, item_id in zip(log.ts_ms, log.users, log.items, strict=True):
        ts = ts_ms + later_ms
        if item_id not in known:
            known.add(item_id)
            title = log.titles.get(item_id, item_id)
            film = {"type": "item", "item_id": item_id, "ts": ts, "attributes": {"title": title}}
            yield Row(number, _encode(film))
            number += 1
        click = {"type": "click", "user_id": user_id, "item_id": item_id, "ts": ts}
        yield Row(number, _encode(click))
        number += 1


def count_sample() -> int:
    """How many rows `sample_rows` gives.

    Example:
        >>> count_sample()
        110506
    """
    log = load_movietweetings()
    return len(log) + len(set(log.items))
