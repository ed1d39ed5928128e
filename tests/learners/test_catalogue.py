"""The catalogue replaces items as a whole and replicas follow it."""

from __future__ import annotations

import numpy as np

from learners.catalogue import Catalogue
from stream.events import ItemEvent
from stream.frame import pack, unpack

ROWS = np.arange(4, dtype=np.int32)


def item(ts: int, **fields: object) -> ItemEvent:
    return ItemEvent(item_id="x", ts=ts, **fields)  # type: ignore[arg-type]


def test_availability_is_a_half_open_window() -> None:
    catalogue = Catalogue()
    catalogue.put(2, item(0, available_from=10, available_until=20))
    assert [bool(catalogue.servable(ROWS, now)[2]) for now in (9, 10, 19, 20)] == [False, True, True, False]


def test_an_item_replaces_itself_as_a_whole() -> None:
    catalogue = Catalogue()
    catalogue.put(0, item(1, group="g", attributes={"a": 1}))
    catalogue.put(0, item(2))
    assert catalogue.group_name(0) is None
    assert catalogue.attributes(0) == {}


def test_a_deleted_item_may_come_back_and_keeps_its_first_entry() -> None:
    catalogue = Catalogue()
    catalogue.put(0, item(1))
    catalogue.put(0, item(2, deleted=True))
    assert not catalogue.servable(ROWS, 5)[0]
    catalogue.put(0, item(3))
    assert catalogue.servable(ROWS, 5)[0]
    assert catalogue.entered_ms[0] == 1


def test_a_replica_and_a_restored_copy_serve_the_same() -> None:
    leader, replica, restored = Catalogue(), Catalogue(), Catalogue()
    for ts, group in enumerate(["a", "b", "a"]):
        leader.put(ts, item(ts, group=group, attributes={"n": ts}))
        replica.apply(unpack(pack(leader.changes())))
    leader.remove_items(np.array([1], np.int32))
    replica.apply(unpack(pack(leader.changes())))
    restored.restore(unpack(pack(leader.snapshot())))
    for other in (replica, restored):
        assert other.servable(ROWS, 9).tolist() == [True, False, True, False]
        assert [other.group_name(row) for row in range(4)] == ["a", None, "a", None]
        assert other.attributes(2) == {"n": 2}
    restored.put(5, item(9, group="c"))
    assert restored.group_codes(["c", "nobody"]).tolist() == [2]
