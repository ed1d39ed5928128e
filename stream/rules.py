"""The rules of events that a JSON Schema cannot express, and the reasons given for a refusal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from stream.errors import EventError
from stream.events import (
    FIRST_TS,
    LAST_TS,
    MAX_ID_BYTES,
    MAX_SLATE,
    MAX_VALUE,
    Click,
    Decision,
    Event,
    Impression,
    ItemEvent,
    Tick,
)
from stream.times import TIME_FIELDS, broken_instant, broken_ts, not_ms
from stream.wide_numbers import may_be_wide, wide_number

__all__ = [
    "MAX_ITEM_CONTEXT_BYTES",
    "MAX_NESTING",
    "MAX_OBJECT_BYTES",
    "broken_item_context",
    "broken_own_rule",
    "broken_rule",
    "check_event",
    "hint",
    "large_object",
    "nesting",
    "reason_of",
    "too_deep",
]

MAX_NESTING = 32
"""Levels of arrays and objects in one event: few enough for any parser at any depth of its stack."""

MAX_OBJECT_BYTES = 16_384
"""Largest `context` or `attributes` as JSON, unless the settings say otherwise: what a client makes up is
kept as long as its slate or item is."""

MAX_ITEM_CONTEXT_BYTES = 262_144
"""Largest `item_context` as JSON: 256 for each item of the longest list. Slates that wait for their clicks
keep it, within `join.max_pending_mb`."""

_ONE = 1.0 + 1e-9
"""A probability that was summed up may be above 1 by rounding."""

_TYPES = "expected impression, click, item or forget"
_NO_BRACKETS = bytes(set(range(256)) - set(b'"[]{}'))
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")  # gzip, zstd
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NOT_FINITE = re.compile(rb"[:\[,]\s*(?:NaN|-?Infinity)\b")


def nesting(text: bytes) -> int:
    """Levels of arrays and objects in a JSON text, brackets inside strings left out.

    Example:
        >>> nesting(b'{"a": [[1], "]]]"], "b": {}}')
        3
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    bare = b"".join(text.translate(None, _NO_BRACKETS).split(b'"')[::2])
    codes = np.frombuffer(bare, np.uint8)
    # In ASCII, bit 2 is set in the closing bracket and brace (5d, 7d), not in the opening ones (5b, 7b).
    steps = 1 - (codes & 4).astype(np.int64) // 2
    return int(np.cumsum(steps).max(initial=0))


def broken_rule(
    event: Event,
    *,
    dimension: int | None = None,
    latest_ts: int | None = None,
    ascii_only: bool = False,
    object_bytes: int | None = None,
) -> str | None:
    """The rule that a decoded event breaks, as a reason, or None.

    `dimension`: what `vector` must have, if anything. `latest_ts`: the largest `ts` accepted now, in ms.
    `ascii_only` says that the text had no other characters, so lengths in bytes need no second look.
    `object_bytes`: the most that `context` or `attributes` may take as JSON; None: decided before.
    """
    if event.ts < FIRST_TS:
        return f"ts: {broken_ts(event.ts)}"
    if latest_ts is not None and event.ts > latest_ts:
        return f"ts: expected at most {latest_ts} (the present and a little more), got {event.ts}"
    if not ascii_only and (reason := _long_id(event)) is not None:
        return reason
    if type(event) is Click:
        if event.user_id is None and event.request_id is None:
            return "user_id: expected user_id or request_id in a click, got neither"
    elif type(event) is Impression:
        reason = large_object("context", event.context, object_bytes) or _broken_slate(event)
        return reason or _broken_contexts(event, object_bytes)
    elif type(event) is ItemEvent:
        return _broken_item(event, dimension) or large_object("attributes", event.attributes, object_bytes)
    return None


def _broken_item(item: ItemEvent, dimension: int | None) -> str | None:
    vector = item.vector
    if vector is not None and len(vector) != (dimension or len(vector)):
        return f"vector: expected {dimension} numbers, got {len(vector)}"
    for field, bound in (("available_from", item.available_from), ("available_until", item.available_until)):
        if bound is not None and (reason := broken_instant(bound)) is not None:
            return f"{field}: {reason}"
    return None


def large_object(field: str, value: Any, most: int | None) -> str | None:
    """Why an object of a client's making is too large to be kept, or a number in it is, or None.

    Example:
        >>> large_object("context", {"page": "x" * 50}, 40)
        'context: expected at most 40 bytes as JSON, got 61'
    """
    if most is None or not value:
        return None
    text = msgspec.json.encode(value)
    if len(text) > most:
        return f"{field}: expected at most {most} bytes as JSON, got {len(text)}"
    return wide_number(field, value) if may_be_wide(text) else None


def _broken_contexts(event: Impression, object_bytes: int | None) -> str | None:
    if event.item_context is None:
        return None
    most = None if object_bytes is None else MAX_ITEM_CONTEXT_BYTES
    return broken_item_context(event.item_context, event.items, most, f"impression {event.request_id!r}")


def broken_item_context(
    contexts: Sequence[Any], items: Sequence[str], most: int | None, whose: str
) -> str | None:
    """Why what is said of each item of a list does not fit the list, or is too large to be kept, or None.

    Example:
        >>> broken_item_context([{"price": 3.5}], ["a", "b"], None, "impression 'r1'")
        "item_context: expected an object or null for each of the 2 items of impression 'r1', got 1"
    """
    if len(contexts) != len(items):
        return (
            f"item_context: expected an object or null for each of the {len(items)} items of {_cut(whose)}, "
            f"got {len(contexts)}"
        )
    return large_object("item_context", contexts, most)


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:40]}..."


_numbers = attrgetter(*(f.name for f in msgspec.structs.fields(Decision) if f.type in (int, int | None)))


def broken_own_rule(event: Decision | Tick) -> str | None:
    """What an event that only Freshet writes has that Freshet never writes, as a reason, or None.

    Where others may write into the log, such an event must not stop whoever reads it, nor bend a figure.

    Example:
        >>> broken_own_rule(Tick(ts=-1))
        'ts: expected milliseconds from 0 to 7260000000000, got -1'
    """
    if not 0 <= event.ts < LAST_TS:
        return f"ts: expected milliseconds from 0 to {LAST_TS}, got {event.ts}"
    if isinstance(event, Tick):
        return None
    reason = _broken_ids(event) or _broken_odds(event)
    if reason is None and event.item_context is not None:
        both = [*event.items, *event.others]
        reason = broken_item_context(event.item_context, both, None, f"decision {event.request_id!r}")
    if reason is not None:
        return reason
    if any(not -(2**63) <= value < 2**63 for value in _numbers(event) if type(value) is int):
        return "decision: expected whole numbers of 64 bits"
    return None


def _broken_ids(decision: Decision) -> str | None:
    items, others = decision.items, decision.others
    n = len(items)
    # None: nothing could be shown, and the answer is logged all the same.
    if n > MAX_SLATE or len(set(items)) != n:
        return f"items: expected up to {MAX_SLATE} distinct ids, got {n} of which {len(set(items))} differ"
    request_id, user_id = decision.request_id, decision.user_id
    longest = max(map(len, (*items, *others, request_id, user_id)))
    # Only long text can be over the limit in bytes: a character is at most four.
    if 4 * longest > MAX_ID_BYTES or not request_id or not user_id or "" in items or "" in others:
        named = (("request_id", [request_id]), ("user_id", [user_id]), ("items", items), ("others", others))
        for name, ids in named:
            sizes = [len(text.encode("utf-8", "surrogatepass")) for text in ids]
            if not all(1 <= size <= MAX_ID_BYTES for size in sizes):
                return f"{name}: expected 1 to {MAX_ID_BYTES} bytes of UTF-8, got {max(sizes)}"
    if not all(0 <= place < n for place in decision.explored):
        return f"explored: expected places from 0 to {n - 1}, got {_short(decision.explored)}"
    return None


def _broken_odds(decision: Decision) -> str | None:
    """What is wrong with a decision's probabilities and its context."""
    n, odds, clusters, weights = (
        len(decision.items),
        decision.propensities,
        decision.clusters,
        decision.weights,
    )
    if len(odds) != n:
        return f"propensities: expected one for each of {n} items, got {len(odds)}"
    if odds and not (min(odds) > 0.0 and max(odds) <= _ONE):
        return f"propensities: expected numbers above 0 and at most 1, got {_short(odds)}"
    if len(clusters) != len(weights) or not all(0 <= c < 2**31 for c in clusters):
        return "clusters: expected a number below 2**31 for each of the weights"
    if weights and not (min(weights) >= -MAX_VALUE and max(weights) <= MAX_VALUE):
        return f"weights: expected finite numbers, got {_short(weights)}"
    features = None if decision.context is None else decision.context.get("features")
    if features is not None and not _are_numbers(features):
        return f"context.features: expected finite numbers, got {_short(features)}"
    return None


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) in (int, float) and -MAX_VALUE <= value <= MAX_VALUE for value in values
    )


def _broken_slate(impression: Impression) -> str | None:
    items, propensities = impression.items, impression.propensities
    if len(set(items)) != len(items):
        seen: set[str] = set()
        twice = next(item for item in items if item in seen or seen.add(item))  # type: ignore[func-returns-value]
        return f"items: expected distinct ids, got {_short(twice)} twice"
    if propensities is not None and len(propensities) != len(items):
        return f"propensities: expected one for each of {len(items)} items, got {len(propensities)}"
    return None


def _long_id(event: Event) -> str | None:
    for field in event.__struct_fields__:
        value = getattr(event, field)
        texts = value if field == "items" else (value,)
        if type(value) is not str and field != "items":
            continue
        for text in texts:
            if 4 * len(text) > MAX_ID_BYTES and len(text.encode()) > MAX_ID_BYTES:
                return f"{field}: expected at most {MAX_ID_BYTES} bytes of UTF-8, got {len(text.encode())}"
    return None


def check_event(event: Event, *, dimension: int | None = None, latest_ts: int | None = None) -> None:
    """Hold an event that was built in Python against every rule of the schema.

    Raises:
        EventError: the rule that it breaks: which field, what was expected, what came.

    Example:
        >>> check_event(Click(ts=1_700_000_000_000, item_id="a"))
        Traceback (most recent call last):
            ...
        stream.errors.EventError: user_id: expected user_id or request_id in a click, got neither
    """
    try:
        text = msgspec.json.encode(event)
        msgspec.json.decode(text, type=type(event))
    except msgspec.ValidationError as error:
        raise EventError(reason_of(error, text)) from error
    except (UnicodeEncodeError, TypeError, RecursionError) as error:
        msg = f"the event cannot be written as JSON: {error}"
        raise EventError(msg) from error
    if nesting(text) > MAX_NESTING:
        raise EventError(too_deep(nesting(text)))
    reason = broken_rule(event, dimension=dimension, latest_ts=latest_ts)
    if reason is not None:
        raise EventError(reason)


def too_deep(levels: int) -> str:
    """The reason for refusing an event of so many levels."""
    return f"event: expected at most {MAX_NESTING} levels of arrays and objects, got {levels}"


def reason_of(error: Exception, text: bytes) -> str:
    """Say of a decoding error in one event which field, what was expected, and what came.

    Example:
        >>> text = b'{"type": "click", "ts": 1700000000000, "item_id": 5}'
        >>> try:
        ...     msgspec.json.decode(text, type=Event)
        ... except msgspec.ValidationError as error:
        ...     reason_of(error, text)
        'item_id: expected str, got 5'
    """
    if not isinstance(error, msgspec.ValidationError):
        return f"event: expected JSON in UTF-8, got bytes that cannot be read: {error}"
    said, _, path = str(error).replace("`", "").partition(" - at $")
    field = path.removeprefix(".") or "event"
    if said.startswith("Object missing required field "):
        field = said.removeprefix("Object missing required field ")
        return f"type: {_TYPES}, got none" if field == "type" else f"{field}: required, but missing"
    value = _at(text, path)
    # Of an array that is too long its length is what its sender must know, not how it begins.
    came = str(len(value)) if value and isinstance(value, list) and "of length" in said else _short(value)
    if field == "type":
        return f"type: {_TYPES}, got {came}"
    if field in TIME_FIELDS and type(value) in (int, float) and not FIRST_TS <= value < LAST_TS:
        return f"{field}: {not_ms(value)}"
    expected = said.partition(", got ")[0]
    if expected.startswith("Expected "):
        return f"{field}: e{expected[1:]}, got {came}"
    return f"{field}: {expected[:1].lower()}{expected[1:]}, got {came}"


def hint(text: bytes) -> str:
    """What probably went wrong with a text that is no JSON, to stand behind the message; often nothing.

    Example:
        >>> hint(b'{"value": NaN}')
        '; JSON knows no NaN and no Infinity: leave the field out or send null'
    """
    if text.startswith(_COMPRESSED):
        return "; it is compressed: send it as it is"
    if text.startswith(_BYTE_ORDER_MARK):
        return "; it starts with a byte order mark: send UTF-8 without one"
    if _NOT_FINITE.search(text):
        return "; JSON knows no NaN and no Infinity: leave the field out or send null"
    return ""


def _at(text: bytes, path: str) -> Any:
    """The value at a path like ``.items[3]``; as far as the path leads, where a step of it is not known."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.Raw(b"something unreadable")
    for key, index in _STEP.findall(path):
        try:
            value = value[key] if key else value[int(index)]
        except (KeyError, IndexError, TypeError):
            break
    return value


def _short(value: Any) -> str:
    """A value as it stood in the text, cut short."""
    text = bytes(value).decode() if isinstance(value, msgspec.Raw) else msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"
