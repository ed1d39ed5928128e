"""An id is found however it is spelled, and only as a word."""

from __future__ import annotations

import base64
import gzip
from urllib.parse import quote

import msgspec
import pytest

from stream.spellings import Spellings, note_of_unreadable

ID = "zq-änn 7731"
OTHERS = [f"somebody-{n}" for n in range(100)]
SPELLED = {
    "json": msgspec.json.encode({"user_id": ID}),
    "json, ascii": b'{"user_id":"zq-\\u00e4nn 7731"}',
    "json, every letter": b'"%b"' % b"".join(b"\\u%04x" % ord(letter) for letter in ID),
    "json in json": msgspec.json.encode(msgspec.json.encode({"user_id": ID}).decode()),
    "form": f"type=click&user_id={quote(ID).replace('%20', '+')}".encode(),
    "url": f"https://shop/users/{quote(ID)}/click".encode(),
    "xml": b"<user>zq-&#228;nn 7731</user>",
    "csv": f"click;{ID};i1".encode(),
    "prefix": f'"user:{ID}"'.encode(),
    "python": repr(ID.encode()).encode(),
}


@pytest.mark.parametrize("data", SPELLED.values(), ids=SPELLED.keys())
@pytest.mark.parametrize("others", [[], OTHERS], ids=["one id", "many ids"])
def test_an_id_is_found_in_every_spelling(data: bytes, others: list[str]) -> None:
    assert Spellings([ID, *others]).found(data)
    assert not Spellings(["nobody", *others]).found(data)


@pytest.mark.parametrize("before", range(3))
def test_an_id_is_found_in_base64_at_any_place(before: int) -> None:
    data = base64.b64encode(b"x" * before + b"|" + ID.encode() + b"|more")
    assert Spellings([ID]).found(data, encoded=True) and not Spellings([ID]).found(data)


@pytest.mark.parametrize("others", [[], OTHERS], ids=["one id", "many ids"])
def test_an_id_within_a_longer_word_is_another_id(others: list[str]) -> None:
    short = Spellings(["7", "zq1", *others])
    assert not short.found(b'{"user_id": "zq12", "ts": 1700000000007}')
    assert short.found(b"zq12 zq1") and short.found(b"7") and short.found(b"a-7-b")


@pytest.mark.parametrize(
    "data", [gzip.compress(ID.encode(), mtime=0), ID.encode("utf-16"), bytes(range(256))]
)
def test_of_what_is_no_text_only_a_note_is_kept(data: bytes) -> None:
    note = note_of_unreadable(data)
    assert note is not None and str(len(data)).encode() in note and data not in note


def test_text_with_a_stray_byte_is_text() -> None:
    assert note_of_unreadable('{"name": "café au lait"}'.encode("latin-1")) is None
