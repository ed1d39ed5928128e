"""A row's key is that of the item that owns it now, on the learner and on replicas."""

from __future__ import annotations

import numpy as np

from learners import EmbeddingTable
from learners.count_filter import key_of
from learners.item_keys import ItemKeys
from stream.frame import Frame, pack, unpack


def expected(table: EmbeddingTable) -> list[int]:
    return [0 if name is None else key_of(name) for name in table.ids_of(np.arange(40, dtype=np.int32))]


def with_vectors(table: EmbeddingTable) -> Frame:
    return unpack(pack(table.changes()))


def test_rows_that_change_hands_have_the_key_of_their_owner_whoever_asked_before() -> None:
    here, there = EmbeddingTable(2, ttl_ms=10_000, sweep_ms=0), EmbeddingTable(2)
    keys, theirs = ItemKeys(here), ItemKeys(there)
    rows, rng = np.arange(40, dtype=np.int32), np.random.default_rng(1)
    owners: dict[int, set[str]] = {}
    for second in range(1, 120):
        here.rows([f"i{n}" for n in rng.integers(300, size=4)], 1_000 * second)
        here.tick(1_000 * second)
        for row, name in enumerate(here.ids_of(rows)):
            owners.setdefault(row, set()).add(str(name))
        some = rows[rng.random(40) < 0.5]
        assert keys.of_rows(some).tolist() == np.array(expected(here), np.uint64)[some].tolist()
        if second % 3 == 0:
            there.apply(with_vectors(here))
            assert theirs.of_rows(rows).tolist() == expected(there) == expected(here)
        if second == 60:
            here.restore(unpack(pack(here.snapshot())))
    assert max(map(len, owners.values())) > 5


def test_what_has_no_row_is_hashed_by_its_id_and_what_has_no_id_is_zero() -> None:
    table = EmbeddingTable(2)
    table.rows(["a"], 5)
    keys = ItemKeys(table)
    assert keys.of_ids(["b", "a"]).tolist() == [key_of("b"), key_of("a")]
    assert keys.of_rows(np.array([-1, 0, 7_000], np.int32)).tolist() == [0, key_of("a"), 0]
    assert keys.of_rows(np.zeros(0, np.int32)).size == 0
