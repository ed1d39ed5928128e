"""What is wrong in a file costs the row that it stands in, with its number and the reason, and no other."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
import json
import lzma
import os
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshet.feeding import Row, read_rows
from freshet.feeding.files import FedFile
from stream.errors import EventError

T = 1_700_000_000_000
MOMENT = dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC)


def fields(rows: list[Row], name: str) -> list[Any]:
    return [json.loads(row.body)[name] if row.reason is None else None for row in rows]


def csv(tmp_path: Path, text: str | bytes) -> list[Row]:
    path = tmp_path / "e.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_rows(path))


def parquet(tmp_path: Path, **columns: Any) -> list[Row]:
    pq.write_table(pa.table(columns), tmp_path / "e.parquet")
    return list(read_rows(tmp_path / "e.parquet"))


def test_words_for_nothing_are_text_in_csv_and_only_the_empty_cell_is_missing(tmp_path: Path) -> None:
    words = ["NA", "null", "nan", "N/A", "NULL", "None"]
    rows = csv(tmp_path, "item_id,group\n" + "".join(f'{word},"{word}"\n' for word in words) + 'a,""\nb,\n')
    assert [json.loads(row.body) for row in rows] == [
        *({"item_id": word, "group": word} for word in words), {"item_id": "a"}, {"item_id": "b"},
    ]  # fmt: skip


def test_line_breaks_in_quotes_are_text_at_any_size(tmp_path: Path) -> None:
    rows = csv(tmp_path, "item_id,note\n" + "".join(f'i{n},"a\n\n{n}\r\n"\n' for n in range(200_000)))
    assert len(rows) == 200_000
    assert fields(rows[-1:], "note") == ["a\n\n199999\r\n"]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"b,1,2,3", "expected 3 cells, as many as names in the first line, got 4"),
        (b"b", "expected 3 cells, as many as names in the first line, got 1"),
        (b"ren\xe9,1,1", "item_id: expected UTF-8, got b'ren\\xe9'"),
        (b'"b,1,1', "row: expected cells of CSV"),
        (b'"b"c,1,1', "expected after"),
        (b"b,1,-inf", "value: expected a finite number, got"),
        (b"b,1,1e999", "value: expected a finite number, got"),
        (b"b,1,NaN", "value: expected a finite number, got"),
        (b"b,1,1_000", "value: expected a finite number, got"),
        (b"b,soon,1", "ts: expected a time in ms, got"),
        (b"b,1.5,1", "ts: expected a whole number of ms, got 1.5"),
    ],
)
@pytest.mark.parametrize("end", [b"", b"\na,1,1\n", b'\na,1,"1"\n'])
def test_a_bad_row_of_csv_costs_itself(tmp_path: Path, bad: bytes, says: str, end: bytes) -> None:
    rows = csv(tmp_path, b"item_id,ts,value\na,1,1\n\n" + bad + end)
    assert fields(rows, "item_id") == ["a", None, *(["a"] if end else [])]
    assert says in (rows[1].reason or "")
    assert [row.number for row in rows] == list(range(len(rows)))


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200) | st.text(',"\n\r\0a1', max_size=60).map(str.encode))
def test_any_bytes_are_rows_reasons_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes
) -> None:
    folder = tmp_path_factory.mktemp("noise")
    for name, head in (
        ("e.csv", b"ts,item_id\n"),
        ("e.jsonl", b""),
        ("e.json", b'[{"ts": 1},'),
        ("e.parquet", b""),
    ):
        (folder / name).write_bytes(head + noise)
        try:
            rows = list(read_rows(folder / name))
        except EventError:
            continue
        assert all(bool(row.body) is (row.reason is None) for row in rows)


@pytest.mark.parametrize(
    ("column", "ts"),
    [
        (pa.array([T // 1_000], pa.timestamp("s")), T),
        (pa.array([T + 1], pa.timestamp("ms", "UTC")), T + 1),
        (pa.array([T * 1_000 + 7], pa.timestamp("us", "Asia/Tokyo")), T),
        (pa.array([T * 1_000_000 + 7], pa.timestamp("ns")), T),
        (pa.array([T * 1_000_000], pa.timestamp("ns", "-05:00")), T),
        (pa.array([dt.date(2023, 11, 14)], pa.date32()), T - T % 86_400_000),
        (pa.array([dt.date(2023, 11, 14)], pa.date64()), T - T % 86_400_000),
        (pa.array([float(T)]), T),
        (pa.array([Decimal(T)], pa.decimal128(20, 2)), T),
        (pa.array([str(T)]), T),
        (pa.array([f"{T}.0"]), T),
        (pa.array(["2023-11-14T23:13:20+01:00"]).dictionary_encode(), T),
    ],
)
def test_a_time_in_parquet_is_its_instant_whatever_its_type(
    tmp_path: Path, column: pa.Array, ts: int
) -> None:
    assert fields(parquet(tmp_path, ts=column), "ts") == [ts]


@pytest.mark.parametrize(
    ("name", "column", "found"),
    [
        ("user_id", pa.array([7]), "7"),
        ("user_id", pa.array([7.0]), "7"),
        ("user_id", pa.array([b"ann"], pa.binary()), "ann"),
        ("user_id", pa.array(["ann"], pa.large_string()).dictionary_encode(), "ann"),
        ("value", pa.array([Decimal("2.50")]), 2.5),
        ("value", pa.array([np.float16(0.5)]), 0.5),
        ("deleted", pa.array(["True"]), True),
        ("deleted", pa.array([0.0]), False),
        ("vector", pa.array([[0.5, 1.0]], pa.list_(pa.float32(), 2)), [0.5, 1.0]),
        ("items", pa.array([[1, 2]]), ["1", "2"]),
        ("attributes", pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())), {"a": 1}),
        ("attributes", pa.array([{"at": [MOMENT]}], pa.struct({"at": pa.list_(pa.timestamp("ns"))})),
         {"at": ["2023-11-14T22:13:20+00:00"]}),
    ],
)  # fmt: skip
def test_a_column_of_parquet_is_read_by_its_field(
    tmp_path: Path, name: str, column: pa.Array, found: Any
) -> None:
    assert fields(parquet(tmp_path, **{name: column}), name) == [found]


@pytest.mark.parametrize(
    ("name", "column", "says"),
    [
        ("value", pa.array([1.0, np.nan]), "value: expected a finite number, got nan"),
        ("value", pa.array([1.0, -np.inf]), "value: expected a finite number, got -inf"),
        ("vector", pa.array([[1.0], [np.inf]]), "vector[0]: expected a finite number, got inf"),
        (
            "attributes",
            pa.array([{"p": 1.0}, {"p": np.nan}]),
            "attributes.p: expected a finite number, got nan",
        ),
        ("user_id", pa.array([1.0, 1.5]), "user_id: expected text or a whole number, got 1.5"),
        ("user_id", pa.array([b"a", b"\xe9"]), "user_id: expected text in UTF-8, got b"),
        ("ts", pa.array([1.0, 1.5]), "ts: expected a whole number of ms, got 1.5"),
        ("ts", pa.array(["1", "dawn"]), 'ts: expected a time in ms, got "dawn"'),
        ("deleted", pa.array(["0", "yes"]), 'deleted: expected true, false, 1 or 0, got "yes"'),
    ],
)
def test_what_a_field_cannot_be_is_refused_with_its_row(
    tmp_path: Path, name: str, column: pa.Array, says: str
) -> None:
    good, bad = parquet(tmp_path, **{name: column})
    assert (good.reason, bad.number) == (None, 1)
    assert (bad.reason or "").startswith(says)


def test_columns_that_nobody_asked_for_cannot_fail(tmp_path: Path) -> None:
    ns = pa.array([1, None], pa.timestamp("ns", "Europe/Oslo"))
    odd = {
        "loaded_at": ns, "far": pa.array([2**62, 2**62], pa.timestamp("us")), "nan": pa.array([np.nan, 1.0]),
        "bytes": pa.array([b"\xff", b"a"]), "took": pa.array([5, None], pa.duration("ns")),
        "deep": pa.array([{"a": [{"b": dt.date.max}]}, None]), "ids": pa.array([2**64 - 1, 0], pa.uint64()),
        "time": pa.array([1, 2], pa.time64("ns")), "none": pa.nulls(2), "half": pa.array([np.float16(1)] * 2),
    }  # fmt: skip
    rows = parquet(tmp_path, item_id=pa.array(["a", "b"]), **odd)
    assert fields(rows, "item_id") == ["a", "b"]


def test_half_an_emoji_or_a_byte_costs_its_line(tmp_path: Path) -> None:
    lines = [b'{"ts": 1}', b'{"t": "\\ud83d"}', b'{"t": "\xff"}', b"[" * 100_000, b'{"a": NaN}', b'{"ts": 2}']
    (tmp_path / "e.jsonl").write_bytes(b"\n".join(lines))
    rows = list(read_rows(tmp_path / "e.jsonl"))
    assert [row.number for row in rows if row.reason is not None] == [1, 2, 3, 4]
    assert "no NaN" in (rows[4].reason or "")


@pytest.mark.parametrize("name", ["e.jsonl", "e.json", "e.csv"])
def test_a_row_without_end_is_refused_and_not_held(tmp_path: Path, name: str) -> None:
    head, row = {"e.jsonl": ("", '{"ts": 1, "item_id": "%s"}\n'), "e.csv": ("ts,item_id\n", "1,%s\n")}.get(
        name, ("[", '{"ts": 1, "item_id": "%s"},\n')
    )
    end = '{"ts": 1}]' if name == "e.json" else ""
    (tmp_path / name).write_text(head + row % "a" + row % ("x" * 20_000_000) + row % "b" + end)
    rows = list(read_rows(tmp_path / name))
    assert [row.number for row in rows if row.reason is not None] == [1]
    assert "expected" in (rows[1].reason or "")
    assert len(rows) == 3 + bool(end)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "e.jsonl.gz": gzip.compress,
    "e.jsonl.bz2": bz2.compress,
    "e.jsonl.xz": lzma.compress,
    "e.jsonl.zst": lambda data: bytes(pa.compress(data, "zstd")),
}


@pytest.mark.parametrize(
    ("name", "how"), [(name, how) for name in PACKERS for how in ("cut", "flipped")][:-1]
)  # what Arrow writes as zstd has no checksum: flipped bytes in it are rows with their reasons
def test_a_damaged_file_gives_what_came_before_and_says_how_far_it_was(
    tmp_path: Path, name: str, how: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50_000, 20), np.uint8)
    packed = bytearray(
        PACKERS[name](b"".join(b'{"n":"%b"}\n' % row.tobytes().hex().encode() for row in noise))
    )
    half = len(packed) // 2
    packed[half : half + 64 if how == "flipped" else len(packed)] = bytes(64) if how == "flipped" else b""
    (tmp_path / name).write_bytes(packed)
    file = FedFile(tmp_path / name, None, history=False, restart=True)
    given = sum(1 for timed in file.rows() if timed.row.reason is None)
    assert file.broken.startswith(f"{tmp_path / name} cannot be read: ")
    assert 0 < given < 50_000


def test_parquet_that_is_damaged_in_the_middle_says_so(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    ids = [f"{n * 7919 % 100_003:x}" for n in range(50_000)]
    pq.write_table(pa.table({"item_id": ids}), path, write_page_checksum=True, use_dictionary=False)
    packed = bytearray(path.read_bytes())
    packed[len(packed) // 2 : len(packed) // 2 + 64] = bytes(64)
    path.write_bytes(packed)
    with pytest.raises(EventError, match=r"cannot be read: .* \(row \d+ reached\)"):
        list(read_rows(path))


@pytest.mark.parametrize("name", ["e.jsonl", "e.csv"])
def test_a_pipe_is_read_like_a_file_and_nothing_is_remembered_of_it(tmp_path: Path, name: str) -> None:
    text = '{"item_id":"a"}\n' if name == "e.jsonl" else "item_id\na\n"
    os.mkfifo(tmp_path / name)
    writer = threading.Thread(target=(tmp_path / name).write_text, args=(text,))
    writer.start()
    file = FedFile(tmp_path / name, None, history=False, restart=False)
    bodies = [timed.row.body for timed in file.rows()]
    file.sent(1)
    writer.join()
    left = [path.name for path in tmp_path.iterdir()]
    assert (bodies, file.broken, left) == ([b'{"item_id":"a"}'], "", [name])


def test_an_empty_file_of_lines_has_no_rows(tmp_path: Path) -> None:
    for name in ("e.jsonl", "e.json"):
        (tmp_path / name).write_bytes(b"")
        assert list(read_rows(tmp_path / name)) == []
