"""Two kinds of users who like different things, and whether a system shows each kind what it likes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

__all__ = ["FAVOURITE", "ITEMS", "POLICY", "firsts", "items_at", "round_of_clicks"]

FAVOURITE = {"phone": "i1", "desk": "i4"}
"""What each kind clicks; it leaves all else alone."""
ITEMS = [f"i{n}" for n in range(6)]
POLICY = {"features": ["device", "hour"], "epsilon": 1.0}
"""The policy decides every place, looking at the kind of user and at a number that says nothing."""

Ask = Callable[..., dict[str, Any]]


def items_at(ts: int) -> list[dict[str, Any]]:
    """The catalogue as events."""
    return [{"type": "item", "item_id": name, "ts": ts} for name in ITEMS]


def _asked(ask: Ask, kind: str, number: int) -> dict[str, Any]:
    # Nobody asks twice, since nobody is shown again what they have clicked.
    return ask(user_id=f"{kind}-{number}", k=3, context={"device": kind, "hour": 9 + number % 8})


def round_of_clicks(ask: Ask, ts: Callable[[], int], first: int, n: int) -> list[dict[str, Any]]:
    """Ask `n` times, users `first` and on, of both kinds by turns; the clicks that follow."""
    clicks = []
    for number in range(first, first + n):
        kind = ("phone", "desk")[number % 2]
        answer = _asked(ask, kind, number)
        if FAVOURITE[kind] in [entry["item_id"] for entry in answer["items"]]:
            click = {"user_id": f"{kind}-{number}", "request_id": answer["request_id"], "ts": ts()}
            clicks.append({"type": "click", "item_id": FAVOURITE[kind], **click})
    return clicks


def firsts(ask: Ask, kind: str, first: int, n: int) -> Counter[str]:
    """How often each item came first for `n` new users of a kind."""
    answers = [_asked(ask, kind, number) for number in range(first, first + n)]
    return Counter(answer["items"][0]["item_id"] for answer in answers)
