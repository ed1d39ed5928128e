"""From a request's context to numbers: what each kind of value becomes."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
import pytest

from learners import LearnerError
from learners.request_features import RequestFeatures


def entry(name: str, word: str, dim: int) -> int:
    digest = blake2b(f"{name}={word}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % dim


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3.0), (-2.5, -2.5), (True, 1.0), (False, 0.0), (None, 0.0), ({"deep": 3}, 0.0),
        (1e300, 1e6), (-int("9" * 400), -1e6), (float("inf"), 1e6), (float("nan"), 0.0),
    ],
)  # fmt: skip
def test_a_number_is_itself_within_bounds_and_what_is_none_is_0(value: Any, number: float) -> None:
    assert RequestFeatures(["a", "b"], dim=4).of({"a": value, "c": 7}).tolist() == [1, number] + [0] * 5


def test_words_and_lists_of_words_set_the_entries_that_a_foreign_program_finds() -> None:
    features = RequestFeatures(["device", "tags"], dim=64)
    x = features.of({"device": "phone", "tags": ["red", "öl", 7, 7, None, ["red"], 1.5]})
    wanted = [("device", "phone"), ("tags", "red"), ("tags", "öl"), ("tags", "7")]
    assert np.flatnonzero(x).tolist() == sorted({0, *(3 + entry(*word, 64) for word in wanted)})
    assert set(x.tolist()) == {0.0, 1.0}


def test_the_entry_of_a_word_never_changes() -> None:
    x = RequestFeatures(["device"], dim=1_024).of({"device": "phone"})
    assert np.flatnonzero(x).tolist() == [0, 2 + 385]


def test_stored_contexts_give_what_served_ones_gave() -> None:
    features, rng = RequestFeatures(["hour", "device", "tags"]), np.random.default_rng(1)
    contexts = [
        {"hour": h / 3, "device": f"d{h % 7}", "tags": [f"t{h % 5}", "x"], "query": "q" * 2_000 * (h % 2)}
        for h in rng.integers(-99, 99, 300).tolist()
    ]
    contexts += contexts[:50]
    stored = [msgspec.json.encode(context) for context in contexts]
    assert np.array_equal(features.many(stored), np.stack([features.of(c) for c in contexts]))


@pytest.mark.parametrize(
    "bad", [b"", b"[1]", b"{", b"\xff\xff", b"7", b'{"a":' * 2_000, b'{"a":1e999}', None]
)
def test_what_is_no_object_is_an_empty_context(bad: bytes | None) -> None:
    assert RequestFeatures(["a"], dim=2).many([bad, b'{"a":2}']).tolist() == [[1, 0, 0, 0], [1, 2, 0, 0]]


def test_without_names_there_is_only_the_intercept() -> None:
    assert RequestFeatures().width == 1
    assert RequestFeatures().many([b'{"a":1}']).tolist() == [[1.0]]
    assert RequestFeatures(["a"], dim=0).of({"a": "word"}).tolist() == [1.0, 0.0]


def test_what_is_kept_between_calls_is_bounded() -> None:
    features = RequestFeatures(["a"], dim=8)
    features.many([b'{"a":"%d"}' % n for n in range(40_000)])
    assert len(features._contexts) <= 8_192
    assert len(features._entries) <= 32_768


@pytest.mark.parametrize(("names", "dim"), [(["a", "b", "a"], 1), ([""], 1), (["a"], -1), (["a"], 4_096)])
def test_what_gives_no_vector_is_refused(names: list[str], dim: int) -> None:
    with pytest.raises(LearnerError, match=r"each given once and not empty.*got"):
        RequestFeatures(names, dim=dim)


def test_a_number_that_is_clipped_is_said_once_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    features = RequestFeatures(["since", "hour"], dim=0)
    values = [1.7e12, -5e7, float("inf"), float("nan"), 10**400, 1e6, True]
    found = [features.of({"since": value, "hour": 3})[1] for value in values]
    assert found == [1e6, -1e6, 1e6, 0.0, 1e6, 1e6, 1.0]
    assert caplog.messages == []  # whoever learns says it, not each process that serves
    assert features.many([b'{"since": 1.7e12}', b'{"since": 1e9}'])[:, 1].tolist() == [1e6, 1e6]
    (line,) = caplog.messages
    assert line.startswith("feature 'since': a number beyond 1,000,000 came")
