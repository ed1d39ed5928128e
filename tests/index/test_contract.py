"""Every index of the room keeps the contract, with and without a graph beneath."""

from __future__ import annotations

import inspect
from functools import partial
from typing import cast

import numpy as np
import pytest

import index
from index import IndexInputError, LiveIndex, LiveSettings
from index.testing import MakeIndex, VectorIndexContract, recall_of

FOUND: dict[str, MakeIndex] = {
    name: cast("MakeIndex", kind)
    for name in index.__all__
    if inspect.isclass(kind := getattr(index, name)) and hasattr(kind, "search") and name != "VectorIndex"
}
# So small that hardly anything is scanned: walks, inline links and rebuilds under the same contract.
VARIANTS: dict[str, MakeIndex] = {
    **FOUND,
    "LiveIndex walking": partial(LiveIndex, settings=LiveSettings(exact_below=8, max_pending=4)),
    "LiveIndex waiting": partial(LiveIndex, settings=LiveSettings(exact_below=8), background=True),
}


@pytest.fixture(params=VARIANTS)
def make(request: pytest.FixtureRequest) -> MakeIndex:
    return VARIANTS[request.param]


class TestEveryIndex(VectorIndexContract):
    pass


@pytest.mark.parametrize(("k", "n"), [(0, 1), (-1, 1), (10, 0)])
def test_recall_of_nothing_is_refused_with_what_was_asked(k: int, n: int) -> None:
    index = LiveIndex(2, 8)
    with pytest.raises(IndexInputError, match=f"got k={k} and {n} queries"):
        recall_of(index, index, np.ones((n, 2), np.float32), k)


def test_the_discovery_finds_both() -> None:
    assert set(FOUND) == {"ExactIndex", "LiveIndex"}
