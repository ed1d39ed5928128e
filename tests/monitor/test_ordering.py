"""Metrics of one list with ties: by hand, and as the mean over every order of what ties."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest

from monitor import ORDER_METRICS, auc, hit_at_k, ndcg_at_k, order_metrics
from monitor.errors import MeasureError


def _by_trying(scores: list[float], labels: list[int]) -> list[float]:
    """The mean over all orders that sort by score."""
    found, n = [], len(scores)
    for order in permutations(range(n)):
        if any(scores[a] < scores[b] for a, b in pairwise(order)):
            continue
        gains = [float(labels[at]) for at in order]
        first = gains.index(1.0)
        names = [str(place) for place in range(n)]
        hits = [hit_at_k(names, str(first), k) for k in (1, 5)]
        own = auc([-float(place) for place in range(n)], gains)
        found.append([1 / (first + 1), ndcg_at_k(gains, 5), ndcg_at_k(gains, 10), *hits, own])
    return [float(value) for value in np.mean(found, axis=0)]


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        ([3, 2, 1], [0, 0, 1]),
        ([1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 0, 0, 0]),
        ([2, 1, 1, 1, 1, 1, 0], [0, 1, 1, 0, 0, 1, 1]),
        ([5, 1, 1, 1, 4, 1, -np.inf], [0, 0, 1, 0, 0, 1, 1]),
        ([0, 0], [1, 1]),
    ],
)
def test_ties_count_as_the_mean_over_all_their_orders(scores: list[float], labels: list[int]) -> None:
    found = order_metrics([scores, [0.0] * len(scores)], labels)
    np.testing.assert_allclose(found[0], _by_trying(scores, labels))
    np.testing.assert_allclose(found[1], _by_trying([0.0] * len(scores), labels))


def test_a_click_in_the_third_place_of_four() -> None:
    assert ORDER_METRICS == ("mrr", "ndcg_at_5", "ndcg_at_10", "hit_at_1", "hit_at_5", "auc")
    found = order_metrics([4, 3, 2, 1], [0, 0, 1, 0])
    np.testing.assert_allclose(found, [1 / 3, 0.5, 0.5, 0.0, 1.0, 1 / 3])


@pytest.mark.parametrize(("scores", "labels"), [([1, 2], [0, 0]), ([1, np.nan], [1, 0]), ([1], [1, 0])])
def test_a_list_without_a_click_or_with_scores_that_are_none_is_refused(
    scores: list[float], labels: list[int]
) -> None:
    with pytest.raises(MeasureError, match="an order needs scores"):
        order_metrics(scores, labels)
