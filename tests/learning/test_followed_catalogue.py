"""A server that follows more item ids than it has rows: the catalogue comes first, whatever comes last."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from bandits.arms import ArmCounts
from learning.rows.codec import PolicyRow
from stream.block_codec import encode_item
from stream.engine.shard import Output
from stream.events import ItemEvent
from stream.frame import pack, unpack
from tests.harness.cells import arms, offered
from tests.harness.rows import RowServer, item_row, make_settings, names_of, row_record, user_row

MOST = 16


def flood(n: int, first: int = 0) -> list[Output]:
    """Items that no catalogue has, the youngest last."""
    return [
        row_record("item-vectors", item_row(f"x{at}", touched_at=at + 1)) for at in range(first, first + n)
    ]


def said(name: str, *, deleted: bool = False) -> Output:
    event = ItemEvent(item_id=name, ts=5, group="film", attributes={"title": name}, deleted=deleted)
    return Output("catalogue", 0, encode_item(event), name.encode())


def learned(name: str, clicks: int = 7) -> list[Output]:
    policy = PolicyRow(item_id=name, parts={"thompson": arms(clicks, 2.0), "graph": offered([0], [1.0])})
    return [
        row_record("item-vectors", item_row(name, clicks=clicks, touched_at=1_000)),
        row_record("policy", policy),
    ]


def server_of() -> RowServer:
    return RowServer(make_settings(max_items=MOST))


def is_whole(server: RowServer, name: str, clicks: int = 7) -> bool:
    """That the table, the catalogue, the graph and a policy all have it, as it was last said."""
    parts, row = server.parts, server.parts.items.row_of(name)
    at = np.array([row], np.int32)
    return (
        row >= 0
        and bool(parts.catalogue.servable(at, 1_000)[0])
        and parts.catalogue.attributes(row) == {"title": name}
        and parts.items.clicks[row] == clicks
        and bool((parts.items.data[row] == 1).all())
        and name in names_of(parts, parts.graph.candidates(np.zeros(1, np.int32)))
        and cast(ArmCounts, parts.policies["thompson"]).of(at)[0].tolist() == [clicks]
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("every", [1, 9, 1_000])
def test_the_catalogue_takes_rows_from_ids_outside_it_in_any_order(seed: int, every: int) -> None:
    names = [f"i{n}" for n in range(12)]
    outputs = flood(60) + [output for name in names for output in [said(name), *learned(name)]]
    np.random.default_rng(seed).shuffle(outputs)
    server = server_of()
    server.follow(outputs, every=every)
    assert all(is_whole(server, name) for name in names)
    assert len(server.parts.items) <= MOST and server.follower.waiting == 0


def test_what_was_touched_longest_ago_goes_first_and_leaves_nothing() -> None:
    server = server_of()
    server.follow([*flood(MOST), row_record("user-vectors", user_row("ann", "x0", "x9"))])
    row = server.parts.items.row_of("x0")
    server.follow([row_record("policy", PolicyRow(item_id="x0", parts={"thompson": arms(3, 1.0)}))])
    server.follow([said("tea"), *learned("tea")])
    parts = server.parts
    assert is_whole(server, "tea") and parts.items.row_of("tea") == row
    assert "x0" not in parts.items and all(f"x{n}" in parts.items for n in range(1, MOST))
    assert names_of(parts, parts.history.clicked(parts.users.row_of("ann"))) == ["x9"]


def test_an_evicted_id_comes_back_with_all_its_rows() -> None:
    server = server_of()
    server.follow(flood(MOST, first=1))
    server.follow([row_record("item-vectors", item_row("tea")), learned("tea")[1]])
    assert "tea" not in server.parts.items  # refused: it is outside the catalogue, and all rows are taken
    server.follow([said("tea")])
    assert is_whole(server, "tea", clicks=0) is False and server.parts.items.row_of("tea") >= 0
    server.follow([row_record("item-vectors", item_row("tea", clicks=7))])
    assert is_whole(server, "tea")
    server.follow([said("tea", deleted=True), learned("tea")[1]])
    others = [f"i{n}" for n in range(MOST)]
    server.follow([output for name in others for output in [said(name), *learned(name)]])
    assert all(is_whole(server, name) for name in others) and "tea" not in server.parts.items
    server.follow([Output("item-vectors", 0, None, b"i3"), Output("policy", 0, None, b"i3")])
    server.follow([said("tea"), learned("tea")[0]])
    assert is_whole(server, "tea")


def test_items_of_the_catalogue_that_find_no_row_wait_for_one_also_over_a_restart() -> None:
    server = server_of()
    names = [f"i{n}" for n in range(MOST + 3)]
    server.follow([output for name in names for output in [said(name), *learned(name)]])
    assert (server.follower.waiting, server.follower.refused) == (3, 6)  # as many rows of policies
    frame = unpack(pack({"follower": server.follower.snapshot(), "parts": server.parts.snapshot()}))
    again = server_of()
    again.parts.restore(frame["parts"])
    again.follower.restore(frame["follower"])
    for name in ("i0", "i5"):
        again.follow([Output(topic, 0, None, name.encode()) for topic in ("item-vectors", "policy")])
    again.follow(flood(2))
    assert again.follower.waiting == 1 and len(again.parts.items) == MOST
    assert all(is_whole(again, name) for name in [*names[1:5], *names[6:-1]])


def test_an_id_that_left_the_catalogue_gives_its_row_to_one_that_is_in_it() -> None:
    server = server_of()
    names = [f"i{n}" for n in range(MOST)]
    server.follow([output for name in names for output in [said(name), *learned(name)]])
    server.follow([said("i4", deleted=True), said("tea"), *learned("tea")])
    assert is_whole(server, "tea") and "i4" not in server.parts.items
    assert all(is_whole(server, name) for name in names if name != "i4")
