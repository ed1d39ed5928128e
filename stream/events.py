"""The events of the public contract, and the two that Freshet writes itself.

Public: `Impression`, `Click`, `ItemEvent`, `Forget`. Internal: `Decision` (what `recommend` logged before it
answered) and `Tick` (time, written into the log by an engine). All are JSON objects told apart by ``type``. A
missing field and ``null`` are the same. Unknown fields are kept in the log and never learned.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = [
    "EVENT_SCHEMA",
    "MAX_ID_BYTES",
    "MAX_SLATE",
    "Click",
    "Decision",
    "Event",
    "Forget",
    "Impression",
    "ItemEvent",
    "LoggedEvent",
    "Tick",
]

EVENT_SCHEMA = 1
"""Number of the current event schema; every older number stays readable."""

MAX_ID_BYTES = 256
MAX_SLATE = 1_000


class Impression(msgspec.Struct, tag="impression", tag_field="type", kw_only=True, gc=False):
    """A slate that was shown to a user.

    After a decision of the same `request_id` only the required fields count; without one it is somebody
    else's slate: it teaches embeddings, and never enters off-policy evaluation.
    """

    request_id: str
    ts: int
    user_id: str
    items: list[str]
    propensities: list[float | None] | None = None
    policy: str | None = None
    context: dict[str, Any] | None = None
    source: str | None = None
    placement: str | None = None
    session_id: str | None = None
    experiment: str | None = None


class Click(msgspec.Struct, tag="click", tag_field="type", kw_only=True, gc=False):
    """A user's reaction to an item; attributed when it names a `request_id`, organic otherwise."""

    ts: int
    item_id: str
    user_id: str | None = None
    request_id: str | None = None
    kind: str | None = None
    value: float | None = None
    event_id: str | None = None
    session_id: str | None = None


class ItemEvent(msgspec.Struct, tag="item", tag_field="type", kw_only=True, gc=False):
    """An item as it now is; replaces what was known of it as a whole."""

    item_id: str
    ts: int
    group: str | None = None
    vector: list[float] | None = None
    available_from: int | None = None
    available_until: int | None = None
    deleted: bool | None = None
    attributes: dict[str, Any] | None = None


class Forget(msgspec.Struct, tag="forget", tag_field="type", kw_only=True, gc=False):
    """Erase a user: rows and history at once, outcomes not newer than `ts` now and on re-delivery."""

    user_id: str
    ts: int


class Decision(msgspec.Struct, tag="decision", tag_field="type", kw_only=True, gc=False, omit_defaults=True):
    """What `recommend` decided, logged before it answered.

    `features` holds float32 bytes, little-endian, of shape (n_shown + n_others, n_features): what the ranker
    saw of the shown items and of a few candidates that were not shown (`others`). `clusters` and `weights`
    are the context the policy used; learning uses these and never recomputes them. `auto` says that the slate
    counts as shown; otherwise it waits for the client's impression.
    """

    request_id: str
    ts: int
    user_id: str
    items: list[str]
    propensities: list[float]
    policy: str
    clusters: list[int] = []
    weights: list[float] = []
    context: dict[str, Any] | None = None
    features: bytes = b""
    others: list[str] = []
    sources: list[str] = []
    scores: list[float] = []
    explored: list[int] = []
    propensity_kind: str = "exact"
    draws: int = 0
    seed: int = 0
    auto: bool = True
    graph_version: int = 0
    centroids_version: int = 0
    policy_version: int = 0
    index_version: int = 0
    placement: str | None = None
    session_id: str | None = None
    experiment: str | None = None
    fallback: str | None = None
    body_digest: str = ""


class Tick(msgspec.Struct, tag="tick", tag_field="type", kw_only=True, gc=False):
    """The passing of time, as the engine wrote it into the log; the watermark is the last one's `ts`."""

    ts: int


Event = Impression | Click | ItemEvent | Forget
"""What a client may send."""

LoggedEvent = Impression | Click | ItemEvent | Forget | Decision | Tick
"""What a log may hold."""
