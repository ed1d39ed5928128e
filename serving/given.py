"""Candidates that the caller named: what may be shown of them, and by which rows policies know them.

A slate is built of their *places*, numbers from 0 in the order in which they came, for an item that nobody
has seen yet has no row. A policy is asked about rows all the same: what it believes of an unknown one is what
it believes of the row that the next new item gets, in which nothing is learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bandits import Context, Policy, Reach
from learning.parts import Parts
from serving.requests import RecommendRequest

__all__ = ["GIVEN", "Given", "given_of", "own_places"]

Bool = npt.NDArray[np.bool_]
Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]

GIVEN = "candidates"
"""What items are attributed to that the caller named; also the fallback where no scorer could order them."""

_EMPTY: Mapping[str, Any] = {}


class Given(NamedTuple):
    """What is left of a list, n distinct `items` in the order in which they came.

    `rows` (n,) are theirs, -1 for an unknown one; `known_as` (n,) those that policies are asked about.
    `contexts` is what came with each, or empty. `dropped` says of the others why: an item each.
    """

    items: list[str]
    rows: Int32
    known_as: Int32
    contexts: Sequence[Mapping[str, Any]]
    dropped: dict[str, str]

    def names(self, places: Int32) -> list[str]:
        """The items at these places."""
        return [self.items[place] for place in places.tolist()]

    def served(self, places: Int32) -> Int32:
        """The rows of the items at these places, as far as they have one."""
        rows = self.rows[places]
        return rows[rows >= 0]

    def logged(self, shown: Int32, others: Int32) -> dict[str, Any]:
        """What a decision says of the list beside its items: those at `shown`, and some at `others`."""
        contexts: list[Mapping[str, Any] | None] = []
        if self.contexts:
            contexts = [self.contexts[place] or None for place in (*shown.tolist(), *others.tolist())]
        return {"given": True, "dropped": self.dropped, "item_context": contexts if any(contexts) else None}

    def features_of(self, rows: Int32, places: Int32, features: Float32, width: int) -> Float32:
        """What the ranker saw of `rows` (m,), of `features` (n, F) by place, for a policy that was asked
        about the items at `places`; NaN where there is nothing."""
        if features.shape[1] and np.array_equal(rows, self.known_as[places]):
            return features[places]
        out = np.full((rows.size, width), np.nan, np.float32)
        if features.shape[1]:
            place_of = {row: place for place, row in reversed(list(enumerate(self.known_as.tolist())))}
            at = np.array([place_of.get(row, -1) for row in rows.tolist()], np.int32)
            out[at >= 0] = features[at[at >= 0]]
        return out


def given_of(models: Parts, asked: RecommendRequest, now_ms: int) -> Given:
    """What is left of a request's `candidates`: each once, without what may not be shown."""
    came = asked.candidates or []
    first = {item: place for place, item in reversed(list(enumerate(came)))}
    items = list(dict.fromkeys(came))
    rows = models.items.find(items)
    reasons = _reasons(models, asked, items, rows, now_ms)
    if len(items) < len(came):
        reasons |= {item: "repeated" for item, n in Counter(came).items() if n > 1 and item not in reasons}
    is_kept = np.array([reasons.get(item, "repeated") == "repeated" for item in items], np.bool_)
    items = [item for item, kept in zip(items, is_kept.tolist(), strict=True) if kept]
    rows = rows[is_kept]
    contexts: Sequence[Mapping[str, Any]] = ()
    if asked.item_context and any(asked.item_context):
        contexts = [asked.item_context[first[item]] or _EMPTY for item in items]
    known_as = np.where(rows < 0, models.items.size, rows).astype(np.int32)
    return Given(items, rows, known_as, contexts, reasons)


def _reasons(
    models: Parts, asked: RecommendRequest, items: list[str], rows: Int32, now_ms: int
) -> dict[str, str]:
    """Which items may not be shown, and why. What the user clicked is no reason: the list is the caller's."""
    c = models.catalogue
    listed = (rows >= 0) & (rows < c.size)
    at = rows[listed]
    known = c.known[at]
    deleted, away = np.zeros(rows.size, np.bool_), np.zeros(rows.size, np.bool_)
    deleted[listed] = known & c.deleted[at]
    away[listed] = known & ((now_ms < c.from_ms[at]) | (now_ms >= c.until_ms[at]))
    reasons = _named("deleted", items, deleted) | _named("unavailable", items, away & ~deleted)
    if asked.groups:
        inside = np.zeros(rows.size, np.bool_)
        inside[listed] = known & np.isin(c.group[at], c.group_codes(list(asked.groups)))
        reasons = _named("group", items, ~inside) | reasons
    viewed = (asked.context or _EMPTY).get("item_id")
    out = dict.fromkeys(asked.exclude or (), "excluded")
    if viewed is not None:
        out[viewed] = "viewed"
    return reasons | {item: out[item] for item in items if item in out} if out else reasons


def _named(reason: str, items: list[str], which: Bool) -> dict[str, str]:
    return {items[place]: reason for place in np.flatnonzero(which).tolist()}


def own_places(policy: Policy, context: Context, given: Given) -> Int32:
    """The places (m,) of what the policy has of its own in the list: all, unless it lists what it chooses
    from."""
    reach = policy.reach(context)
    if isinstance(reach, Reach):
        return np.arange(given.rows.size, dtype=np.int32)
    return np.flatnonzero((given.rows >= 0) & np.isin(given.rows, reach)).astype(np.int32)
