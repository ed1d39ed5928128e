"""From a request's words to an `Ask` in row numbers, with what is known of the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from learners.ask import Ask
from learning.parts import Parts
from serving.ops.order import is_usable

__all__ = ["make_ask"]


def make_ask(
    models: Parts,
    user_id: str,
    *,
    now_ms: int,
    k: int,
    context: Mapping[str, Any] | None = None,
    exclude: Sequence[str] = (),
    groups: Sequence[str] | None = None,
) -> Ask:
    """What `user_id` asks for; nothing is allocated for an unknown one."""
    user = models.users.row_of(user_id)
    clicked = models.history.clicked(user)
    ask = Ask(user, now_ms, k, history=clicked)
    # A row starts at a random vector; only a click that is rewarded makes it say something of the user.
    if user >= 0 and clicked.size and models.users.clicks[user] and is_usable(models.users.data[user]):
        ask.vector = models.users.data[user]
    blocked = [clicked]
    if exclude:
        blocked.append(models.items.find(exclude))
    if context:
        ask.context = context
        if (item_id := context.get("item_id")) is not None:
            viewed = models.items.find([item_id])
            ask.viewed = viewed[viewed >= 0]
            blocked.append(viewed)
    rows = np.concatenate(blocked)
    ask.blocked = rows[rows >= 0]
    if groups:
        ask.groups = models.catalogue.group_codes(list(groups))
    return ask
