"""Bytes to events: rules, reasons, and nothing but our own errors."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.codec import (
    decode_events,
    decode_learned,
    decode_logged,
    encode_events,
    record_bytes,
    upgrade,
)
from stream.errors import EventError
from stream.events import (
    EVENT_SCHEMA,
    FIRST_TS,
    Click,
    Decision,
    Event,
    Forget,
    Impression,
    ItemEvent,
    LearnedImpression,
    LoggedEvent,
    Tick,
)
from stream.outbox import store_item_context
from stream.rules import MAX_NESTING, check_event, nesting
from stream.schema import event_components, json_schemas

DATA = Path(__file__).parent / "data"
T = 1_700_000_000_000
CLICK: dict[str, Any] = {"type": "click", "ts": T, "item_id": "a", "user_id": "u"}
SEEN: dict[str, Any] = {"type": "impression", "request_id": "r", "ts": T, "user_id": "u", "items": ["a", "b"]}
ITEM: dict[str, Any] = {"type": "item", "item_id": "a", "ts": T}
FORGET: dict[str, Any] = {"type": "forget", "user_id": "u", "ts": T}
DEEP = "[" * 40 + "]" * 40

# What a client sends, and how the reason for its refusal begins.
REFUSED: list[tuple[Any, str]] = [
    (CLICK | {"ts": "5"}, 'ts: expected int, got "5"'),
    (CLICK | {"ts": -1}, "ts: milliseconds expected (from 2001 to 2199), got -1"),
    (CLICK | {"ts": 7_260_000_000_000}, "ts: milliseconds expected"),
    (CLICK | {"ts": 10**30}, "ts: milliseconds expected"),
    (CLICK | {"ts": T + 0.5}, "ts: expected int, got 1700000000000.5"),
    (CLICK | {"ts": None}, "ts: expected int, got null"),
    (CLICK | {"item_id": ""}, 'item_id: expected str of length >= 1, got ""'),
    (CLICK | {"item_id": "x" * 257}, 'item_id: expected str of length <= 256, got "xxx'),
    (CLICK | {"item_id": "ü" * 129}, "item_id: expected at most 256 bytes of UTF-8, got 258"),
    (CLICK | {"item_id": 7}, "item_id: expected str, got 7"),
    (CLICK | {"user_id": None}, "user_id: expected user_id or request_id in a click, got neither"),
    (CLICK | {"value": 1e300}, "value: expected float <="),
    (CLICK | {"value": True}, "value: expected float | null, got true"),
    ({"type": "click", "item_id": "a"}, "ts: required, but missing"),
    (SEEN | {"items": []}, "items: expected array of length >= 1, got []"),
    (SEEN | {"items": [str(n) for n in range(1_001)]}, "items: expected array of length <= 1000, got 1001"),
    (SEEN | {"items": ["a", "b", "a"]}, 'items: expected distinct ids, got "a" twice'),
    (SEEN | {"items": ["a", 3]}, "items[1]: expected str, got 3"),
    (SEEN | {"items": ["ü" * 200]}, "items: expected at most 256 bytes"),
    (SEEN | {"propensities": [0.5]}, "propensities: expected one for each of 2 items, got 1"),
    (SEEN | {"propensities": [0.5, 0]}, "propensities[1]: expected float > 0"),
    (SEEN | {"propensities": [1.5, 1]}, "propensities[0]: expected float <= 1"),
    (
        SEEN | {"item_context": [{"price": 3.5}]},
        "item_context: expected an object or null for each of the 2 items of impression 'r', got 1",
    ),
    (SEEN | {"item_context": [{}, 5]}, "item_context[1]: expected object | null, got 5"),
    (SEEN | {"item_context": [{}, {"n": 10**30}]}, "item_context[1].n: expected a number of at most 64 bits"),
    (
        SEEN | {"item_context": [{}, {"t": "x" * 262_144}]},
        "item_context: expected at most 262144 bytes as JSON",
    ),
    (ITEM | {"vector": [1.0]}, "vector: expected 2 numbers, got 1"),
    (ITEM | {"vector": [1.0, 1e40]}, "vector[1]: expected float <="),
    (ITEM | {"attributes": []}, "attributes: expected object | null, got []"),
    (ITEM | {"attributes": json.loads(f'{{"a": {DEEP}}}')}, "event: expected at most 32 levels"),
    (ITEM | {"unknown": json.loads(DEEP)}, "event: expected at most 32 levels"),
    (FORGET | {"ts": T + 1_001}, "ts: expected at most 1700000001000"),
    ({"type": "tick", "ts": 5}, 'type: expected impression, click, item or forget, got "tick"'),
    ({"type": "decision", "ts": 5}, 'type: expected impression, click, item or forget, got "decision"'),
    ({"type": 4}, "type: expected impression, click, item or forget, got 4"),
    ({}, "type: expected impression, click, item or forget, got none"),
    (None, "event: expected object, got null"),
    ([1], "event: expected object, got [1]"),
]


def body(*events: Any, **more: Any) -> bytes:
    return json.dumps({"events": list(events), **more}, ensure_ascii=False).encode()


@pytest.mark.parametrize(("event", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_a_bad_event_is_refused_with_its_reason_and_the_good_ones_are_kept(event: Any, reason: str) -> None:
    decoded = decode_events(body(CLICK, event, FORGET), dimension=2, latest_ts=T + 1_000)
    assert [type(e) for e in decoded.events] == [Click, Forget]
    assert [r.index for r in decoded.rejected] == [1]
    assert decoded.rejected[0].reason.startswith(reason)
    assert json.loads(decoded.refused[0]) == event
    assert json.loads(record_bytes(decoded)) == [CLICK, FORGET]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"nonsense",
        b'{"events": {}}',
        b'{"events": [1,]}',
        b'{"events": [], "backfill": "yes"}',
        b'{"events": [' + b"[" * 100_000 + b"]}",
    ],
    ids=range(8),
)
def test_a_body_that_cannot_be_read_is_an_error(text: bytes) -> None:
    with pytest.raises(EventError, match="the body cannot be read: expected"):
        decode_events(text)


@pytest.mark.parametrize(
    ("field", "value", "unit"),
    [
        ("ts", T // 1_000, "seconds"),
        ("ts", T / 1_000 + 0.25, "seconds"),
        ("ts", T * 1_000, "microseconds"),
        ("ts", T * 1_000_000, "nanoseconds"),
        ("available_from", T // 1_000, "seconds"),
        ("available_until", T // 1_000, "seconds"),
        ("available_until", T * 1_000, "microseconds"),
    ],
)
@pytest.mark.parametrize("ndjson", [True, False])
def test_a_time_in_another_unit_is_refused_by_its_name(
    field: str, value: float, unit: str, ndjson: bool
) -> None:
    events = [ITEM, ITEM | {field: value}]
    text = "\n".join(map(json.dumps, events)).encode() if ndjson else body(*events)
    decoded = decode_events(text, ndjson=ndjson)
    [refusal] = decoded.rejected
    assert (len(decoded.events), refusal.index) == (1, 1)
    assert refusal.reason.startswith(f"{field}: milliseconds expected")
    assert f"looks like {unit}" in refusal.reason


@pytest.mark.parametrize("bound", [0, 253_402_300_799_000, 2**53, -(2**53)])
def test_a_bound_may_say_never_or_always(bound: int) -> None:
    event = ITEM | {"available_from": bound, "available_until": bound}
    assert decode_events(body(event)).rejected == []


def test_null_is_the_same_as_missing() -> None:
    bare, nulls = SEEN, SEEN | dict.fromkeys(["propensities", "policy", "context", "session_id", "source"])
    first, second = decode_events(body(bare, nulls, backfill=None)).events
    assert first == second


def test_unknown_fields_are_kept_as_they_were_written() -> None:
    event = b'{"type":"forget", "ts":1700000000005,"user_id":"u", "why" : [1, "\xc3\xbc"]}'
    decoded = decode_events(b'{"backfill": true, "events": [ %b ] }' % event)
    assert decoded.backfill
    assert record_bytes(decoded) == b"[%b]" % event
    assert decode_logged(record_bytes(decoded)) == decoded.events


@pytest.mark.parametrize("bad", [b'"\xff"', b'"\\ud800"'], ids=["not UTF-8", "half a surrogate pair"])
def test_text_that_is_none_is_refused_even_in_unknown_fields(bad: bytes) -> None:
    good = json.dumps(CLICK).encode()
    for field in (b"item_id", b"unknown"):
        text = b'{"type": "click", "ts": 1700000000000, "user_id": "u", "item_id": "a", "%s": %s}' % (
            field,
            bad,
        )
        decoded = decode_events(good + b"\n" + text, ndjson=True)
        assert (len(decoded.events), len(decoded.rejected)) == (1, 1)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'"cut off \\ud83d"', "x: expected JSON in UTF-8, got half a character"),
        (b'"\xff"', "x: expected JSON in UTF-8"),
        (b'"a\tb"', "x: expected JSON in UTF-8"),
        (b'"\\x, ]"', "x: expected JSON in UTF-8"),
        (b"NaN", "x: expected JSON in UTF-8, got text that cannot be read: JSON is malformed"),
        (b"1e400", ""),
        (b"[" * 100_000 + b"]" * 100_000, "event: expected at most 32 levels"),
    ],
    ids=["half an emoji", "not UTF-8", "a tab", "a wrong escape", "NaN", "a wide number", "deep"],
)
@pytest.mark.parametrize("n", [1, 5_000])
def test_what_no_parser_takes_costs_its_event_in_either_form(bad: bytes, reason: str, n: int) -> None:
    good = json.dumps(CLICK).encode()
    broken = b'{"type": "click", "ts": 1700000000005, "user_id": "u", "item_id": "a", "x": %s}' % bad
    events = [good] * n + [broken, good]
    as_json = decode_events(b'{"backfill": false, "events": [%s]}' % b",".join(events))
    as_lines = decode_events(b"\n".join(events), ndjson=True)
    assert as_json == as_lines and as_json.raw == [good] * (n + 1) and as_json.refused == [broken]
    assert as_json.rejected[0].index == n and as_json.rejected[0].reason.startswith(reason)


def test_numbers_that_no_machine_holds_are_refused_by_field() -> None:
    wide = b"1" * 400
    shown = b'{"type": "impression", "ts": 1700000000005, "user_id": "u", "request_id": "r", "items": ["a"]'
    texts = [
        b'{"type": "item", "ts": 1700000000005, "item_id": "a", "attributes": {"x": [%s]}}' % wide,
        shown + b', "context": {"features": [%s]}}' % wide,
        b'{"type": "click", "ts": %s, "user_id": "u", "item_id": "a"}' % wide,
        b'{"type": "click", "ts": 1700000000005, "user_id": "u", "item_id": "a", "value": %s}' % wide,
    ]
    decoded = decode_events(b"\n".join(texts), ndjson=True)
    fields = [rejection.reason.partition(":")[0] for rejection in decoded.rejected]
    assert fields == ["attributes.x[0]", "context.features[0]", "ts", "value"]


def test_lines_are_events_and_blank_ones_are_nothing() -> None:
    lines = [json.dumps(CLICK), "", "broken{", "  ", json.dumps(FORGET) + "\r", json.dumps(CLICK) * 2]
    decoded = decode_events("\n".join(lines).encode(), ndjson=True)
    assert [type(event) for event in decoded.events] == [Click, Forget]
    assert [rejection.index for rejection in decoded.rejected] == [1, 3]


def test_brackets_in_strings_are_no_nesting() -> None:
    assert nesting(rb'{"a": "[[\"[[", "b\\": "[", "c": [{}]}') == 3
    tame = ITEM | {"attributes": {"a": "[" * 100}}
    assert decode_events(body(tame, tame)).rejected == []


def test_an_event_may_be_as_deep_as_stated() -> None:
    deep = ITEM | {
        "attributes": json.loads('{"a": ' + "[" * (MAX_NESTING - 2) + "]" * (MAX_NESTING - 2) + "}")
    }
    assert decode_events(body(deep)).rejected == []


def test_a_log_is_read_as_an_array_or_one_object() -> None:
    decision = Decision(
        request_id="r", ts=1, user_id="u", items=["a"], propensities=[1.0], policy="p", features=b"\0\1"
    )
    events: list[LoggedEvent] = [decision, Tick(ts=2)]
    assert decode_logged(encode_events(events)) == events
    assert decode_logged(b' {"type": "tick", "ts": 2}') == [Tick(ts=2)]


@pytest.mark.parametrize("record", [b"", b"[", b'[{"type": "nothing"}]', b"[" * 100_000])
def test_a_damaged_record_is_an_error(record: bytes) -> None:
    with pytest.raises(EventError, match="the record cannot be read"):
        decode_logged(record)


def test_a_record_of_a_newer_schema_is_not_guessed_at() -> None:
    with pytest.raises(EventError, match="use the one that wrote the record"):
        upgrade(EVENT_SCHEMA + 1, b"[]")


@pytest.mark.parametrize("schema", range(1, EVENT_SCHEMA + 1))
def test_every_older_schema_stays_readable(schema: int) -> None:
    lines = (DATA / f"events-v{schema}.jsonl").read_bytes().splitlines()
    events = [event for line in lines for event in decode_logged(line, schema)]
    assert {type(event) for event in events} == {Impression, Click, ItemEvent, Forget, Decision, Tick}
    assert [decode_logged(encode_events([event])) for event in events] == [[event] for event in events]


def test_an_event_built_in_python_meets_the_same_rules() -> None:
    check_event(Impression(request_id="r", ts=T, user_id="u", items=["a"]))
    for wrong in (
        Click(ts=-5, item_id="a", user_id="u"),
        Click(ts=T, item_id="a"),
        Click(ts=T, item_id="\ud800", user_id="u"),
        ItemEvent(item_id="a", ts=T, attributes={"a": json.loads(DEEP)}),
        ItemEvent(item_id="a", ts=T, attributes={"a": object()}),
    ):
        with pytest.raises(EventError):
            check_event(wrong)


def test_schemas_say_what_the_codec_checks() -> None:
    schemas = json_schemas()
    items = schemas["impression"]["properties"]["items"]
    assert (items["minItems"], items["maxItems"], items["uniqueItems"]) == (1, 1_000, True)
    assert schemas["click"]["properties"]["ts"]["minimum"] == FIRST_TS
    assert schemas["click"]["anyOf"] == [{"required": ["user_id"]}, {"required": ["request_id"]}]
    assert {*event_components()} == {"Impression", "Click", "ItemEvent", "Forget", "Feed"}


# A fuzzer: whatever comes in, events, rejections or an EventError come out.

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutants(draw: st.DrawFn) -> Any:
    """An event with a few fields replaced, added or left out."""
    event = dict(draw(st.sampled_from([CLICK, SEEN, ITEM, FORGET])))
    for field in draw(
        st.lists(st.sampled_from([*event, "vector", "context", "propensities", "value"]), max_size=3)
    ):
        if draw(st.booleans()):
            event[field] = draw(values)
        else:
            event.pop(field, None)
    return event


def survives(text: bytes, *, ndjson: bool) -> None:
    try:
        decoded = decode_events(text, ndjson=ndjson, dimension=2, latest_ts=2 * T)
    except EventError:
        return
    assert len(decoded.raw) == len(decoded.events)
    assert decode_logged(record_bytes(decoded)) == decoded.events
    for event in decoded.events:
        check_event(event, dimension=2, latest_ts=2 * T)


@settings(max_examples=150, deadline=None)
@given(st.lists(mutants(), max_size=3), st.booleans())
def test_mutated_events_are_accepted_or_refused(events: list[Any], ndjson: bool) -> None:
    survives(b"\n".join(map(msgspec.json.encode, events)) if ndjson else body(*events), ndjson=ndjson)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans())
def test_mutated_bytes_are_accepted_or_refused(data: st.DataObject, ndjson: bool) -> None:
    text = bytearray(body(CLICK, SEEN | {"context": {"f": [1.5, "é\\"]}}, ITEM))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"[", b"}", b"\\u", b"1e999", b"null", b"NaN"])
        )
    survives(bytes(text), ndjson=ndjson)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.booleans())
def test_noise_is_accepted_or_refused(noise: bytes, ndjson: bool) -> None:
    survives(noise, ndjson=ndjson)


@settings(max_examples=50, deadline=None)
@given(st.lists(mutants(), max_size=4))
def test_one_decoding_for_all_agrees_with_one_by_one(events: list[Any]) -> None:
    together = decode_events(body(*events))
    alone: list[Event] = [event for one in events for event in decode_events(body(one)).events]
    assert together.events == alone


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (gzip.compress(b'{"events": []}', mtime=0), "compressed"),
        (b'\xef\xbb\xbf{"events": []}', "byte order mark"),
    ],
)
def test_a_body_that_is_no_json_comes_with_the_probable_reason(body: bytes, words: str) -> None:
    with pytest.raises(EventError, match=words):
        decode_events(body)


@pytest.mark.parametrize("auto", [True, False])
def test_the_learner_reads_all_that_a_decision_teaches(auto: bool) -> None:
    decision = Decision(
        request_id="r", ts=5, user_id="u", items=["a", "ä"], propensities=[0.5, 0.25], policy="p",
        clusters=[3], weights=[1.0], features=b"1234", others=["c"], sources=["graph"], scores=[0.1],
        explored=[1], auto=auto, item_context=[{"price": 3}, None, {}],
    )  # fmt: skip
    [learned] = decode_learned(encode_events([decision]))
    unread = {"sources", "scores", "item_context"} if auto else set()
    for name in set(Decision.__struct_fields__) - unread:
        assert getattr(learned, name) == getattr(decision, name)
    assert isinstance(learned, Decision)
    assert store_item_context(learned.item_context) == b'[{"price":3},null,{}]'
    assert (learned == decision) is not auto


def test_what_is_known_of_a_lists_items_has_a_limit_of_its_own() -> None:
    known = [{"text": "x" * 100_000}, None]
    decoded = decode_events(body(SEEN | {"item_context": known}), object_bytes=100)
    [learned] = decode_learned(record_bytes(decoded))
    assert isinstance(learned, LearnedImpression)
    assert json.loads(bytes(learned.item_context)) == known and decoded.rejected == []


def test_the_learner_refuses_what_is_no_event() -> None:
    with pytest.raises(EventError, match="cannot be read"):
        decode_learned(b'[{"type":"decision","request_id":"r"}]')
