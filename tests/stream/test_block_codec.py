"""Segments as bytes, and which partition they belong to."""

from __future__ import annotations

from typing import Any

import pytest

from stream.block_codec import decode_item, decode_segment, encode_item, encode_segment
from stream.block_routing import bounded, route_segments
from stream.blocks import CLICK, SHOWN, FeedbackBlock, Forgotten, ItemsBlock, Segment, Slate
from stream.errors import FrameError
from stream.events import ItemEvent
from stream.forget import ForgetBook
from stream.frame import pack, unpack
from stream.join import Joiner, JoinSettings
from stream.outbox import revive_context, store_context
from stream.testing import ScriptedEvents

KEY = b"0123456789abcdef"


def segments(n: int = 400, seed: int = 3) -> list[Segment]:
    joiner = Joiner(JoinSettings(), ForgetBook(KEY))
    joiner.on_events(ScriptedEvents(seed, n_features=3).take(n))
    joiner.on_tick(joiner.watermark + 41 * 60_000)
    return joiner.take()


def slate(request: str = "r", **more: Any) -> Slate:
    fields: dict[str, Any] = {"user_id": "ann", "ts": 5, "items": ["a", "b"]}
    return Slate(request_id=request, **fields | more)


def clicked(*slates: Slate) -> FeedbackBlock:
    n = len(slates)
    return FeedbackBlock(
        list(slates), [], [CLICK] * n, list(range(n)), [0] * n, [1.0] * n, [True] * n, [9] * n
    )


def test_what_join_gives_comes_back_as_it_was() -> None:
    for segment in segments():
        again = decode_segment(encode_segment(segment))
        assert encode_segment(again) == encode_segment(segment)
        if isinstance(segment, FeedbackBlock) and isinstance(again, FeedbackBlock):
            assert (again.kind, again.ref, again.reward) == (segment.kind, segment.ref, segment.reward)
            assert [s.items for s in again.slates] == [s.items for s in segment.slates]
        else:
            assert again == segment


def test_a_record_is_read_alike_in_whatever_order_its_keys_stand() -> None:
    for value in map(encode_segment, segments()):
        frame = unpack(value)
        assert decode_segment(pack(dict(reversed(frame.items())))) == decode_segment(value)


@pytest.mark.parametrize("context", [{"dtype": "?", "shape": 1, "data": 2}, {"large": 10**40}, {}])
def test_a_context_travels_whatever_is_in_it(context: dict[str, Any]) -> None:
    again = decode_segment(encode_segment(clicked(slate(context=store_context(context)))))
    assert isinstance(again, FeedbackBlock) and revive_context(again.slates[0].context) == context


def test_rewards_travel_only_when_they_are_final() -> None:
    again = decode_segment(encode_segment(clicked(slate(rewards={1: 1.0}))))
    assert isinstance(again, FeedbackBlock) and again.slates[0].rewards == {}


def test_an_item_comes_back_as_it_was() -> None:
    item = ItemEvent(item_id="ä", ts=5, vector=[0.5], attributes={"n": 10**30})
    assert decode_item(encode_item(item)) == item


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"\xc1", "not a frame"),
        (pack({"kind": "outcomes", "version": 3}), "version 3"),
        (pack({"kind": "something", "version": 1}), "something"),
        (pack({"kind": "outcomes", "version": 1}), "lacks"),
        (pack({"kind": "forget", "version": 1}), "lacks"),
    ],
)
def test_what_is_no_segment_is_refused_with_the_reason(value: bytes, says: str) -> None:
    with pytest.raises(FrameError, match=says):
        decode_segment(value)


def test_outcomes_go_to_their_user_in_order() -> None:
    mixed = segments()
    routed = route_segments(mixed, lambda user_id: int(user_id[1:]) % 3)
    assert set(routed) == {0, 1, 2}
    for partition, mine in routed.items():
        expected = [op for op in operations(mixed) if int(op[0][1:]) % 3 == partition]
        assert operations(mine) == expected


def operations(chosen: list[Segment]) -> list[tuple[Any, ...]]:
    """Every outcome and forget, in order, by its user."""
    found: list[tuple[Any, ...]] = []
    for segment in chosen:
        if isinstance(segment, Forgotten):
            found.append((segment.user_id, segment.ts))
        elif isinstance(segment, FeedbackBlock):
            columns = zip(segment.kind, segment.ref, segment.place, segment.reward, segment.ts, strict=True)
            for kind, ref, place, reward, ts in columns:
                pair = segment.organic[ref] if kind == 3 else None
                user = pair[0] if pair else segment.slates[ref].user_id
                what = pair[1] if pair else segment.slates[ref].request_id
                found.append((user, kind, what, place, reward, ts))
    return found


def test_blocks_before_and_after_items_become_one_record() -> None:
    one = slate()
    routed = route_segments([clicked(one), ItemsBlock([]), clicked(one)], lambda user_id: 0)
    (block,) = routed[0]
    assert isinstance(block, FeedbackBlock) and (len(block), len(block.slates)) == (2, 1)


def test_a_segment_is_cut_into_records_of_a_bounded_size() -> None:
    whole = clicked(*(slate(f"r{n}", context=b"x" * 1_000) for n in range(20)))
    values = list(bounded(whole, 5_000))
    parts = [decode_segment(value) for value in values]
    assert max(map(len, values)) <= 5_000
    assert operations(parts) == operations([whole])


def test_what_cannot_be_cut_comes_whole() -> None:
    assert len(list(bounded(clicked(slate(context=b"x" * 9_000)), 5_000))) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"items": [["a", 5]]},
        {"clusters": [["one"]]},
        {"clusters": [[2**31]]},
        {"features": ["text"]},
        {"explored": [[-1]]},
        {"propensities": [["half"]]},
        {"rewards": [[[2, 1.0]]]},
        {"user_id": []},
    ],
)
def test_slates_that_nobody_of_ours_wrote_are_refused(wrong: dict[str, Any]) -> None:
    frame = unpack(encode_segment(clicked(slate())))
    frame["slates"] |= wrong
    with pytest.raises(FrameError, match="lacks something or holds something else"):
        decode_segment(pack(frame))


def test_the_id_of_a_slates_features_travels_and_costs_nothing_where_there_is_none() -> None:
    told = clicked(slate(feature_schema="abc"), slate())
    assert decode_segment(encode_segment(told)) == told
    assert "feature_schema" not in unpack(encode_segment(clicked(slate())))["slates"]


def test_what_is_known_of_items_travels_once_with_the_list_and_costs_nothing_where_there_is_none() -> None:
    known = slate(item_context=b'[{"price":3},null]')
    shown = FeedbackBlock(
        [slate("q"), known], [], [SHOWN] * 2, [0, 1], [-1] * 2, [0.0] * 2, [False] * 2, [5] * 2
    )
    again, later = (decode_segment(encode_segment(block)) for block in (shown, clicked(known)))
    assert isinstance(again, FeedbackBlock) and isinstance(later, FeedbackBlock)
    assert [s.item_context for s in again.slates] == [b"", known.item_context]
    assert later.slates[0].item_context == b""
    assert b"item_context" not in encode_segment(clicked(slate()))


def test_what_was_done_stays_with_its_click_wherever_it_goes() -> None:
    block = clicked(slate(user_id="a"), slate("q", user_id="b"), slate("s", user_id="a"))
    block.action = [0, 3, -1]
    routed = route_segments([block], {"a": 0, "b": 1}.__getitem__)
    found = [decode_segment(encode_segment(segment)) for mine in routed.values() for segment in mine]
    assert [one.action for one in found if isinstance(one, FeedbackBlock)] == [[0, -1], [3]]
    assert b"action" not in encode_segment(clicked(slate()))
