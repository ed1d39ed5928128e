"""Two tastes, items of two genres, and one new item of each that nobody has clicked yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["NEW", "SETTINGS", "clicks_on_old", "new_items", "old_items", "share_of_right"]

GENRES = ("tea", "car")
NEW = [f"new-{genre}" for genre in GENRES]

SETTINGS: dict[str, Any] = {
    "learn": {
        "embedding_dim": 8, "maintain_ms": 1_000, "learning_rate": 0.2, "negatives": 2,
        "max_users": 4_096, "max_items": 4_096,
    },
    "policy": {"epsilon": 0.0},
    "policies": [{"kind": "uniform"}],
    "learners": [{"kind": "content_map", "dim": 16, "enough": 3.0}],
    "scorers": [{"kind": "popular"}, {"kind": "hybrid"}],
    "sources": [{"kind": "hybrid", "size": 2, "below": 20.0}],
}  # fmt: skip
"""One source, so that what is answered are new items; it offers both, and the scorer orders them."""


def old_items(ts: int) -> list[dict[str, Any]]:
    """Ten items of each genre, as events."""
    return [_item(f"{genre}-{n}", genre, ts) for n in range(10) for genre in GENRES]


def new_items(ts: int) -> list[dict[str, Any]]:
    """One more of each."""
    return [_item(name, genre, ts) for name, genre in zip(NEW, GENRES, strict=True)]


def _item(name: str, genre: str, ts: int) -> dict[str, Any]:
    return {"type": "item", "item_id": name, "ts": ts, "attributes": {"genre": genre, "by": ["them", name]}}


def clicks_on_old(ts: Callable[[int], int]) -> list[dict[str, Any]]:
    """Thirty users of each taste click all ten items of their genre; `ts` of a number."""
    pairs = [
        (f"{genre}-fan-{user}", f"{genre}-{(user + step) % 10}")
        for step in range(10)
        for user in range(30)
        for genre in GENRES
    ]
    return [
        {"type": "click", "user_id": user, "item_id": item, "ts": ts(n)}
        for n, (user, item) in enumerate(pairs)
    ]


def share_of_right(ask: Callable[..., dict[str, Any]]) -> float:
    """The share of all users to whom the new item of their genre is shown before the other."""
    right = 0
    for genre in GENRES:
        for user in range(30):
            items = ask(user_id=f"{genre}-fan-{user}", k=2)["items"]
            assert sorted(entry["item_id"] for entry in items) == sorted(NEW)
            assert {entry["source"] for entry in items} == {"hybrid"}
            right += items[0]["item_id"] == f"new-{genre}"
    return right / 60
