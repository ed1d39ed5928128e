"""Scorers: each feature by hand, for items that are known and one that is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from learners import (
    Ask,
    CoOccurrence,
    EmbeddingTable,
    Histories,
    MatrixFactorisation,
    Popularity,
    Renamed,
    default_scorers,
)
from learners.scorers import popular, taste, together, together_by_history
from learners.testing import organic_rows
from learners.world import World

ROWS = np.array([1, -1], np.int32)
LINK = np.log(1 / 4 + 0.01)  # one pair, degrees 1 and 1, smoothing 3, power 1/2


@pytest.fixture
def parts() -> dict[str, Any]:
    users, items = EmbeddingTable(2), EmbeddingTable(2)
    users.rows(["u"], 0)
    items.rows(["a", "b", "c"], 0)
    users.data[0], items.data[1] = [1, 2], [3, 4]
    popularity, histories, cooccurrence = Popularity(half_lives_ms=(10, 20)), Histories(), CoOccurrence()
    rows = organic_rows([(0, 0), (1, 0), (1, 1)], ts=[0, 0, 0])
    popularity.learn(rows)
    cooccurrence.learn_pairs(histories.learn(rows))
    mf = MatrixFactorisation(users, items)
    return {"popularity": popularity, "cooccurrence": cooccurrence, "history": histories, "mf": mf}


def of_user_0(parts: dict[str, Any]) -> Ask:
    return Ask(0, 20, history=parts["history"].clicked(0))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (popular, [[np.log(0.25 + 0.5), np.log(0.5 + 0.5)], [np.log(0.5), np.log(0.5)]]),
        (together, [[LINK], [np.log(0.01)]]),
        (together_by_history, [[LINK * np.log(2)], [np.log(0.01) * np.log(2)]]),
        (taste, [[11.0], [0.0]]),
    ],
)
def test_features_are_the_parts_in_logarithms(parts: Any, module: Any, expected: list[list[float]]) -> None:
    settings = module.Settings()
    world = World(parts={name: parts[name] for name in module.needs(settings)})
    scorer = module.build(settings, world)
    found = scorer.features(of_user_0(parts), ROWS)
    assert found.dtype.kind == "f" and np.allclose(found, expected, atol=1e-4)
    assert found.shape[1] == len(scorer.names) == len(scorer.weights)


def test_settings_arrive(parts: Any) -> None:
    ask = of_user_0(parts)
    cooccurrence = parts["cooccurrence"]
    one = together.Together(together.Settings(floor=1.0, weight=0.7), cooccurrence)
    assert one.weights == (0.7,) and one.features(ask, ROWS)[1, 0] == 0.0
    capped = together_by_history.TogetherByHistory(together_by_history.Settings(cap=1), cooccurrence)
    longer = Ask(0, 20, history=np.zeros(9, np.int32))
    assert capped.features(longer, ROWS)[1, 0] == pytest.approx(np.log(0.01) * np.log(2))
    disliked = popular.Popular(popular.Settings(floor=0.1, later_weight=0.3), parts["popularity"])
    assert disliked.weights == (1.0, 0.3)
    assert disliked.features(ask, ROWS)[1].tolist() == pytest.approx([np.log(0.1)] * 2)


def test_what_goes_together_is_looked_up_once_a_request(parts: Any) -> None:
    ask, scorers = of_user_0(parts), default_scorers(parts["popularity"], parts["cooccurrence"], parts["mf"])
    before = [scorer.features(ask, ROWS).tolist() for scorer in scorers]
    parts["cooccurrence"].remove_items(np.array([0, 1], np.int32))
    after = [scorer.features(ask, ROWS).tolist() for scorer in scorers]
    assert after == before
    other_rows = scorers[1].features(ask, np.array([-1, 1], np.int32)).tolist()
    assert other_rows == before[1][::-1]


def test_two_of_a_kind_stand_side_by_side_under_names(parts: Any) -> None:
    other = Renamed(together.Together(together.Settings(items=3), parts["cooccurrence"]), "near")
    assert (other.names, other.weights) == (("near.together",), (0.5,))
    assert other.features(of_user_0(parts), ROWS)[0, 0] == pytest.approx(LINK)
