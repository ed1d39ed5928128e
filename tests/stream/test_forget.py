"""The forget book: covers what it should, holds no id, and comes back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import FrameError
from stream.forget import ForgetBook
from stream.frame import pack, unpack

KEY = b"0123456789abcdef"
users = st.sampled_from(["ann", "bob", "çelik"])
entries = st.lists(st.tuples(users, st.integers(0, 50)), max_size=8)


@settings(max_examples=60, deadline=None)
@given(entries, st.integers(0, 51), users, st.integers(0, 51))
def test_it_agrees_with_a_plain_dictionary(
    added: list[tuple[str, int]], before: int, user: str, ts: int
) -> None:
    book, plain = ForgetBook(KEY), dict[str, int]()
    for who, until in added:
        book.add(who, until)
        plain[who] = max(until, plain.get(who, -1))
    book.prune(before)
    plain = {who: until for who, until in plain.items() if until >= before}
    assert len(book) == len(plain)
    again = ForgetBook(KEY)
    again.restore(unpack(pack(book.snapshot())))
    for one in (book, again):
        assert one.covers(user, ts) == (ts <= plain.get(user, -1))
    assert pack(again.snapshot()) == pack(book.snapshot())


def test_the_id_is_not_in_it_and_another_key_does_not_know_it() -> None:
    book = ForgetBook(KEY)
    book.add("somebody", 5)
    assert b"somebody" not in pack(book.snapshot())
    other = ForgetBook(KEY[::-1])
    other.restore(book.snapshot())
    assert not other.covers("somebody", 5)


def test_a_short_key_and_torn_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="16 to 64 bytes"):
        ForgetBook(b"short")
    book = ForgetBook(KEY)
    book.add("ann", 1)
    with pytest.raises(FrameError, match="forget book"):
        book.restore(book.snapshot() | {"ts": [1, 2]})
