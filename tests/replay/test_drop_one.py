"""Which features carry an order: three planted ones, and one that knows the click."""

from __future__ import annotations

from io import StringIO

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

from replay.drop_one import DropOne
from replay.drop_one_report import drop_one_json, leak_notes, print_drop_one
from replay.lists import Lists
from stream.blocks import FeedbackBlock, Slate

WEIGHTS = np.array([2.0, 1.0, 0.0, 0.5])


class Planted:
    """Items "xyz" by features: `strong` and `weak` of one scorer, `idle` and `leak` of another."""

    features = {"carrying": ["strong", "weak"], "other": ["idle", "leak"]}  # noqa: RUF012
    shares = {"strong": 0.9, "weak": 0.095, "idle": 0.005}  # noqa: RUF012

    def __init__(self, leaks: bool = True) -> None:
        self.leaks = leaks
        self.rng = np.random.default_rng(7)
        self.logged: list[npt.NDArray[np.float32]] = []

    def list_features(self, slate: Slate, ts: int, *, as_logged: bool = False) -> npt.NDArray[np.float32]:
        found = self.rng.integers(0, 3, (len(slate.items), 4)).astype(np.float32)
        clicked = [slate.rewards.get(n, 0.0) > 0 for n in range(len(slate.items))]
        found[:, 3] = clicked if self.leaks else 0.0
        self.logged.append(found)
        return found

    def score(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        scores = np.nan_to_num(features) @ WEIGHTS
        return np.where(np.isnan(features).all(axis=1), np.nan, scores)

    def scores(self, slate: Slate, ts: int, *, as_logged: bool = False) -> npt.NDArray[np.float64]:
        raise NotImplementedError  # lists are scored by their features


def _played(scorer: Planted, n: int = 40) -> tuple[DropOne, Lists]:
    without = DropOne(scorer)
    lists = Lists(scorer, without=without)
    for request in range(n):
        slate = Slate(
            request_id=str(request), user_id="u", ts=5, items=["x", "y", "z"], rewards={request % 3: 1.0}
        )
        lists.observe(
            FeedbackBlock([slate], [], [0, 2], [0, 0], [-1, -1], [0.0, 0.0], [False, False], [5, 6])
        )
    return without, lists


def _loss(features: npt.NDArray[np.float32], clicked: int, *without: int) -> float:
    weights = np.where(np.isin(np.arange(4), without), 0.0, WEIGHTS)
    scores = features @ weights
    return float(np.log(np.exp(scores).sum()) - scores[clicked])


def test_the_loss_without_a_feature_is_that_of_the_score_without_its_term() -> None:
    scorer = Planted()
    without, lists = _played(scorer)
    pairs = [(features, n % 3) for n, features in enumerate(scorer.logged)]
    for each, columns in (("strong", (0,)), ("weak", (1,)), ("idle", (2,)), ("carrying", (0, 1))):
        expected = np.mean([_loss(f, at, *columns) - _loss(f, at) for f, at in pairs])
        found = {one.name: one.loss.mean for one in (*without.features(), *without.scorers())}
        assert found[each] == pytest.approx(expected, abs=1e-12), each
    assert lists.result.whole.mean(0, -1) == pytest.approx(np.mean([_loss(f, at) for f, at in pairs]))


def test_a_feature_that_equals_the_label_is_called_a_leak_and_no_other_is() -> None:
    said = leak_notes(_played(Planted())[0])
    assert len(said) == 1 and "feature leak alone tells which item was clicked (AUC 1.000)" in said[0]
    assert not leak_notes(_played(Planted(leaks=False))[0])
    assert not leak_notes(_played(Planted(), n=9)[0])


def test_bars_are_as_long_as_the_loss_and_json_has_every_feature() -> None:
    without, _ = _played(Planted())
    console = Console(width=80, record=True, file=StringIO())
    print_drop_one(console, without)
    text = console.export_text()
    assert text.count("█" * 16) == 2 and "AUC alone" in text
    assert "say nothing here: idle\n" in text
    assert "the mixture goes by strong 0.90, weak 0.10\n" in text
    found = drop_one_json(without)
    assert (found["lists"], len(found["features"]), len(found["scorers"])) == (40, 4, 2)


def test_an_item_of_which_nothing_is_known_stays_unknown_without_any_feature() -> None:
    class Half(Planted):
        def list_features(self, slate: Slate, ts: int, *, as_logged: bool = False) -> npt.NDArray[np.float32]:
            return np.array([[1, 1, 1, 1], [np.nan] * 4, [0, 0, 0, 0]], np.float32)

    without, lists = _played(Half(), n=1)
    expected = np.log1p(np.exp(-3.5 + 2.0)) - np.log1p(np.exp(-3.5))
    found = {one.name: one.loss.mean for one in without.features()}
    assert found["strong"] == pytest.approx(expected)
    assert lists.result.unscored == 0
