"""From a request's words to an `Ask` in row numbers, with what is known of the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

from learners.ask import Ask, Listed
from learning.ops.vectors import is_usable
from learning.parts import Parts

__all__ = ["ask_of_list", "ask_of_rows", "make_ask"]

Int32 = npt.NDArray[np.int32]


def make_ask(
    models: Parts,
    user_id: str,
    *,
    now_ms: int,
    k: int,
    context: Mapping[str, Any] | None = None,
    exclude: Sequence[str] = (),
    groups: Sequence[str] | None = None,
    hide_ms: float = inf,
) -> Ask:
    """What `user_id` asks for; nothing is allocated for an unknown one.

    What they clicked is blocked for `hide_ms` after the last click.
    """
    ask = _of_user(models, models.users.row_of(user_id), now_ms, k)
    blocked = [_hidden(models, ask, hide_ms)]
    if exclude:
        blocked.append(models.items.find(exclude))
    if context:
        blocked.append(_put_context(models, ask, context))
    rows = np.concatenate(blocked)
    ask.blocked = rows[rows >= 0]
    if groups:
        ask.groups = models.catalogue.group_codes(list(groups))
    return ask


def ask_of_list(
    parts: Parts,
    user_id: str,
    items: Sequence[str],
    *,
    now_ms: int,
    context: Mapping[str, Any] | None = None,
    item_context: Sequence[Mapping[str, Any]] = (),
) -> Ask:
    """What is asked for a list that somebody else made, item by item; unknown items have row -1.

    Nothing is blocked: whoever made the list wants all of it in an order. Features are those of
    `ask.listed.rows`.

    Example:
        >>> from learning.parts import build_parts
        >>> from learning.settings import LearningSettings
        >>> parts = build_parts(LearningSettings())
        >>> ask = ask_of_list(parts, "ann", ["tea", "milk"], now_ms=5)
        >>> ask.k, ask.listed.rows.tolist(), parts.ranker.features(ask, ask.listed.rows).shape[0]
        (2, [-1, -1], 2)
    """
    user, rows = parts.users.row_of(user_id), parts.items.find(items)
    return ask_of_rows(parts, user, rows, now_ms=now_ms, context=context, item_context=item_context)


def ask_of_rows(
    parts: Parts,
    user: int,
    rows: Int32,
    *,
    now_ms: int,
    context: Mapping[str, Any] | None = None,
    item_context: Sequence[Mapping[str, Any]] = (),
) -> Ask:
    """As `ask_of_list`, of row numbers that are known already."""
    ask = _of_user(parts, user, now_ms, rows.size)
    if context:
        _put_context(parts, ask, context)
    ask.listed = Listed(rows, item_context)
    return ask


def _of_user(parts: Parts, user: int, now_ms: int, k: int) -> Ask:
    clicked = parts.history.clicked(user)
    ask = Ask(user, now_ms, k, history=clicked)
    # A row starts at a random vector; only a click that is rewarded makes it say something of the user.
    if user >= 0 and clicked.size and parts.users.clicks[user] and is_usable(parts.users.data[user]):
        ask.vector = parts.users.data[user]
    return ask


def _hidden(models: Parts, ask: Ask, hide_ms: float) -> Int32:
    if hide_ms == inf or not hide_ms:
        return ask.history if hide_ms else ask.history[:0]
    # The newest stands last in a history, and first here.
    clicked_ms = models.history.recent_ts(ask.user, ask.history.size)[::-1]
    return ask.history[clicked_ms > ask.now_ms - hide_ms]


def _put_context(parts: Parts, ask: Ask, context: Mapping[str, Any]) -> Int32:
    """Put the context into the request; the rows of the item that the user looks at, -1 for an unknown."""
    ask.context = context
    # Other people's lists have any context.
    if not isinstance(item_id := context.get("item_id"), str):
        return np.zeros(0, np.int32)
    viewed = parts.items.find([item_id])
    ask.viewed = viewed[viewed >= 0]
    return viewed
