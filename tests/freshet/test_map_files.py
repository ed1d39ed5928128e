"""A team's own files become events by a map: each format, several events a row, and every kind of bad row."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from freshet.cli import app
from freshet.feeding import Row, read_rows
from freshet.feeding.files import FedFile
from freshet.feeding.map_file import load_map
from freshet.feeding.mapped_rows import MappedRows
from learning.errors import SettingsError
from stream.errors import EventError

T = 1_700_000_000_000
MAP = """
[[sources]]                    # the click stands before its list here, and comes after it
type = "click"
where = { did = ["search", "list"], picked = "*" }
time = "s"
fields = { request_id = "$row", ts = "at", user_id = "who", item_id = "picked" }

[[sources]]
type = "impression"
where = { did = ["search", "list"] }
time = "s"
separator = "|"
fields.request_id = "$row"
fields.ts = "at"
fields.user_id = "who"
fields.items = "shown"
fields.item_context = { price = "prices" }
fields.context = { device = "on", n = "n" }

[[sources]]
type = "click"
where = { did = "photo" }
time = "s"
constants = { value = 2 }
fields = { event_id = "$row", ts = "at", user_id = "who", item_id = "picked", kind = "did" }
"""
PRICES = [12.5, None]
ROWS: list[dict[str, Any]] = [
    {"at": 1_700_000_000, "who": 7, "did": "search", "shown": ["a", "b"], "picked": "b", "on": "tv", "n": 3},
    {"at": 1_700_000_001, "who": 7, "did": "photo", "shown": None, "picked": "a", "on": "tv", "n": None},
    {"at": 1_700_000_002, "who": 8, "did": "list", "shown": ["c"], "picked": None, "on": None, "n": 4},
    {"at": 1_700_000_003, "who": 8, "did": "sorted", "shown": None, "picked": "x", "on": None, "n": None},
]
for _row in ROWS:
    _row["prices"] = PRICES if _row["did"] == "search" else None


def _joined(values: list[Any]) -> str:
    return "|".join("" if value is None else str(value) for value in values)


def as_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: _joined(v) if isinstance(v, list) else v for k, v in row.items()})


def as_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {
    "log.csv": as_csv,
    "log.jsonl": as_jsonl,
    "log.parquet": as_parquet,
}


def mapped(path: Path, text: str) -> MappedRows:
    file = path.with_name("map.toml")
    file.write_text(text)
    return load_map(file).of(path)


def read(path: Path, text: str) -> list[Row]:
    return list(read_rows(path, mapped=mapped(path, text)))


def events(path: Path, text: str) -> list[dict[str, Any]]:
    rows = read(path, text)
    assert [row.reason for row in rows if row.reason is not None] == []
    return [json.loads(row.body) for row in rows]


@pytest.mark.parametrize("name", WRITERS)
def test_rows_become_lists_and_the_clicks_on_them_in_that_order(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, ROWS)
    first = {"request_id": f"{name}:1", "ts": T, "user_id": "7"}
    beside = {"context": {"device": "tv", "n": 3}, "item_context": [{"price": 12.5}, {}]}
    photo = {"event_id": f"{name}:2", "ts": T + 1_000, "user_id": "7", "item_id": "a"}
    third = {"request_id": f"{name}:3", "ts": T + 2_000, "user_id": "8"}
    assert events(tmp_path / name, MAP) == [
        {"type": "impression", **first, "items": ["a", "b"], **beside},
        {"type": "click", **first, "item_id": "b"},
        {"type": "click", **photo, "kind": "photo", "value": 2},
        {"type": "impression", **third, "items": ["c"], "context": {"n": 4}},
    ]


def test_what_is_none_of_the_events_is_counted_and_a_source_that_never_holds_is_named(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "log.jsonl", ROWS[1:])
    rows = mapped(tmp_path / "log.jsonl", MAP.replace('did = ["search", "list"], ', 'did = "serach", '))
    assert len(list(rows.rows())) == 2
    assert rows.findings() == [
        "1 of 3 rows are none of the map's events: no `where` holds for them",
        "sources[1], impression where did = search or list: nothing stands at on, prices in any row",
        "sources[0], click where did = serach and picked = *: held for none of 3 rows; "
        'at did stands "photo", "list", "sorted"',
    ]


CLICKS = """
[[sources]]
type = "click"
separator = " "
fields = { event_id = "order", ts = "at", user_id = "who", item_id = "lines.*.sku", value = "lines.*.price" }
"""


def test_a_list_where_one_item_is_wanted_is_a_click_on_each(tmp_path: Path) -> None:
    lines = [{"sku": 3, "price": 1.5}, {"sku": 4}]
    as_jsonl(tmp_path / "log.jsonl", [{"order": "o", "at": T, "who": "u", "lines": lines}])
    one = {"type": "click", "ts": T, "user_id": "u"}
    assert events(tmp_path / "log.jsonl", CLICKS) == [
        one | {"event_id": "o.1", "item_id": "3", "value": 1.5},
        one | {"event_id": "o.2", "item_id": "4"},
    ]


@pytest.mark.parametrize(("name", "labels"), [("log.csv", "0 1 1"), ("log.jsonl", [0, 1, 1])])
def test_labels_beside_a_list_pick_the_clicked_ones(tmp_path: Path, name: str, labels: Any) -> None:
    fields = 'fields = { request_id = "$row", ts = "at", user_id = "who", item_id = "shown" }'
    text = f'[[sources]]\ntype = "click"\nwhere = {{ clicked = 1 }}\nseparator = " "\n{fields}'
    WRITERS[name](tmp_path / name, [{"at": T, "who": "u", "shown": "a b c", "clicked": labels}])
    assert [event["item_id"] for event in events(tmp_path / name, text)] == ["b", "c"]


GOOD = {"at": 1_700_000_000, "who": 7, "did": "search", "shown": ["a", "b"], "picked": "b"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"at": None}, "ts: required, but missing (mapped from at)"),
        ({"at": "noon"}, 'ts: expected a time in s, got "noon" (mapped from at)'),
        (
            {"at": T * 1_000},
            f"in s from 2001 to 2199, got {T * 1_000} (mapped from at); this looks like us: write",
        ),
        ({"at": T}, f'got {T} (mapped from at); this looks like ms: write time = "ms"'),
        ({"who": [7]}, "user_id: expected text or a whole number, got [7] (mapped from who)"),
        (
            {"who": None},
            'user_id: required, but missing (mapped from who); where = { "who" = "*" } passes over',
        ),
        (
            {"shown": "a;b"},
            'items: expected JSON, got "a;b" (mapped from shown); if it is a list as text, say',
        ),
        ({"shown": ["a", "a"]}, "(mapped from shown); keep the first, and take the others out"),
        ({"shown": 4}, "items: expected a list, got 4 (mapped from shown)"),
        (
            {"picked": {"id": 4}},
            'item_id: expected text or a whole number, got {"id":4} (mapped from picked)',
        ),
        (
            {"prices": [1, 2, 3]},
            "for price, as many as items, got 3 (mapped from prices); write null for an item that has none",
        ),
        ({"prices": "cheap"}, 'item_context: expected a list of 2 for price, as many as items, got "cheap"'),
        ({"picked": "x" * 300}, "item_id: expected"),
    ],
)
def test_a_row_of_which_one_event_cannot_be_is_refused_whole_and_costs_no_other(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    as_jsonl(tmp_path / "log.jsonl", [GOOD, GOOD | row, GOOD])
    rows = read(tmp_path / "log.jsonl", MAP.replace('separator = "|"\n', ""))
    assert [(row.number, row.reason is None) for row in rows] == [
        *[(0, True), (0, True), (1, False), (2, True), (2, True)],
    ]
    assert reason in str(rows[2].reason)
    assert "; by sources[" in str(rows[2].reason)


def test_seconds_that_are_taken_for_ms_are_told_with_what_to_write(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "log.jsonl", [GOOD])
    [row] = read(tmp_path / "log.jsonl", MAP.replace('time = "s"\n', ""))
    assert str(row.reason).endswith(
        'got 1700000000 (mapped from at); this looks like s: write time = "s"; '
        "by sources[1], impression where did = search or list"
    )


@pytest.mark.parametrize(("body", "reason"), [(b"[[1]]", "expected a JSON object"), (b"{]", "expected JSON")])
def test_a_row_that_is_no_object_is_named(tmp_path: Path, body: bytes, reason: str) -> None:
    (tmp_path / "log.jsonl").write_bytes(body + b"\n")
    assert [reason in str(row.reason) for row in read(tmp_path / "log.jsonl", MAP)] == [True]


def test_a_cell_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(
        b"at,who,did,shown,picked,on,n,prices\n1700000000,J\xf6rg,search,a,a,,,\n"
    )
    [row] = read(tmp_path / "log.csv", MAP)
    assert row.reason == "who: expected UTF-8, got b'J\\xf6rg'; save the file as UTF-8"


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_a_column_that_is_not_there_is_named_before_any_row(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, ROWS)
    with pytest.raises(EventError, match=r"sources\[0\] of the map names pickd; .*did you mean picked\?"):
        read(tmp_path / name, MAP.replace('"picked"', '"pickd"'))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('type = "impression"', 'type = "impresion"', "sources[1].type: expected one of impression, "),
        ('time = "s"', 'tine = "s"', "there is no sources[0].tine; did you mean time?"),
        ('user_id = "who", item_id = "picked" }', 'itm = "picked" }', "got itm"),
        ("$row", "$line", "sources[0]: expected a path or $row, got $line"),
        ('fields.items = "shown"', 'fields.items = { id = "shown" }', "one path for items, got a table"),
        ('fields.items = "shown"', "", "sources[1]: expected where items of impression stands, got nothing"),
        (MAP, "x = 1", "expected at least one [[sources]], got x"),
        (MAP, "[[sources", "expected TOML in UTF-8"),
        ('[[sources]]', '[[sources]]\nfile = "*.tsv"', "expected a name like *.tsv, got log.csv"),
    ],
)  # fmt: skip
def test_a_map_that_cannot_work_is_refused_by_name(tmp_path: Path, old: str, new: str, reason: str) -> None:
    with pytest.raises(SettingsError) as error:
        mapped(tmp_path / "log.csv", MAP.replace(old, new))
    assert reason in str(error.value)


@pytest.mark.parametrize("history", [True, False])
def test_a_feed_that_stopped_goes_on_behind_the_events_sent_unless_the_map_is_another(
    tmp_path: Path, *, history: bool
) -> None:
    as_jsonl(tmp_path / "log.jsonl", ROWS)

    def fed(text: str) -> FedFile:
        (tmp_path / "map.toml").write_text(text)
        file_map = load_map(tmp_path / "map.toml")
        return FedFile(tmp_path / "log.jsonl", None, history=history, restart=False, file_map=file_map)

    fed(MAP).sent(1)  # the list of the first row, and not the click on it
    assert [json.loads(timed.row.body).get("item_id") for timed in fed(MAP).rows()] == ["b", "a", None]
    assert fed(MAP + "# changed").start == 0


def test_a_replay_of_such_a_file_joins_the_clicks_to_their_lists(tmp_path: Path) -> None:
    as_parquet(tmp_path / "log.parquet", [*ROWS, ROWS[0] | {"at": None}])
    (tmp_path / "map.toml").write_text(MAP)
    (tmp_path / "freshet.toml").write_text("[join.weights]\nclick = 1\nphoto = 0\n")
    options = ["--map", str(tmp_path / "map.toml"), "--config", str(tmp_path / "freshet.toml")]
    target = tmp_path / "replay.json"
    outcome = CliRunner().invoke(
        app, ["replay", str(tmp_path / "log.parquet"), *options, "--json", str(target)]
    )
    assert outcome.exit_code == 1, outcome.output  # one row in five cannot be read
    figures = json.loads(target.read_text())
    assert {name: figures["outcomes"][name] for name in ("shown", "joined", "organic")} == {
        "shown": 2,
        "joined": 1,
        "organic": 1,
    }
    assert "row 5: ts: required, but missing" in figures["reasons"][0]


def replayed(path: Path, text: str) -> tuple[int, str]:
    """The exit code, and all that is said, in one line."""
    (path.parent / "map.toml").write_text(text)
    outcome = CliRunner().invoke(app, ["replay", str(path), "--map", str(path.parent / "map.toml")])
    said = outcome.output if outcome.exception is None else f"{outcome.output} {outcome.exception}"
    return outcome.exit_code, " ".join(said.split())


def test_refused_rows_are_told_of_the_rows_read_however_many_events_a_row_is(tmp_path: Path) -> None:
    bad = GOOD | {"shown": ["a", "a"]}
    as_jsonl(tmp_path / "log.jsonl", [bad if n % 7 == 0 else GOOD | {"who": n} for n in range(14)])
    code, said = replayed(tmp_path / "log.jsonl", MAP)
    assert (code, "14 % of the file was not used: 2 of 14 rows were refused" in said) == (1, True), said


@pytest.mark.parametrize(
    ("rows", "text", "reason"),
    [
        ([], MAP, "log.jsonl is empty: it holds no row"),
        ([GOOD | {"did": n} for n in range(5)], MAP, 'photo: held for none of 5 rows; at did stands 0, 1, 2'),
        ([GOOD | {"at": T}], MAP, "none of 1 rows is an event (1 refused); it needs a `where` that holds"),
    ],
)  # fmt: skip
def test_a_map_that_makes_no_event_of_a_file_is_told_what_it_needs(
    tmp_path: Path, rows: list[dict[str, Any]], text: str, reason: str
) -> None:
    as_jsonl(tmp_path / "log.jsonl", rows)
    code, said = replayed(tmp_path / "log.jsonl", text)
    assert code == 1
    assert reason in said
    assert "is it a log of events?" not in said


@pytest.mark.parametrize(
    ("old", "new", "n_rows", "reason"),
    [
        (
            'user_id = "who"',
            'user_id = "cookie"',
            2,
            'no row has "cookie"; they have at, who, did, shown, picked',
        ),
        ('item_id = "picked"', 'item_id = "pickde"', 2, 'no row has "pickde"; did you mean "picked"?'),
        ('picked = "*"', 'pickde = "*"', 2, 'no row has "pickde"; did you mean "picked"?'),
        ('"picked"', '"pickde"', 1_001, 'none of the first 1,000 rows has "pickde"; did you mean "picked"?'),
    ],
)
def test_a_column_that_no_row_of_json_has_is_named_before_any_row(
    tmp_path: Path, old: str, new: str, n_rows: int, reason: str
) -> None:
    as_jsonl(tmp_path / "log.jsonl", [GOOD] * n_rows)
    with pytest.raises(EventError) as error:
        read(tmp_path / "log.jsonl", MAP.replace(old, new))
    assert reason in str(error.value)


def test_a_column_that_rows_of_json_have_later_is_waited_for(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "log.jsonl", [{"did": "noise"}] * 1_000 + [GOOD])
    assert len(events(tmp_path / "log.jsonl", MAP)) == 2
