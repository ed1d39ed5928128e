"""Whole lists as columns."""

from __future__ import annotations

import numpy as np
import pytest

from learners.encode_lists import encode_lists
from learners.feature_schema import FeatureSchemas
from stream.open_lists import Followed, OpenList
from stream.ops.kinds import CLICK, CLOSED
from stream.training import TrainingLists


@pytest.mark.parametrize(("kind", "reward"), [(CLICK, 0.0), (CLOSED, 2.5)])
def test_rewards_are_those_of_closed_lists_so_that_it_does_not_matter_where_blocks_end(
    kind: int, reward: float
) -> None:
    one, nothing = np.zeros(1, np.int32), np.zeros(0, np.int32)
    place = one if kind == CLICK else one - 1
    block = TrainingLists(
        ["r"], np.array([kind], np.int8), one, place, np.ones(1), one == 0, np.array([9]), [], [], nothing,
        nothing, nothing, np.zeros(0, "<f2"),
    )  # fmt: skip
    lists = [OpenList("ann", 5, "", 2, 0, b"", 1.0, {1: 2.5})]
    rows = encode_lists(block, Followed(lists, one, np.ones(1), 0), FeatureSchemas(["taste"]))
    assert rows.rewards.tolist() == [0.0, reward]
