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
    assert restored.group_codes(["c", "nobody"]).tolist() == [1]  # the number that "b" had


def test_groups_that_have_no_item_left_leave_everywhere() -> None:
    leader, replica, resumed = Catalogue(), Catalogue(), Catalogue()
    leader.put(1, item(1, group="stays"))
    for n in range(300):
        leader.put(0, item(n, group=f"g{n}"))
        if n % 7 == 0:
            replica.apply(unpack(pack(leader.changes())))
    resumed.restore(unpack(pack(leader.snapshot())))
    assert pack(resumed.snapshot()) == pack(leader.snapshot())
    replica.apply(unpack(pack(leader.changes())))
    for catalogue in (leader, replica, resumed):
        assert len(catalogue.groups) == 2 and len(pack(catalogue.groups.snapshot())) < 200
        assert [catalogue.group_name(row) for row in (0, 1)] == ["g299", "stays"]


def test_what_was_written_before_groups_could_leave_is_read() -> None:
    catalogue, replica = Catalogue(), Catalogue()
    catalogue.put(0, item(1, group="b"))
    frame = catalogue.snapshot()
    columns = {name: frame[name] for name in frame if name != "group_names"}
    old = {**columns, "group": columns["group"] + (columns["group"] == 0), "groups": ["a", "b"]}
    catalogue.restore(unpack(pack({**old, "published_groups": 1})))
    replica.put(0, item(1, group="b"))
    replica.apply(unpack(pack({**catalogue.changes(), "groups_from": 0, "groups": ["a", "b"]})))
    assert catalogue.group_name(0) == replica.group_name(0) == "b" and len(catalogue.groups) == 1
