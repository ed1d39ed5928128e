"""What callers send to `recommend` and what the routes answer: structs, checked, encoded and shown."""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from serving.errors import FieldError, UnreadableError
from stream.envelope import unreadable_member
from stream.events import FIRST_TS, LAST_TS, MAX_ID_BYTES, MAX_SLATE, MAX_VALUE
from stream.rules import MAX_ITEM_CONTEXT_BYTES, MAX_OBJECT_BYTES, reason_of
from stream.times import broken_ts
from stream.wide_numbers import may_be_wide, wide_number

__all__ = [
    "MAX_EXCLUDE",
    "AcceptedAnswer",
    "ClusterView",
    "DroppedView",
    "EdgeView",
    "FigureValue",
    "FigureView",
    "HealthAnswer",
    "ItemAnswer",
    "MarksView",
    "MeasuresAnswer",
    "NeighbourView",
    "NeighboursAnswer",
    "ReadyAnswer",
    "RecentView",
    "RecommendAnswer",
    "RecommendRequest",
    "RejectedView",
    "Shown",
    "UserAnswer",
    "Versions",
    "body_digest",
    "decode_recommend",
]

MAX_EXCLUDE = 10_000
_MAX_FEATURES = 4_096
_MAX_DEPTH = 32

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_BYTES)]
Ts = Annotated[int, Meta(lt=LAST_TS, extra_json_schema={"minimum": FIRST_TS})]
Mark = Annotated[int, Meta(ge=0, lt=LAST_TS)]
_Candidates = Annotated[
    list[Id],
    Meta(max_length=MAX_SLATE, description="rank, explore and log these instead of what is retrieved"),
]
_Reason = Annotated[
    str, Meta(description="repeated, deleted, unavailable, excluded, viewed (`context.item_id`) or group")
]
_ItemContext = Annotated[
    list[dict[str, Any] | None],
    Meta(
        max_length=MAX_SLATE,
        description="an object or null for each of `candidates`: what is known of it in this list (the price "
        "shown, a badge); at most 256 KiB as JSON",
    ),
]


class RecommendRequest(msgspec.Struct, kw_only=True, frozen=True):
    """Body of ``POST /v1/recommend``. A missing field and null are the same; unknown fields are ignored."""

    user_id: Id
    k: Annotated[int, Meta(ge=1, le=MAX_SLATE)] | None = None
    request_id: Id | None = None
    ts: Ts | None = None
    after: Mark | None = None
    context: dict[str, Any] | None = None
    candidates: _Candidates | None = None
    item_context: _ItemContext | None = None
    exclude: Annotated[list[Id], Meta(max_length=MAX_EXCLUDE)] | None = None
    groups: Annotated[list[Id], Meta(max_length=MAX_EXCLUDE)] | None = None
    placement: Id | None = None
    session_id: Id | None = None
    experiment: Id | None = None
    policy: Id | None = None
    activate: Literal["auto", "explicit"] | None = None


class Shown(msgspec.Struct, gc=False):
    """One item of an answer, in the order to show them."""

    item_id: str
    propensity: float
    score: float
    source: str
    explored: bool


class DroppedView(msgspec.Struct):
    """A candidate of the request that is not in the answer, or is once though it came twice."""

    item_id: str
    reason: _Reason


class MarksView(msgspec.Struct, gc=False):
    """Up to which `accepted_at` (ms) events are in the rows: of this user, of all items, of all policies, and
    in what learns whole lists (the ranker).

    0: nobody has said it yet.
    """

    users: int
    items: int
    policies: int
    trained: int


class Versions(msgspec.Struct, gc=False):
    """What the answer was made from; each number only grows."""

    index: int
    policy: int
    graph: int
    marks: MarksView


class RecommendAnswer(msgspec.Struct, gc=False, omit_defaults=True):
    """Answer of ``POST /v1/recommend``; `dropped` is there where a candidate of the request was."""

    request_id: str
    items: list[Shown]
    policy: str
    versions: Versions
    absorbed_at: int
    stale: bool
    fallback: str | None
    dropped: list[DroppedView] = []


class RejectedView(msgspec.Struct):
    """An event of the batch that was refused, by its place in it."""

    index: int
    reason: str


class AcceptedAnswer(msgspec.Struct):
    """Answer of ``POST /v1/events``: everything that is not rejected is durable.

    `rejected` lists the first thousand of the `n_rejected` that were refused.
    """

    accepted: int
    accepted_at: int
    rejected: list[RejectedView]
    n_rejected: int


class EdgeView(msgspec.Struct):
    """One edge of the policy: centroid id and its two numbers."""

    cluster: int
    b: float
    d: float


class ItemAnswer(msgspec.Struct):
    """An item as it is served here; a `deleted` one is known and never shown.

    `policies` holds what each policy knows of the item, by its name; the fields are its own.
    """

    item_id: str
    group: str | None
    deleted: bool
    clicks: int
    impressions: int
    version: int
    absorbed_at: int
    age_ms: int
    edges: list[EdgeView]
    policies: dict[str, Any]
    attributes: dict[str, Any]


class FigureValue(msgspec.Struct):
    """A number with what tells it apart from others of its family, such as its policy or part."""

    labels: dict[str, str]
    value: float


class FigureView(msgspec.Struct):
    """A family of numbers that a measure shows; in `/metrics` it is `freshet_<name>`."""

    name: str
    what: str
    values: list[FigureValue]


class MeasuresAnswer(msgspec.Struct):
    """What the measures show of all that was learned up to `absorbed_at`."""

    absorbed_at: int
    figures: list[FigureView]


class RecentView(msgspec.Struct):
    """An item that a user reacted to, newest first."""

    item_id: str
    ts: int


class ClusterView(msgspec.Struct):
    """A centroid near the user and its weight."""

    cluster: int
    weight: float


class UserAnswer(msgspec.Struct):
    """A user as served here."""

    user_id: str
    clicks: int
    impressions: int
    version: int
    absorbed_at: int
    clusters: list[ClusterView]
    recent: list[RecentView]


class NeighbourView(msgspec.Struct):
    """A near item and its cosine similarity."""

    item_id: str
    score: float


class NeighboursAnswer(msgspec.Struct):
    """Answer of ``GET /v1/items/{id}/neighbours``, nearest first."""

    item_id: str
    neighbours: list[NeighbourView]


class HealthAnswer(msgspec.Struct):
    """Answer of ``/healthz``."""

    status: str
    worker: str
    version: str


class ReadyAnswer(msgspec.Struct):
    """Answer of ``/readyz``: with 503 `why` says what is missing, with 200 what is amiss besides."""

    ready: bool
    why: str
    seq: int
    absorbed_at: int
    lag_ms: int
    marks: MarksView


class _Sized(msgspec.Struct):
    context: msgspec.Raw = msgspec.Raw()
    item_context: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(RecommendRequest)
_sized = msgspec.json.Decoder(_Sized)
_canonical = msgspec.json.Encoder(order="deterministic")


def decode_recommend(body: bytes, object_bytes: int = MAX_OBJECT_BYTES) -> RecommendRequest:
    """Read and check the body of a recommend request, whose `context` takes at most `object_bytes` as JSON.

    Raises:
        UnreadableError: it is no JSON, or nested too deeply.
        FieldError: a field does not fit; the message names it.

    Example:
        >>> decode_recommend(b'{"user_id": "u", "k": 3}').k
        3
        >>> decode_recommend(b'{"user_id": "u", "k": 0}')
        Traceback (most recent call last):
        ...
        serving.errors.FieldError: field 'k': expected int >= 1, got 0
    """
    try:
        if len(body) > object_bytes:
            sized = _sized.decode(body)
            _check_size("context", sized.context, object_bytes)
            _check_size("item_context", sized.item_context, MAX_ITEM_CONTEXT_BYTES)
        request = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise FieldError(_named(error, body)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # One text that cannot be read costs its field, as it costs its event elsewhere: it is named.
        if (named := unreadable_member(body)) is not None:
            raise FieldError(_quoted(named)) from error
        msg = f"body: expected a JSON object in UTF-8, could not read it: {error}"
        raise UnreadableError(msg) from error
    except RecursionError as error:
        msg = "body: it is nested too deeply to be read; flatten it"
        raise UnreadableError(msg) from error
    _check_times(request)
    _check_bytes(request)
    if request.context is not None:
        if may_be_wide(body) and (wide := wide_number("context", request.context)):
            raise FieldError(_quoted(wide))
        _check_context(request.context)
    if request.item_context is not None:
        _check_item_context(request, body)
    return request


def body_digest(request: RecommendRequest) -> str:
    """What tells one request from another under the same id: all fields but `request_id`, `ts` and `after`.

    A client that tries again may have moved on in time; it still asks for the same thing.

    Example:
        >>> a = RecommendRequest(user_id="u", request_id="r", after=1)
        >>> body_digest(a) == body_digest(RecommendRequest(user_id="u", ts=7))
        True
        >>> body_digest(a) == body_digest(RecommendRequest(user_id="u", k=7))
        False
    """
    fields: tuple[Any, ...] = (
        request.user_id,
        request.k,
        request.context or None,
        request.exclude or None,
        request.groups or None,
        request.placement,
        request.session_id,
        request.policy,
        request.activate,
    )
    # Decisions that were logged before there was this field keep their digest.
    if request.experiment is not None:
        fields = (*fields, request.experiment)
    if request.candidates is not None:
        fields = (*fields, {"candidates": request.candidates, "item_context": request.item_context})
    return blake2b(_canonical.encode(fields), digest_size=8).hexdigest()


def _named(error: msgspec.ValidationError, body: bytes) -> str:
    field, _, reason = reason_of(error, body).partition(": ")
    if field == "event":
        return f"body: {reason}"
    if field == "activate":
        reason = f"expected auto or explicit, {reason[reason.rfind('got ') :]}"
    return f"field '{field}': {reason}"


def _check_times(request: RecommendRequest) -> None:
    if request.ts is not None and (reason := broken_ts(request.ts)) is not None:
        msg = f"field 'ts': {reason}"
        raise FieldError(msg)
    # 0 waits for nothing, in any unit.
    if request.after and (reason := broken_ts(request.after)) is not None:
        msg = f"field 'after': {reason}"
        raise FieldError(msg)


def _quoted(reason: str) -> str:
    field, _, rest = reason.partition(": ")
    return f"field '{field}': {rest}"


def _check_bytes(request: RecommendRequest) -> None:
    for name in ("user_id", "request_id", "placement", "session_id", "experiment", "policy"):
        value = getattr(request, name)
        # Only long text can be over the limit in bytes: a character is at most four.
        if value is not None and 4 * len(value) > MAX_ID_BYTES:
            _check_id(name, value)
    for name in ("candidates", "exclude", "groups"):
        for value in getattr(request, name) or ():
            if 4 * len(value) > MAX_ID_BYTES:
                _check_id(name, value)


def _check_id(name: str, value: str) -> None:
    size = len(value.encode("utf-8", "surrogatepass"))
    if size > MAX_ID_BYTES:
        msg = f"field '{name}': expected 1 to {MAX_ID_BYTES} bytes of UTF-8, got {size}"
        raise FieldError(msg)


def _check_size(name: str, value: msgspec.Raw, most: int) -> None:
    """Before anything is made of it: as objects it may take thirty times the memory."""
    if len(bytes(value)) > most:
        msg = f"field '{name}': expected at most {most} bytes as JSON, got {len(bytes(value))}"
        raise FieldError(msg)


def _check_item_context(request: RecommendRequest, body: bytes) -> None:
    contexts, candidates = request.item_context or [], request.candidates
    if candidates is None:
        msg = "field 'item_context': expected candidates beside it, got none"
        raise FieldError(msg)
    if len(contexts) != len(candidates):
        expected = f"an object or null for each of the {len(candidates)} candidates"
        msg = f"field 'item_context': expected {expected}, got {len(contexts)}"
        raise FieldError(msg)
    if may_be_wide(body) and (wide := wide_number("item_context", contexts)):
        raise FieldError(_quoted(wide))
    if _depth(contexts, _MAX_DEPTH) < 0:
        msg = f"field 'item_context': it is nested more than {_MAX_DEPTH} deep; flatten it"
        raise FieldError(msg)


def _check_context(context: dict[str, Any]) -> None:
    if _depth(context, _MAX_DEPTH) < 0:
        msg = f"field 'context': it is nested more than {_MAX_DEPTH} deep; flatten it"
        raise FieldError(msg)
    features = context.get("features")
    if features is not None:
        fits = isinstance(features, list) and len(features) <= _MAX_FEATURES
        if not fits or not all(type(x) in (int, float) and -MAX_VALUE <= x <= MAX_VALUE for x in features):
            came = f"{len(features)} values" if isinstance(features, list) else type(features).__name__
            most = f"{_MAX_FEATURES} finite numbers up to {MAX_VALUE:g}"
            msg = f"field 'context.features': expected at most {most}, got {came}"
            raise FieldError(msg)
    item_id = context.get("item_id")
    if item_id is not None and not (isinstance(item_id, str) and item_id):
        msg = "field 'context.item_id': expected the id of an item"
        raise FieldError(msg)


def _depth(value: Any, left: int) -> int:
    """What is left of a depth of `left` below `value`; negative when it is nested deeper."""
    if left < 0 or not isinstance(value, dict | list):
        return left
    inner = value.values() if isinstance(value, dict) else value
    return min((_depth(item, left - 1) for item in inner), default=left)
