"""Two users side by side: what each clicked, what each is offered, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.table import Table

from freshet.data import Ratings
from freshet.demo.client import ApiClient
from freshet.demo.history import Known
from stream.blocks import Slate

__all__ = ["Person", "meet", "people_table", "two_of"]

_SHOWN = 5
_BUSY = 10  # clicks
_POOL = 200  # films that could have been offered instead
_WORDS = {  # by how the names of features begin, the longer before the shorter
    "popular": "many click it now",
    "together_by_history": "clicked with all that this user clicked",
    "together": "clicked with what this user clicked last",
    "taste": "this user's taste",
    "rate": "often clicked where it is shown",
    "clicks": "many click it now",
    "trend": "rising",
    "item_age": "its age",
    "item": "how often it is seen",
    "seen": "what this user has seen",
    "session": "what this user did just now",
}
_SOURCES = {
    "index": "near in taste",
    "neighbours": "clicked by others too",
    "graph": "the policy's",
    "popular": "popular",
    "fresh": "new",
}


class Person(NamedTuple):
    """A user: titles clicked, newest first, and of what is offered title, source and reason."""

    user_id: str
    clicked: list[str]
    offered: list[tuple[str, str, str]]


def two_of(log: Ratings) -> list[str]:
    """The last two users who clicked at least ten films.

    Example:
        >>> from freshet.data import load_movietweetings
        >>> two_of(load_movietweetings(2_000))
        ['u4623', 'u10986']
    """
    counts: dict[str, int] = {}
    for user in log.users:
        counts[user] = counts.get(user, 0) + 1
    busy = dict.fromkeys(user for user in reversed(log.users) if counts[user] >= _BUSY)
    return list(busy)[:2]


def meet(user_id: str, ts: int, log: Ratings, client: ApiClient, known: Known) -> Person:
    """Ask for one user as a product would. `known` says what speaks for each film: it has learned the same
    history here, without the last live clicks."""
    recent = client.user(user_id)["recent"][:_SHOWN]
    clicked = [log.titles.get(entry["item_id"], entry["item_id"]) for entry in recent]
    items = client.recommend(user_id=user_id, k=_SHOWN, ts=ts)["items"]
    reasons = _reasons(user_id, ts, [entry["item_id"] for entry in items], known)
    offered = [
        (
            log.titles.get(entry["item_id"], entry["item_id"]),
            "explored" if entry["explored"] else _SOURCES.get(entry["source"], entry["source"]),
            reason,
        )
        for entry, reason in zip(items, reasons, strict=True)
    ]
    return Person(user_id, clicked, offered)


def people_table(people: Sequence[Person]) -> Table:
    """Side by side."""
    table = Table(title="two users at the end", title_justify="left", show_lines=True)
    table.add_column("")
    for person in people:
        table.add_column(f"user {person.user_id}")
    table.add_row("clicked last", *("\n".join(person.clicked) for person in people))
    offers = [
        "\n".join(f"{title}\n  [dim]{source}: {reason}[/]" for title, source, reason in person.offered)
        for person in people
    ]
    table.add_row("is offered", *offers)
    return table


def _reasons(user_id: str, ts: int, items: Sequence[str], known: Known) -> list[str]:
    """The two things that lift each item most above the middle of what could be offered, in words."""
    ranker, slate = known.parts.ranker, Slate(request_id="why", user_id=user_id, ts=ts, items=list(items))
    rows = known.parts.items.find([*items, *known.state.recommend(user_id, _POOL, ts)])
    features = known.state.rank_features(slate, rows)
    says = np.where(np.isnan(features), ranker.missing, np.nan_to_num(features) * ranker.weights)
    lifts = says[: len(items)] - says.mean(axis=0)
    return [_in_words(dict(zip(ranker.names, row.tolist(), strict=True))) for row in lifts]


def _in_words(lifts: dict[str, float]) -> str:
    by_words: dict[str, float] = {}
    for name, lift in lifts.items():
        words = next((words for start, words in _WORDS.items() if name.startswith(start)), name)
        by_words[words] = by_words.get(words, 0.0) + lift
    strongest = sorted((words for words in by_words if by_words[words] > 0), key=lambda each: -by_words[each])
    return ", ".join(strongest[:2]) or "nothing above others"
