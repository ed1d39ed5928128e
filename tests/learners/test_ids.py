"""The compiled map from ids to rows is a dictionary, whatever the ids and however their hashes meet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learners import EmbeddingTable
from learners.ids import IdMap

# Lengths around the ends of a 64-bit word, zeros at the end, several bytes a letter, the longest ones.
ODD = [
    "",
    "a",
    "a\0",
    "1234567",
    "12345678",
    "12345678\0",
    "123456789",
    "ä",
    "日本語の項目",
    "🎬🎬",
    "x" * 256,
]
NAMES = st.sampled_from([*ODD, *(f"n{n}" for n in range(20))])
ACTIONS = st.lists(st.tuples(st.booleans(), st.lists(NAMES, max_size=6, unique=True)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(ACTIONS, st.sampled_from([0, 1, 3, 64]))
def test_it_behaves_like_a_dictionary(actions: list[tuple[bool, list[str]]], hash_bits: int) -> None:
    ids, model = IdMap(hash_bits), dict[str, int]()
    everything = [*ODD, *(f"n{n}" for n in range(20))]
    for number, (puts, names) in enumerate(actions):
        if puts:
            ids.put(names, np.arange(len(names), dtype=np.int32) + 10 * number)
            model.update({name: 10 * number + n for n, name in enumerate(names)})
        else:
            ids.drop(names)
            for name in names:
                model.pop(name, None)
        assert ids.find(everything).tolist() == [model.get(name, -1) for name in everything]
        assert len(ids) == len(model)


@pytest.mark.parametrize("hash_bits", [6, 64])
def test_it_grows_and_uses_the_room_of_removed_ids_again(hash_bits: int) -> None:
    ids = IdMap(hash_bits)
    for wave in range(30):
        names = [f"wave-{wave}-item-{n}" for n in range(200)]
        ids.put(names, np.arange(200, dtype=np.int32))
        if wave % 10 != 9:
            ids.drop(names)
    assert len(ids) == 600
    assert ids.find([f"wave-9-item-{n}" for n in range(200)]).tolist() == list(range(200))
    assert ids.find(["wave-8-item-0"]).tolist() == [-1]
    assert ids.nbytes < 600 * 200


def test_nothing_is_found_in_nothing() -> None:
    assert IdMap().find([]).tolist() == []
    assert IdMap().find(["a"]).tolist() == [-1]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["rows", "remove", "tick", "copy"]), NAMES), max_size=40))
def test_a_table_finds_many_as_it_finds_one(actions: list[tuple[str, str]]) -> None:
    table, names = EmbeddingTable(2, max_rows=16), [*ODD, *(f"n{n}" for n in range(20))]
    for n, (action, name) in enumerate(actions):
        if action == "rows":
            table.rows([name], n)
        elif action == "remove":
            table.remove([name])
        elif action == "tick":
            table.tick(n)
        else:
            frame, table = table.snapshot(), EmbeddingTable(2, max_rows=16)
            table.restore(frame)
        assert table.find_many(10 * names).tolist() == 10 * table.find(names).tolist()


def test_half_of_a_surrogate_pair_is_an_id_like_any_other() -> None:
    table = EmbeddingTable(2)
    table.rows(["a", "\ud800"], 0)
    assert table.find_many(100 * ["\ud800", "b", "a"]).tolist() == 100 * [1, -1, 0]
    table.remove(["\ud800"])
    assert table.find_many(100 * ["\ud800", "b", "a"]).tolist() == 100 * [-1, -1, 0]


def test_any_collection_of_ids_is_looked_up() -> None:
    ids, rows = IdMap(), {"a": 3, "ä": 4}
    ids.put(rows, np.array(list(rows.values()), np.int32))  # type: ignore[arg-type]
    assert ids.find(rows.keys()).tolist() == [3, 4]  # type: ignore[arg-type]
    assert ids.find(("ä", "b")).tolist() == [4, -1]
