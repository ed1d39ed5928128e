"""The data that ships with the project: MovieTweetings 100K (MIT licence, beside the files)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

__all__ = ["Ratings", "load_movietweetings"]

_FOLDER = Path(__file__).parent / "movietweetings_100k"


@dataclass(frozen=True, slots=True)
class Ratings:
    """Ratings in true time order, as parallel lists, and the films' titles.

    `ts_ms` event time; `users` and `items` ids; `titles` maps an item id to its title.
    """

    ts_ms: list[int]
    users: list[str]
    items: list[str]
    titles: dict[str, str]

    def __len__(self) -> int:
        """Number of ratings."""
        return len(self.ts_ms)


def load_movietweetings(limit: int | None = None) -> Ratings:
    """Read the first `limit` ratings (all 100,000 by default).

    Example:
        >>> log = load_movietweetings(1_000)
        >>> len(log), log.titles[log.items[0]]
        (1000, 'Dead Mine (2012)')
    """
    events = pq.read_table(_FOLDER / "events.parquet", columns=["ts", "user_id", "item_id"])
    events = events.slice(0, limit)
    films = pq.read_table(_FOLDER / "items.parquet", columns=["item_id", "title"])
    return Ratings(
        ts_ms=[ts * 1000 for ts in events["ts"].to_pylist()],
        users=[f"u{user}" for user in events["user_id"].to_pylist()],
        items=[str(item) for item in events["item_id"].to_pylist()],
        titles=dict(zip(films["item_id"].to_pylist(), films["title"].to_pylist(), strict=True)),
    )
