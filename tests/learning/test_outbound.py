"""What the owner of users tells owners of items: each id once, in the order of its first place."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from learners import Admission, EmbeddingTable
from learners.encode import encode
from learners.encode_items import encode_items
from learning.shards.outbound import Homes, merged_blocks, outcomes_of
from stream.block_codec import decode_segment, encode_segment
from stream.blocks import CLICK, CLOSED, ORGANIC, SHOWN, FeedbackBlock, Segment
from stream.events import Click
from stream.forget import ForgetBook
from stream.item_blocks import ItemOutcomes
from stream.join import Joiner, JoinSettings
from stream.testing import ScriptedEvents

T = 1_700_000_000_000


def outcomes(n: int) -> list[FeedbackBlock]:
    joiner = Joiner(JoinSettings(), ForgetBook(b"sixteen bytes or more"))
    out: list[Segment] = []
    events = ScriptedEvents(4).take(n)
    for first in range(0, n, 100):
        joiner.on_events(events[first : first + 100])
        out += joiner.take()
    joiner.on_tick(joiner.watermark + 41 * 60_000)  # all windows are over
    return [segment for segment in [*out, *joiner.take()] if isinstance(segment, FeedbackBlock)]


def told(block: FeedbackBlock) -> list[str]:
    """The items of all operations that are sent, as texts."""
    found = []
    for kind, ref, place in zip(block.kind, block.ref, block.place, strict=True):
        shown = () if kind == ORGANIC else block.slates[ref].items
        of_kind = {SHOWN: shown, CLICK: shown[place : place + 1], CLOSED: ()}
        found.append(of_kind.get(kind, (block.organic[ref][1] if kind == ORGANIC else "",)))
    return list(chain.from_iterable(found))


@pytest.mark.parametrize("threshold", [1, 3])
def test_ids_are_sent_by_their_rows_as_they_would_be_by_their_texts(threshold: int) -> None:
    rule = Admission(rule="threshold", threshold=threshold)
    users, items = (EmbeddingTable(2, admission=rule) for _ in range(2))
    n_kinds = set()
    for block in outcomes(600):
        sent = outcomes_of(block, encode(block, users, items), items)
        assert [sent.names[n] for n in sent.items.tolist()] == told(block)
        named = [slate.items for n, slate in enumerate(block.slates) if n in _sent(block)]
        flat = [*chain.from_iterable(named), *(item for _, item in block.organic)]
        assert sent.names == list(dict.fromkeys(flat))
        n_kinds |= {*block.kind}
    assert n_kinds == {SHOWN, CLICK, CLOSED, ORGANIC}


def test_homes_by_row_are_those_of_the_ids_also_when_a_row_has_changed_its_owner() -> None:
    homes, table = Homes(len), EmbeddingTable(2)
    rows = table.rows(["a", "bcd"], ts=5)
    for _ in range(2):
        assert homes.at(table, np.append(rows, -1), ["a", "bcd", "ef"]).tolist() == [1, 3, 2]
    table.remove(["a"])
    table.tick(6)
    table.tick(7)  # a freed row is used again after the next tick
    assert table.rows(["four"], ts=8).tolist() == rows[:1].tolist()
    assert homes.at(table, rows, ["four", "bcd"]).tolist() == [4, 3]


def _sent(block: FeedbackBlock) -> set[int]:
    columns = zip(block.kind, block.ref, strict=True)
    return {ref for kind, ref in columns if kind in (SHOWN, CLICK)}


def test_what_was_done_reaches_the_owners_of_items() -> None:
    kinds = JoinSettings(weights={"click": 1.0, "view": 0.0})
    joiner = Joiner(kinds, ForgetBook(b"sixteen bytes or more"))
    joiner.on_events(
        [Click(ts=T, item_id=item, user_id="u", kind=kind) for item, kind in (("a", "view"), ("b", "click"))]
    )
    [block] = joiner.take()
    assert isinstance(block, FeedbackBlock)
    users, items = EmbeddingTable(2), EmbeddingTable(2)
    rows = encode(block, users, items)
    sent = decode_segment(encode_segment(outcomes_of(block, rows, items)))
    assert isinstance(sent, ItemOutcomes)
    there = encode_items(sent, EmbeddingTable(2))
    assert rows.action.tolist() == there.action.tolist() == [1, 0]
    assert merged_blocks([FeedbackBlock(), block]).action == [1, 0]
