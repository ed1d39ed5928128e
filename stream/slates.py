"""From decisions and impressions to slates that count as shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from stream.blocks import Slate
from stream.events import Decision, Impression
from stream.outbox import OpenSlate, store_context, store_item_context

__all__ = ["decided_slate", "foreign_slate", "item_contexts", "pick_features"]

_objects = msgspec.json.Decoder(list[dict[str, Any] | None])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_NONE = msgspec.Raw(b"null")


def foreign_slate(impression: Impression) -> OpenSlate:
    """Somebody else's slate: its features, if it gets any, are the learner's."""
    slate = OpenSlate(
        request_id=impression.request_id,
        user_id=impression.user_id,
        ts=impression.ts,
        items=impression.items,
        propensities=impression.propensities,
        policy=impression.policy or "",
        context=store_context(impression.context),
        placement=impression.placement,
    )
    if known := impression.item_context:
        slate.item_context = store_item_context(known)
    return slate


def decided_slate(decision: Decision, ts: int | None = None, items: list[str] | None = None) -> OpenSlate:
    """The decision as it was shown: whole at its own time, or only `items`, in their order, at `ts`.

    Whatever belongs to an item travels with it to its new place. An item that the decision does not know was
    shown all the same: its propensity is None, its features are NaN and it was not explored.
    """
    slate = OpenSlate(
        request_id=decision.request_id,
        user_id=decision.user_id,
        ts=decision.ts if ts is None else ts,
        items=decision.items,
        propensities=decision.propensities,  # type: ignore[arg-type]
        decided=True,
        policy=decision.policy,
        eligible=decision.eligible,
        clusters=decision.clusters,
        weights=decision.weights,
        context=store_context(decision.context),
        features=decision.features,
        feature_schema=decision.feature_schema,
        others=decision.others,
        explored=decision.explored,
        placement=decision.placement,
    )
    if known := decision.item_context:
        stored = store_item_context(known)
        slate.item_context = _pick_contexts(stored, range(len(decision.items))) if decision.others else stored
    if items is not None and items != decision.items:
        _rearrange(slate, items)
    return slate


def _rearrange(slate: OpenSlate, items: list[str]) -> None:
    place = {item: at for at, item in enumerate(slate.items)}
    was = [place.get(item, -1) for item in items]
    known = slate.propensities or []
    slate.propensities = [known[at] if 0 <= at < len(known) else None for at in was]
    # `explored` lists places.
    explored = set(slate.explored)
    slate.explored = [now for now, at in enumerate(was) if at in explored]
    slate.features = pick_features(slate.features, was, len(slate.items), len(slate.others))
    slate.item_context = _pick_contexts(slate.item_context, was)
    slate.items = items


def item_contexts(slate: Slate) -> Sequence[Mapping[str, Any]]:
    """What is known of each item in this list, an object for each place; nothing where nothing came.

    Example:
        >>> known = Slate(request_id="r", user_id="u", ts=7, items=["a", "b"], item_context=b'[{"p":1},null]')
        >>> item_contexts(known)
        [{'p': 1}, {}]
    """
    if not slate.item_context:
        return ()
    try:
        found = _objects.decode(slate.item_context)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ()  # of somebody else's making: whoever sends such a list through the door is told
    return [one or {} for one in found] if len(found) == len(slate.items) else ()


def _pick_contexts(stored: bytes, places: Sequence[int]) -> bytes:
    """The JSON array of those places of another, null for -1."""
    if not stored:
        return b""
    found = _raws.decode(stored)
    return msgspec.json.encode([found[at] if 0 <= at < len(found) else _NONE for at in places])


def pick_features(features: bytes, places: Sequence[int], n_shown: int, n_others: int) -> bytes:
    """Rows `places` of the shown items (-1: a row of NaN) followed by the rows of the others.

    `features` is float32, little-endian, of shape (n_shown + n_others, F); the answer has the shape
    (len(places) + n_others, F). Bytes of another shape give no features at all.
    """
    n_rows = n_shown + n_others
    if not features or n_rows == 0 or len(features) % (4 * n_rows):
        return b""
    rows = np.frombuffer(features, "<f4").reshape(n_rows, -1)
    picked = np.full((len(places) + n_others, rows.shape[1]), np.nan, "<f4")
    at = np.array(places, np.intp)
    picked[np.flatnonzero(at >= 0)] = rows[at[at >= 0]]
    picked[len(places) :] = rows[n_shown:]
    return picked.tobytes()
