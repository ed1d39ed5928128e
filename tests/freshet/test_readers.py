"""Every format and compression gives the same events."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from freshet.feeding import count_rows, read_rows
from stream.errors import EventError

T = 1_700_000_000_000
EVENTS = [
    {"type": "click", "ts": T + 1, "user_id": "007", "item_id": "a", "value": 1.5},
    {"type": "click", "ts": T + 2, "user_id": "u", "item_id": "b", "value": 2.5},
]
LINES = "".join(json.dumps(event) + "\n" for event in EVENTS).encode()


def table() -> pa.Table:
    return pa.Table.from_pylist(EVENTS)


def as_csv(path: Path) -> None:
    pa_csv.write_csv(table(), path)


def csv_bytes() -> bytes:
    out = pa.BufferOutputStream()
    pa_csv.write_csv(table(), out)
    return bytes(out.getvalue())


def as_lz4(path: Path) -> None:
    with pa.CompressedOutputStream(str(path), "lz4") as out:
        out.write(LINES)


def as_zst(path: Path) -> None:
    with pa.CompressedOutputStream(str(path), "zstd") as out:
        out.write(LINES)


WRITERS: dict[str, Callable[[Path], object]] = {
    "e.jsonl": lambda path: path.write_bytes(LINES),
    "e.jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES)),
    "e.jsonl.bz2": lambda path: path.write_bytes(bz2.compress(LINES)),
    "e.ndjson.xz": lambda path: path.write_bytes(lzma.compress(LINES)),
    "e.jsonl.zst": as_zst,
    "e.jsonl.lz4": as_lz4,
    "mark.jsonl": lambda path: path.write_bytes(b"\xef\xbb\xbf" + LINES),
    "array.json": lambda path: path.write_bytes(json.dumps(EVENTS).encode()),
    "envelope.json": lambda path: path.write_bytes(json.dumps({"events": EVENTS}, indent=1).encode()),
    "array.jsonl": lambda path: path.write_bytes(b"".join(b"[%b]\n" % line for line in LINES.splitlines())),
    "laid-out.json": lambda path: path.write_bytes(
        "\n".join(json.dumps(event, indent=2) for event in EVENTS).encode()
    ),
    "e.csv": as_csv,
    "mark.csv": lambda path: path.write_bytes(b"\xef\xbb\xbf" + csv_bytes().replace(b"\n", b"\r")),
    "e.parquet": lambda path: pq.write_table(table(), path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_gives_its_events_in_order(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    rows = list(read_rows(tmp_path / name))
    assert [json.loads(row.body) for row in rows] == EVENTS
    assert [row.number for row in read_rows(tmp_path / name, skip=1)] == [1]


def test_lists_in_csv_cells_are_json_and_types_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "slates.csv"
    path.write_text('request_id,ts,user_id,items\nr,5,u,"[""a"",""b""]"\n')
    [row] = read_rows(path, default_type="impression")
    assert json.loads(row.body) == {
        "request_id": "r", "ts": 5, "user_id": "u", "items": ["a", "b"], "type": "impression",
    }  # fmt: skip


def test_parquet_knows_its_length(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "e.parquet")
    assert count_rows(tmp_path / "e.parquet") == 2


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("e.xml", b"<a/>"),
        ("e.parquet", b"no"),
        ("e.jsonl.gz", b"no"),
        ("e.csv", b""),
        ("e.parquet", b""),
        ("e.jsonl", "{}".encode("utf-16")),
        ("e.csv", b"a;b\n1;2\n"),
        ("e.csv", b"ts,ts\n1,2\n"),
        ("e.json", b'[{"type": "click"'),
        ("e.jsonl", gzip.compress(b"{}", mtime=0)),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(EventError, match=name):
        list(read_rows(tmp_path / name))


LISTED = {
    "type": "impression", "request_id": "r", "ts": T, "user_id": "u", "items": ["a", "b"],
    "item_context": [{"price": 3.5}, None],
}  # fmt: skip


def cells(path: Path) -> None:
    row = {name: json.dumps(value) if isinstance(value, list) else value for name, value in LISTED.items()}
    pa_csv.write_csv(pa.Table.from_pylist([row]), path)


@pytest.mark.parametrize("name", ["l.jsonl", "l.csv", "l.parquet"])
def test_what_is_known_of_a_lists_items_comes_from_every_format(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    writers = {"l.jsonl": lambda at: at.write_text(json.dumps(LISTED)), "l.csv": cells}
    writers.get(name, lambda at: pq.write_table(pa.Table.from_pylist([LISTED]), at))(path)
    [row] = read_rows(path)
    assert json.loads(row.body) == LISTED
