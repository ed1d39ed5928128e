"""Records of other people's topics become events, or dead letters that say why and where."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshet.config import load_settings
from learning.errors import SettingsError
from stream.events import FIRST_TS, LAST_TS, Click, Impression, ItemEvent
from stream.kafka.mapping import ForeignRecord, Mapped, SourceMapping
from stream.kafka.sources import SourceSettings

CLICKS = SourceSettings("click", {"user_id": "who.id", "item_id": "what", "ts": "at"}, topic="shop.clicks")
AT = 1_700_000_000_000


def _map(source: SourceSettings, value: Any, key: bytes | None = None) -> Mapped:
    body = value if value is None or isinstance(value, bytes) else msgspec.json.encode(value)
    return SourceMapping([source]).on_records([ForeignRecord(source.topic, 3, 41, AT, key, body)])


def _reason(source: SourceSettings, value: Any) -> str:
    (letter,) = _map(source, value).letters
    assert letter.place == f"{source.topic}/3/41"
    return letter.reason


def test_names_and_paths_are_followed() -> None:
    (event,) = _map(CLICKS, {"who": {"id": "ann"}, "what": "tea", "at": AT}).events
    assert event == Click(ts=AT, item_id="tea", user_id="ann")


def test_numbers_serve_as_ids_and_constants_are_added() -> None:
    source = msgspec.structs.replace(CLICKS, constants={"kind": "purchase", "value": 5})
    (event,) = _map(source, {"who": {"id": 7}, "what": 12, "at": AT}).events
    assert event == Click(ts=AT, item_id="12", user_id="7", kind="purchase", value=5.0)


def test_a_list_of_objects_gives_a_slate() -> None:
    fields: dict[str, str | dict[str, str]] = {
        "request_id": "$key",
        "user_id": "user",
        "items": "shown.*.product.id",
    }
    source = SourceSettings("impression", fields, topic="pages")
    shown = [{"product": {"id": number}} for number in (3, 1)]
    (event,) = _map(source, {"user": "ann", "shown": shown}, key=b"r1").events
    assert event == Impression(request_id="r1", ts=AT, user_id="ann", items=["3", "1"])


def test_an_element_of_a_list_and_a_name_with_dots_can_be_meant() -> None:
    source = SourceSettings("forget", {"user_id": "ids.1", "ts": "meta.at"}, topic="t")
    mapped = _map(source, {"ids": ["a", "b"], "meta.at": AT})
    assert [msgspec.to_builtins(event) for event in mapped.events] == [
        {"type": "forget", "user_id": "b", "ts": AT}
    ]


def test_only_records_that_where_holds_for_are_taken() -> None:
    source = msgspec.structs.replace(CLICKS, where={"action": "click"})
    good = {"who": {"id": "ann"}, "what": "tea", "at": AT}
    taken = [len(_map(source, good | more).events) for more in ({"action": "click"}, {"action": "view"}, {})]
    assert taken == [1, 0, 0]
    assert _map(source, {"action": "view"}).letters == []


@pytest.mark.parametrize(
    ("wanted", "value"), [(True, True), ("true", True), ("True", "TRUE"), (7, 7.0), ("7", 7)]
)
def test_where_takes_booleans_and_numbers_whichever_way_they_are_written(wanted: Any, value: Any) -> None:
    source = msgspec.structs.replace(CLICKS, where={"ok": wanted})
    good = {"who": {"id": "ann"}, "what": "tea", "at": AT}
    assert [len(_map(source, good | {"ok": ok}).events) for ok in (value, False, None)] == [1, 0, 0]


def test_how_often_where_held_is_counted_for_each_source() -> None:
    source = msgspec.structs.replace(CLICKS, where={"ok": True})
    mapping = SourceMapping([source])
    bodies = [
        msgspec.json.encode({"who": {"id": "u"}, "what": "i", "at": AT, "ok": ok}) for ok in (True, False)
    ]
    mapping.on_records([ForeignRecord("shop.clicks", 0, n, AT, None, body) for n, body in enumerate(bodies)])
    [tally] = mapping.tallies("shop.clicks")
    assert (tally.source, tally.held, tally.passed_over) == ("shop.clicks, click where ok = true", 1, 1)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("value", "2.5", 2.5), ("user_id", 7.0, "7"), ("ts", f"{AT}.0", AT),
        ("ts", "2023-11-14T22:13:20Z", AT), ("session_id", 12, "12"),
    ],
)  # fmt: skip
def test_values_mean_what_they_mean_in_files(name: str, value: Any, found: Any) -> None:
    source = SourceSettings("click", {"item_id": "i", "user_id": "u", name: "it"}, topic="t")
    (event,) = _map(source, {"i": "a", "u": "b", "it": value}).events
    assert getattr(event, name) == found


def test_one_topic_can_feed_two_kinds_of_events() -> None:
    views = msgspec.structs.replace(CLICKS, where={"a": "view"}, constants={"kind": "view"})
    buys = msgspec.structs.replace(CLICKS, where={"a": "buy"}, constants={"kind": "buy"})
    body = msgspec.json.encode({"who": {"id": "ann"}, "what": "tea", "at": AT, "a": "buy"})
    mapping = SourceMapping([views, buys])
    (event,) = mapping.on_records([ForeignRecord("shop.clicks", 0, 0, AT, None, body)]).events
    assert mapping.topics == ("shop.clicks",)
    assert isinstance(event, Click)
    assert event.kind == "buy"


def test_a_key_without_a_value_withdraws_an_item() -> None:
    source = SourceSettings("item", {"item_id": "$key", "group": "category"}, topic="products")
    (event,) = _map(source, None, key=b"tea").events
    assert event == ItemEvent(item_id="tea", ts=AT, deleted=True)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", "record: expected a JSON object, got bytes that cannot be read"),
        (b"[1]", "record: expected a JSON object, got list"),
        (None, "record: expected a JSON object, got no value"),
        ({"what": "tea", "at": AT}, "user_id: expected user_id or request_id in a click, got neither"),
        ({"who": {"id": "ann"}, "at": AT}, "item_id: required, but missing (mapped from what)"),
        ({"who": {"id": ["x"]}, "what": "tea", "at": AT}, "(mapped from who.id)"),
        (
            {"who": {"id": "ann"}, "what": "tea", "at": "noon"},
            'ts: expected a time in ms, got "noon" (mapped from at)',
        ),
        ({"who": {"id": "ann"}, "what": "tea", "at": -5}, "ts: milliseconds expected"),
        (
            {"who": {"id": "ann"}, "what": "tea", "at": AT // 1_000},
            "looks like seconds: times 1000 (mapped from at)",
        ),
        ({"who": {"id": "x" * 300}, "what": "tea", "at": AT}, "user_id: expected"),
    ],
)
def test_what_cannot_be_an_event_is_a_letter_with_its_reason(value: Any, reason: str) -> None:
    assert reason in _reason(CLICKS, value)


def test_one_bad_record_costs_no_other() -> None:
    good = msgspec.json.encode({"who": {"id": "ann"}, "what": "tea", "at": AT})
    records = [ForeignRecord("shop.clicks", 0, n, AT, None, b"{" if n == 1 else good) for n in range(3)]
    mapped = SourceMapping([CLICKS]).on_records(records)
    assert (len(mapped.events), len(mapped.raw)) == (2, 2)
    assert [letter.place for letter in mapped.letters] == ["shop.clicks/0/1"]


@settings(max_examples=60, deadline=None)
@given(st.integers(FIRST_TS, LAST_TS - 1))
def test_every_unit_of_time_means_the_same_instant(ts: int) -> None:
    iso = datetime.fromtimestamp(ts / 1_000, UTC).isoformat(timespec="milliseconds")
    units: dict[str, Any] = {
        "ms": ts,
        "s": ts / 1_000,
        "us": ts * 1_000 + 7,
        "ns": ts * 1_000_000 + 7,
        "iso": iso,
    }
    for unit, at in units.items():
        source = msgspec.structs.replace(CLICKS, time=unit)
        (event,) = _map(source, {"who": {"id": "ann"}, "what": "tea", "at": at}).events
        assert event.ts == ts, unit


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "who", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries({}, optional={"who": anything, "what": anything, "at": anything})
    | st.binary(max_size=9)
)
def test_any_record_is_one_event_or_one_letter_and_never_an_exception(value: Any) -> None:
    mapped = _map(CLICKS, value)
    listed = value.get("what") if isinstance(value, dict) else None
    # A list of what was clicked is as many clicks, and an empty one none.
    most = len(listed) if isinstance(listed, list) else 1
    assert min(most, 1) <= len(mapped.events) + len(mapped.letters) <= most
    assert len(mapped.raw) == len(mapped.events)


def test_sources_stand_in_the_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "freshet.toml"
    file.write_text(
        '[[kafka.sources]]\ntopic = "clicks"\ntype = "click"\ntime = "s"\nconstants = {kind = "buy"}\n'
        'fields = {user_id = "who", item_id = "what.id"}\n'
    )
    (source,) = load_settings(file, {}).kafka.sources
    assert (source.topic, source.time, source.constants) == ("clicks", "s", {"kind": "buy"})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('fields = {user_id = "who"}', "expected where item_id of click stands"),
        ('fields = {item_id = "x", colour = "c"}', "got colour"),
        ('fields = {item_id = "x"}\nconstants = {item_id = "y"}', "got one in both"),
        ('fields = {item_id = "$value"}', "expected a path, $key or $timestamp, got $value"),
    ],
)
def test_a_source_that_cannot_be_is_refused_by_name(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "freshet.toml"
    file.write_text(f'[[kafka.sources]]\ntopic = "clicks"\ntype = "click"\n{line}\n')
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {})
    assert said in str(caught.value)
