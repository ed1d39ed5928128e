"""The ranker on lists whose rule is planted: does it end at the best order, whichever that is?

Thirty features of every kind that logs have: place in the list, price within it, the session's last item
(missing where there is none), clicks at several half-lives, which agree with each other, and noise. Clicks
follow one of them, or several, or turn to another half-way. Each list is scored, then learned. Beside the
ranker stand its linear expert alone and the best order of one feature, chosen in hindsight and with the
better sign.

`hotel_search`, where it is there, is a log of real lists, with a dozen features (`hotel_lists`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.quality.hotel_lists import hotel_lists
from benchmarks.quality.rows import SEEDS, Row, summary
from learners.ask import Ask
from learners.parts.ranker import Ranker
from learners.rows import RowBlock
from stream.blocks import CLICK

__all__ = ["WORLDS", "Planted", "Run", "learned", "planted", "rows", "single_orders"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Lists = Sequence[tuple[Float32, int]]
"""Features (n, F) of a list, and which of it was clicked."""

_N, _F = 20, 30
_PLACE, _FIRST, _PRICE, _PRICE_Z, _LAST, _NEAR, _BELOW = range(7)
_CLICKS = range(7, 12)
_FASHION = 8


class Planted(NamedTuple):
    """What clicks follow: weights of features, by number, in the first half and in the second."""

    before: dict[int, float]
    after: dict[int, float]


_PLACE_ALONE, _PRICE_ALONE = {_PLACE: 2.0}, {_PRICE: 2.5}
_LAST_ALONE, _FASHION_ALONE = {_LAST: 4.0}, {_FASHION: 2.0}
_SEVERAL = {_PLACE: 1.5, _PRICE: 1.5, _FASHION: 0.6}
WORLDS = {
    "only the place": Planted(_PLACE_ALONE, _PLACE_ALONE),
    "only the price within the list": Planted(_PRICE_ALONE, _PRICE_ALONE),
    "only the session's last item": Planted(_LAST_ALONE, _LAST_ALONE),
    "only fashion": Planted(_FASHION_ALONE, _FASHION_ALONE),
    "place, price and fashion": Planted(_SEVERAL, _SEVERAL),
    "the place, then the price": Planted(_PLACE_ALONE, _PRICE_ALONE),
    "the last item, then fashion": Planted(_LAST_ALONE, _FASHION_ALONE),
}


def planted(world: Planted, n_lists: int, seed: int) -> Lists:
    """Lists of a world, with clicks drawn from the softmax of its rule; the second half follows `after`."""
    rng, found = np.random.default_rng(seed), []
    for t in range(n_lists):
        x = _features(rng)
        rule = world.before if 2 * t < n_lists else world.after
        scores = sum(weight * np.nan_to_num(x[:, k]) for k, weight in rule.items())
        found.append((x, int(np.argmax(scores + rng.gumbel(size=_N)))))
    return found


def _features(rng: np.random.Generator) -> Float32:
    x = rng.normal(size=(_N, _F))
    place, price = np.arange(_N), rng.permutation(_N)
    x[:, _PLACE], x[:, _FIRST] = -np.log1p(place), place == 0
    x[:, _PRICE], x[:, _PRICE_Z] = -np.log1p(price), (price - price.mean()) / price.std()
    x[:, _LAST : _BELOW + 1] = np.nan
    if rng.random() < 0.6:  # else the session has not touched anything here
        last = int(rng.integers(_N))
        x[:, _LAST], x[:, _NEAR], x[:, _BELOW] = (
            place == last,
            -np.log1p(abs(place - last)),
            place == last + 1,
        )
    liked = rng.exponential(1.5, size=(_N, 1))
    x[:, _CLICKS] = liked + rng.normal(size=(_N, 5)) * (0.2 + 0.2 * np.arange(5))
    return x.astype(np.float32)


class _Given:
    """A scorer that is never asked: features come with the lists."""

    def __init__(self, n_features: int) -> None:
        self.names = tuple(f"feature_{k}" for k in range(n_features))
        self.weights = (0.0,) * n_features

    def features(self, ask: Ask, rows: npt.NDArray[np.int32]) -> Float32:
        msg = "features come with the lists"
        raise AssertionError(msg)


class Run(NamedTuple):
    """Of each click, before it is learned: reciprocal rank and share of the others that stand below (T,), by
    the ranker and by its linear expert alone, and log losses of the ranker (T,) and of each expert (T, E)."""

    rank: Float64
    below: Float64
    linear_rank: Float64
    linear_below: Float64
    loss: Float64
    losses: Float64


def learned(lists: Lists) -> Run:
    """What the ranker made of the lists."""
    ranker, found = Ranker([_Given(lists[0][0].shape[1])]), []
    for x, clicked in lists:
        scores, by_expert = ranker.score(x), _by_expert(ranker, x)
        loss, losses = _losses(scores[:, None], clicked)[0], _losses(by_expert, clicked)
        found.append((*_placed(scores, clicked), *_placed(by_expert[:, 0], clicked), loss, losses))
        ranker.learn(_block(x, clicked))
    return Run(*(np.array(column) for column in zip(*found, strict=True)))


def _by_expert(ranker: Ranker, x: Float32) -> Float64:
    """Scores (n, 2 + F) of a list by each expert alone: steady, quick, and each feature's."""
    columns, known, lacks = ranker.experts.columns, np.nan_to_num(x).astype(np.float64), np.isnan(x)
    of_all = [known @ columns[name] + lacks @ columns[f"{name}_missing"] for name in ("linear", "quick")]
    return np.column_stack([*of_all, known * columns["single"] + lacks * columns["single_missing"]])


def _placed(scores: Float64, clicked: int) -> tuple[float, float]:
    """Reciprocal rank, and share of the others below; ties count half."""
    above, equal = (scores > scores[clicked]).sum(), (scores == scores[clicked]).sum() - 1
    before = float(above + 0.5 * equal)
    return 1.0 / (1.0 + before), 1.0 - before / (scores.size - 1)


def _losses(scores: Float64, clicked: int) -> Float64:
    """Log losses (E,) of scores (n, E)."""
    most = scores.max(axis=0)
    found: Float64 = np.log(np.exp(scores - most).sum(axis=0)) + most - scores[clicked]
    return found


def _block(x: Float32, clicked: int) -> RowBlock:
    block, one = RowBlock.empty(), np.ones(1, np.bool_)
    block.start, block.other_start = np.array([0, len(x)], np.int32), np.zeros(2, np.int32)
    block.rank_features, block.other_features = x, np.zeros((0, x.shape[1]), np.float32)
    block.ranked = one
    block.kind, block.first, block.reward = np.full(1, CLICK, np.int8), one, np.ones(1)
    block.slate, block.place = np.zeros(1, np.int32), np.array([clicked], np.int32)
    return block


def single_orders(lists: Lists) -> Float64:
    """Reciprocal ranks (T, 2 F) by each feature alone, in either direction; what is missing stands last."""
    found = np.empty((len(lists), 2 * lists[0][0].shape[1]))
    for t, (x, clicked) in enumerate(lists):
        both = np.nan_to_num(np.hstack([x, -x]), nan=-np.inf)
        above, equal = (both > both[clicked]).sum(0), (both == both[clicked]).sum(0) - 1
        found[t] = 1.0 / (1.0 + above + 0.5 * equal)
    return found


def rows(quick: bool) -> list[Row]:
    """MRR of clicks before they are learned, by stretch of the log, beside the best order of one feature."""
    n, found = 400 if quick else 4_000, list[Row]()
    for name, world in WORLDS.items():
        found += _rows_of(name, [planted(world, n, seed) for seed in SEEDS])
    hotels = hotel_lists()
    if hotels:
        halves = [_half_of_users(hotels, seed) for seed in SEEDS]
        found += _rows_of("hotel_search", [half[:n] for half in halves] if quick else halves)
    return found


def _half_of_users(lists: Sequence[tuple[str, Float32, int]], seed: int) -> Lists:
    """The lists of a random half of the users, so that the interval says how much hangs on who they are."""
    users = sorted({user for user, _, _ in lists})
    chosen = np.random.default_rng(seed).random(len(users)) < 0.5
    kept = {user for user, is_kept in zip(users, chosen.tolist(), strict=True) if is_kept}
    return [(x, clicked) for user, x, clicked in lists if user in kept]


def _rows_of(world: str, logs: Sequence[Lists]) -> list[Row]:
    runs = [learned(lists) for lists in logs]
    singles = [single_orders(lists) for lists in logs]
    best, linear = "(best order of one feature, in hindsight)", "its linear expert alone"
    found = []
    for stretch, part in _STRETCHES.items():
        metric = f"MRR, {stretch}"
        for name, ranks in (
            ("ranker", [run.rank for run in runs]),
            (linear, [run.linear_rank for run in runs]),
        ):
            found.append(summary(world, name, metric, [_part(each, part).mean() for each in ranks]))
        values = [_part(each, part).mean(axis=0).max() for each in singles]
        found.append(summary(world, best, metric, values))
        behind = [_part(run.loss, part).mean() - _part(run.losses, part).mean(axis=0).min() for run in runs]
        metric = f"log loss a list beyond its best expert's, {stretch}"
        found.append(summary(world, "ranker", metric, behind, higher_is_better=False))
    for name, below in (("ranker", [r.below for r in runs]), (linear, [r.linear_below for r in runs])):
        found.append(summary(world, name, "AUC within lists, all", [each.mean() for each in below]))
    return found


_STRETCHES = {
    "first tenth": (0.0, 0.1),
    "second half": (0.5, 1.0),
    "last quarter": (0.75, 1.0),
    "all": (0.0, 1.0),
}


def _part(values: Float64, part: tuple[float, float]) -> Float64:
    return values[int(part[0] * len(values)) : int(part[1] * len(values))]
