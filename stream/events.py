"""The events of the public contract, and the two that Freshet writes itself.

Public: `Impression`, `Click`, `ItemEvent`, `Forget`. Internal: `Decision` (what `recommend` logged before it
answered) and `Tick` (time, written into the log by an engine). All are JSON objects told apart by ``type``. A
missing field and ``null`` are the same. Unknown fields are kept in the log and never learned.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Raw, Struct

__all__ = [
    "EVENT_SCHEMA",
    "FIRST_TS",
    "LAST_TS",
    "MAX_ID_BYTES",
    "MAX_SLATE",
    "MAX_VALUE",
    "Click",
    "Decision",
    "Event",
    "Forget",
    "Impression",
    "ItemEvent",
    "LearnedDecision",
    "LearnedImpression",
    "LoggedEvent",
    "Tick",
]

EVENT_SCHEMA = 1
"""Number of the current event schema; every older number stays readable."""

MAX_ID_BYTES = 256
MAX_SLATE = 1_000

FIRST_TS = 978_307_200_000
"""Times of clients are ms from this on, the year 2001: what is smaller was meant in seconds."""

LAST_TS = 7_260_000_000_000
"""Times are before this, the year 2200; microseconds are beyond it."""

MAX_VALUE = 1e15
"""Largest number of a value or a vector, either way: its square is still a float32."""

# The rules that JSON Schema can express are checked while decoding; `stream.rules` checks the others.
_Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_BYTES, description="1 to 256 bytes of UTF-8")]
_Label = Annotated[str, Meta(max_length=MAX_ID_BYTES)]
# A log may hold smaller times, of a program that took them; `stream.rules` refuses them from clients.
_Time = Annotated[
    int,
    Meta(
        lt=LAST_TS,
        description="milliseconds since 1970-01-01 UTC, from 2001 on",
        extra_json_schema={"minimum": FIRST_TS},
    ),
]
_NOT_MS = [
    {"minimum": 1 - FIRST_TS, "maximum": -1},
    {"minimum": 1, "exclusiveMaximum": FIRST_TS},
    {"minimum": FIRST_TS * 1_000, "exclusiveMaximum": LAST_TS * 1_000},
]
_Instant = Annotated[
    int,
    Meta(
        ge=-(2**53),
        le=2**53,
        description="milliseconds since 1970-01-01 UTC; 0 and times far away are no bound",
        extra_json_schema={"not": {"anyOf": _NOT_MS}},
    ),
]
_Number = Annotated[float, Meta(ge=-MAX_VALUE, le=MAX_VALUE)]
_Probability = Annotated[float, Meta(gt=0, le=1)]
_Items = Annotated[
    list[_Id],
    Meta(
        min_length=1,
        max_length=MAX_SLATE,
        description="in the order shown",
        extra_json_schema={"uniqueItems": True},
    ),
]
_Propensities = Annotated[
    list[_Probability | None], Meta(description="one for each item, null where unknown")
]
_ItemContext = Annotated[
    list[dict[str, Any] | None],
    Meta(
        max_length=MAX_SLATE,
        description="an object or null for each of `items`: what is known of it in this list (the price "
        "shown, a badge); at most 256 KiB as JSON",
    ),
]


class Impression(Struct, tag="impression", tag_field="type", kw_only=True, gc=False):
    """A slate that was shown to a user.

    After a decision of the same `request_id` only the required fields count; without one it is somebody
    else's slate: it teaches embeddings, and never enters off-policy evaluation.
    """

    request_id: _Id
    ts: _Time
    user_id: _Id
    items: _Items
    item_context: _ItemContext | None = None
    propensities: _Propensities | None = None
    policy: _Label | None = None
    context: dict[str, Any] | None = None
    source: _Label | None = None
    placement: _Label | None = None
    session_id: _Id | None = None
    experiment: _Label | None = None


class LearnedImpression(Impression, tag="impression", tag_field="type", kw_only=True, gc=False):
    """An impression as the learner reads it: what is known of its items stays JSON."""

    item_context: Raw = Raw(b"")  # type: ignore[assignment]


class Click(Struct, tag="click", tag_field="type", kw_only=True, gc=False):
    """A user's reaction to an item; attributed when it names a `request_id`, organic otherwise."""

    ts: _Time
    item_id: _Id
    user_id: _Id | None = None
    request_id: _Id | None = None
    kind: _Label | None = None
    value: _Number | None = None
    event_id: _Id | None = None
    session_id: _Id | None = None


class ItemEvent(Struct, tag="item", tag_field="type", kw_only=True, gc=False):
    """An item as it now is; replaces what was known of it as a whole."""

    item_id: _Id
    ts: _Time
    group: _Label | None = None
    vector: list[_Number] | None = None
    available_from: _Instant | None = None
    available_until: _Instant | None = None
    deleted: bool | None = None
    attributes: dict[str, Any] | None = None


class Forget(Struct, tag="forget", tag_field="type", kw_only=True, gc=False):
    """Erase a user: rows and history at once, outcomes not newer than `ts` now and on re-delivery."""

    user_id: _Id
    ts: _Time


class Decision(Struct, tag="decision", tag_field="type", kw_only=True, gc=False, omit_defaults=True):
    """What `recommend` decided, logged before it answered.

    `features` holds little-endian float32 bytes, shape (n_shown + n_others, n_features): what the ranker
    saw of the shown items and of a few candidates that were not shown (`others`); `feature_schema` is the
    id of the list of their names (`learners.feature_schema`), empty in records of before. `item_context` is
    what the request said of the same items, shown ones first: an object or null for each. `given` says that
    the request named the candidates, and `dropped` why it got some of them not. `clusters` and
    `weights` are the context the policy used; `eligible` counts all items that could have been shown (0:
    not told); learning uses these and never recomputes them. `auto` says that the slate counts as shown;
    otherwise it waits for the client's impression. `absorbed_at` and its two siblings, which are the
    marks of items and policies, `stale`, `fallback` and the scores are there so that the same answer can
    be given again.
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
    feature_schema: str = ""
    others: list[str] = []
    item_context: list[dict[str, Any] | None] | None = None
    given: bool = False
    dropped: dict[str, str] = {}
    sources: list[str] = []
    scores: list[float] = []
    explored: list[int] = []
    propensity_kind: str = "exact"
    draws: int = 0
    eligible: int = 0
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
    absorbed_at: int = 0
    items_absorbed_at: int = 0
    policies_absorbed_at: int = 0
    trained_absorbed_at: int = 0
    stale: bool = False
    body_digest: str = ""


class LearnedDecision(Decision, tag="decision", tag_field="type", kw_only=True, gc=False, omit_defaults=True):
    """A decision as the learner reads it: what is there only to give the same answer again stays JSON."""

    sources: Raw = Raw(b"[]")  # type: ignore[assignment]
    scores: Raw = Raw(b"[]")  # type: ignore[assignment]
    item_context: Raw = Raw(b"")  # type: ignore[assignment]


class Tick(Struct, tag="tick", tag_field="type", kw_only=True, gc=False):
    """The passing of time, as the engine wrote it into the log; the watermark is the last one's `ts`."""

    ts: int


Event = Impression | Click | ItemEvent | Forget
"""What a client may send."""

LoggedEvent = Impression | Click | ItemEvent | Forget | Decision | Tick
"""What a log may hold."""
