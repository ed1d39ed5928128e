"""Shared columns come to every follower as the sum of all shares, whatever the order of their rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from learners import Column, Part, PartSpec
from learners.part import Columns, Side
from learning.rows.codec import decode_control, encode_control
from learning.rows.shared import SharedFrames, SharedRows
from stream.errors import FrameError
from stream.frame import Frame

SPEC = PartSpec({"shared": (Column("sums", "f8", (2,), merge="sum"), Column("scale", "f8", (1,)))})


class Sums(Part):
    """Two numbers that partitions add up, and one that partition 0 says."""

    spec = SPEC

    def __init__(self, *sums: float) -> None:
        self.sums, self.scale, self.is_new = np.array(sums, np.float64), np.ones(1), True

    def touched(self, side: Side) -> Any:
        rows, self.is_new = np.zeros(int(self.is_new), np.int32), False
        return rows

    def export(self, side: Side, rows: Any) -> Columns:
        return {"sums": self.sums, "scale": self.scale}


def follower() -> SharedFrames:
    return SharedFrames({"mine": Sums(0, 0)}, {"mine": "policy:mine"})


def put(frames: SharedFrames, *shards: SharedRows) -> None:
    for shard in shards:
        for output in shard.take():
            assert output.value is not None and output.key is not None
            kind, state = decode_control(output.value)
            assert kind == "part"
            frames.put(output.key.decode(), state)


def columns(frame: Frame) -> Any:
    return frame["policy:mine"]["shared"]


def test_shares_are_added_and_the_newest_of_each_counts() -> None:
    parts = [Sums(1, 2), Sums(10, 20)]
    shards = [SharedRows({"mine": part}, "items", n) for n, part in enumerate(parts)]
    frames = follower()
    put(frames, *shards[::-1])
    assert columns(frames.take())["sums"].tolist() == [11, 22]
    parts[1].sums, parts[1].is_new = np.array([30.0, 40.0]), True
    put(frames, *shards)
    found = columns(frames.take())
    assert (found["sums"].tolist(), found["scale"].tolist()) == ([31, 42], [1])
    assert frames.take() == {}


def test_what_one_owner_says_waits_for_it() -> None:
    frames, second = follower(), SharedRows({"mine": Sums(1, 2)}, "items", 1)
    put(frames, second)
    assert frames.take() == {}
    put(frames, SharedRows({"mine": Sums(3, 4)}, "items", 0))
    assert columns(frames.take())["sums"].tolist() == [4, 6]


def test_a_share_that_is_gone_counts_no_more_and_a_restart_keeps_the_others() -> None:
    frames = follower()
    put(frames, *(SharedRows({"mine": Sums(n, n)}, "items", n) for n in range(3)))
    frames.take()
    again = follower()
    again.restore(frames.snapshot())
    again.drop("part/mine/items/2")
    assert columns(again.take())["sums"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("key", "columns", "says"),
    [
        ("part/mine/items/0", {"sums": np.zeros(3)}, "column 'sums': expected float64 of shape"),
        ("part/mine/items/0", {"sums": np.array([1, np.nan])}, "no finite number"),
        ("part/mine/items/0", {}, "the row has none of them"),
        ("part/other/items/0", {"sums": np.zeros(2)}, "another program has written here"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_name(key: str, columns: Any, says: str) -> None:
    with pytest.raises(FrameError, match=says):
        follower().put(key, decode_control(encode_control("part", {"part": "mine", "columns": columns}))[1])


def test_a_part_that_is_not_configured_is_passed_over_and_named() -> None:
    frames = follower()
    frames.put("part/lin_ucb/items/0", {"part": "lin_ucb", "columns": {}})
    assert (frames.unknown, frames.take()) == ({"lin_ucb"}, {})
