"""Blocks for items as bytes, by partition, in two halves; and what of them is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream.block_codec import decode_segment, encode_segment
from stream.block_routing import bounded, route_segments
from stream.blocks import FeedbackBlock, Segment
from stream.errors import FrameError, NewerFrameError
from stream.frame import pack, unpack
from stream.item_blocks import ItemOutcomes, Ticked
from stream.item_routing import route_outcomes
from stream.parcels import ITEM, Parcel, routed
from tests.harness.blocks import told

NAMES = [f"i{n}" for n in range(12)]
HOME = np.arange(12, dtype=np.int32) % 3


def outcomes(seed: int = 0, n: int = 40) -> ItemOutcomes:
    rng = np.random.default_rng(seed)
    kind = rng.choice([0, 1, 3], n).astype(np.int8)
    counts = np.where(kind == 0, rng.integers(1, 6, n), 1)
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return ItemOutcomes(
        NAMES, kind, rng.integers(0, 9_000, n), rng.random(n), rng.random(n) < 0.5, rng.random(n) < 0.5,
        rng.integers(-1, 5, (n, 2)).astype(np.int32), rng.random((n, 2)).astype(np.float32), start,
        rng.integers(0, 12, start[-1]).astype(np.int32), rng.random(n), rng.integers(0, 9_000, n),
        rng.random((n, 3)).astype(np.float32), _chances(rng, int(start[-1])),
        rng.integers(-1, 2, n).astype(np.int8), ["one", "two"], "a layout",
    )  # fmt: skip


def _chances(rng: np.random.Generator, n: int) -> Any:
    return np.where(rng.random(n) < 0.2, np.nan, rng.random(n)).astype(np.float32)


def samples(seed: int = 0, n: int = 40) -> Parcel:
    rng = np.random.default_rng(seed)
    users = {"vector": rng.random((9, 3)).astype(np.float32), "bias": rng.random(9).astype(np.float32)}
    table = {
        "item": rng.integers(0, 12, n).astype(np.int32),
        "user": np.sort(rng.integers(0, 9, n)).astype(np.int32),
        "label": (rng.random(n) < 0.2).astype(np.float32),
    }
    refs = {"samples": {"user": "users", "item": ITEM}}
    return Parcel("mf", NAMES, {"users": users, "samples": table}, refs, {"samples": ("item",)}, ts=7)


def pairs(seed: int = 0, n: int = 40) -> Parcel:
    rng = np.random.default_rng(seed)
    item, other = rng.integers(0, 12, (2, n)).astype(np.int32)
    table = {"item": item, "other": other, "ts": rng.integers(0, 99, n)}
    refs = {"pairs": {"item": ITEM, "other": ITEM}}
    return Parcel("cooccurrence", NAMES, {"pairs": table}, refs, {"pairs": ("item", "other")})


def home(name: str) -> int:
    return int(HOME[NAMES.index(name)])


@pytest.mark.parametrize("block", [outcomes(), samples(), pairs(), outcomes(n=1), samples(n=0), pairs(n=0)])
def test_a_block_comes_back_as_it_was(block: ItemOutcomes | Parcel) -> None:
    again = decode_segment(encode_segment(block))
    assert type(again) is type(block) and told(again) == told(block)


def test_marks_come_back_as_they_were() -> None:
    assert decode_segment(encode_segment(Ticked(3, 90, 80))) == Ticked(3, 90, 80)


def test_what_nothing_routes_goes_to_every_partition_and_is_never_cut() -> None:
    parcel = Parcel("p", [], {"t": {"n": np.arange(9)}})
    assert routed(parcel, HOME, 3) == dict.fromkeys(range(3), parcel)
    assert len(list(bounded(parcel, 9))) == 1


@pytest.mark.parametrize("seed", range(3))
def test_every_partition_gets_what_is_of_its_items_in_order(seed: int) -> None:
    shown, sampled, paired = outcomes(seed), samples(seed), pairs(seed)
    by_outcome, by_sample = route_outcomes(shown, HOME), routed(sampled, HOME, 3)
    by_pair = routed(paired, HOME, 3)
    for q in range(3):
        assert told(by_outcome[q]) == [entry for entry in told(shown) if home(entry[-1]) == q]
        assert told(by_sample[q]) == [entry for entry in told(sampled) if home(entry[0]) == q]
        assert told(by_pair[q]) == [entry for entry in told(paired) if q in (home(entry[0]), home(entry[1]))]
        assert {home(name) for name in by_outcome[q].names + by_sample[q].names} == {q}


@pytest.mark.parametrize("block", [outcomes(), samples(), pairs()])
def test_a_large_block_is_cut_into_records(block: ItemOutcomes | Parcel) -> None:
    values = list(bounded(block, 900))
    assert len(values) > 1 and max(map(len, values)) <= 900
    assert [entry for value in values for entry in told(decode_segment(value))] == told(block)


@pytest.mark.parametrize(
    ("block", "wrong"),
    [
        (outcomes(), {"kind": np.full(40, 4, np.int8)}),
        (outcomes(), {"items": np.full(outcomes().items.size, 12, np.int32)}),
        (outcomes(), {"start": np.zeros(41, np.int32)}),
        (outcomes(), {"ts": np.zeros(40, np.int32)}),
        (outcomes(), {"weights": np.zeros((40, 3), np.float32)}),
        (outcomes(), {"clusters": np.full((40, 2), -2, np.int32)}),
        (outcomes(), {"names": ["a", 5]}),
        (outcomes(), {"request": np.full((40, 3), np.nan, np.float32)}),
        (outcomes(), {"request": np.full((39, 3), 1, np.float32)}),
        (outcomes(), {"propensity": np.full(outcomes().items.size, 1.5, np.float32)}),
        (outcomes(), {"propensity": np.full(3, 0.5, np.float32)}),
        (outcomes(), {"policy": np.full(40, 2, np.int8)}),
        (outcomes(), {"policy": np.full(40, -2, np.int8)}),
        (outcomes(), {"policies": ["a", 5]}),
        (outcomes(), {"layout": 5}),
        (samples(), {"tables.samples.user": np.full(40, 9, np.int32)}),
        (samples(), {"tables.samples.item": np.full(40, -1, np.int32)}),
        (samples(), {"tables.users.vector": np.full((9, 3), np.nan, np.float32)}),
        (samples(), {"tables.samples.label": [1.0]}),
        (samples(), {"to.samples": ["label"]}),
        (samples(), {"refs.samples.user": "nobody"}),
        (pairs(), {"tables.pairs.other": np.full(40, 12, np.int32)}),
        (pairs(), {"tables.pairs.ts": np.zeros(39, np.int64)}),
        (pairs(), {"tables.pairs.ts": np.full(40, 2**63 - 1)}),
        (pairs(), {"part": 5}),
        (Ticked(0, 1, 1), {"ts": "soon"}),
    ],
)
def test_what_a_kernel_would_stumble_over_is_refused(block: Segment, wrong: dict[str, Any]) -> None:
    frame = unpack(encode_segment(block))
    ((path, value),) = wrong.items()
    inside = frame["columns"] if path in frame.get("columns", {}) else frame
    *way, last = path.split(".")
    for key in way:
        inside = inside[key]
    inside[last] = value
    with pytest.raises(FrameError, match="parcel" if isinstance(block, Parcel) else frame["kind"]):
        decode_segment(pack(frame))


@pytest.mark.parametrize("wrong", [{"ref": [1]}, {"kind": [4]}, {"place": [2]}, {"ts": [1, 2]}])
def test_outcomes_that_point_beyond_their_slates_are_refused(wrong: dict[str, list[int]]) -> None:
    block = FeedbackBlock([], [("ann", "a")], [3], [0], [-1], [1.0], [True], [5])
    frame = unpack(encode_segment(block))
    types = {"ref": np.int32, "kind": np.int8, "place": np.int32, "ts": np.int64}
    columns = {name: np.array(values, types[name]) for name, values in wrong.items()}
    with pytest.raises(FrameError, match="lacks something or holds something else"):
        decode_segment(pack({**frame, "operations": {**frame["operations"], **columns}}))


def test_a_newer_block_is_told_apart_from_a_damaged_one() -> None:
    with pytest.raises(NewerFrameError, match="version 3"):
        decode_segment(pack({"kind": "samples", "version": 3}))


def test_ticks_go_everywhere_and_only_the_newest_of_a_row_stays() -> None:
    block = FeedbackBlock([], [("ann", "a")], [3], [0], [-1], [1.0], [True], [5])
    routed = route_segments([Ticked(1, 5, 5), Ticked(1, 6, 6), block, Ticked(1, 7, 7)], lambda _: 0, 2)
    assert [getattr(s, "ts", None) for s in routed[0]] == [6, [5], 7]
    assert routed[1] == [Ticked(1, 7, 7)]
