"""What a list of others says of its items: places, and numbers among those of the list."""

from __future__ import annotations

from math import inf, isfinite, isnan, log, log1p, nan
from typing import Any

import numpy as np
import pytest

from learners import Ask, Catalogue, LearnerError
from learners.ask import Listed
from learners.scorers.in_list import InList, Settings
from stream.events import ItemEvent


def found(scorer: InList, contexts: list[dict[str, Any]], rows: list[int] | None = None) -> Any:
    listed = Listed(np.array(rows or [-1] * len(contexts), np.int32), contexts)
    return scorer.features(Ask(0, 5, listed=listed), listed.rows)


def by_hand(values: list[Any]) -> list[list[float]]:
    numbers = [float(x) if type(x) in (int, float) and isfinite(x) else nan for x in values]
    known = [x for x in numbers if not isnan(x)]
    logs = [np.sign(x) * log1p(abs(x)) for x in known]
    mean, spread = (np.mean(logs), np.std(logs)) if logs else (nan, nan)
    out = []
    for x in numbers:
        z = 0.0 if spread < 1e-9 else (np.sign(x) * log1p(abs(x)) - mean) / spread
        out.append([-log(1 + sum(other < x for other in known)), z] if not isnan(x) else [nan, nan])
    return out


@pytest.mark.parametrize(
    "prices",
    [
        [30.5, 10, 20.0, 10], [5.0, 5.0, 5.0], [1e300, -1e300, 3.0, 1e-300], [7], [0.1] * 7,
        [3, "4", None, True, [1], inf, nan, 10**400, 2.5], ["a", "b"],
    ],
)  # fmt: skip
def test_places_and_prices_are_those_of_the_list(prices: list[Any]) -> None:
    features = found(InList(Settings(more=0), Catalogue()), [{"price": price} for price in prices])
    is_first = [float(n == 0) for n in range(len(prices))]
    expected = [[-log(n + 1), is_first[n], *pair] for n, pair in enumerate(by_hand([*map(_finite, prices)]))]
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)


def _finite(value: Any) -> Any:
    """A whole number beyond all floats is none."""
    return nan if value == 10**400 else value


def test_what_has_no_name_goes_by_its_hash_and_words_are_no_numbers() -> None:
    scorer = InList(Settings(numbers=("price",), more=3), Catalogue())
    contexts: list[dict[str, Any]] = [
        {"stars": 4, "place": "x", "price": 1},
        {"stars": 5, "price": 2},
        {"price": 3, "other": False},
    ]
    features, alone = found(scorer, contexts), found(scorer, [{"stars": c.get("stars")} for c in contexts])
    at = np.flatnonzero(~np.isnan(alone).all(axis=0))[2:]
    assert [scorer.names[n].rpartition("_")[2] for n in at] == ["rank", "z"]
    np.testing.assert_array_equal(features[:, at], alone[:, at])
    assert features[:2, at[0]].tolist() == pytest.approx([0, -log(2)]) and isnan(features[2, at[0]])
    assert np.isnan(np.delete(features, [0, 1, 2, 3, *at], axis=1)).all()


def test_the_catalogue_says_what_the_list_does_not_and_is_read_again_when_it_changes() -> None:
    catalogue = Catalogue()
    scorer = InList(Settings(more=0), catalogue)
    for row, price in enumerate([4, 1, 3]):
        catalogue.put(row, ItemEvent(item_id=f"i{row}", ts=1, attributes={"price": price, "words": "many"}))
    assert found(scorer, [], [0, 1, 2])[:, 2].tolist() == pytest.approx([-log(3), 0, -log(2)])
    assert found(scorer, [{}, {"price": 9}, {}], [0, 1, 2])[:, 2].tolist() == pytest.approx(
        [-log(2), -log(3), 0]
    )
    catalogue.put(2, ItemEvent(item_id="i2", ts=2, attributes={"price": 5}))
    copy = Catalogue()
    copy.restore(catalogue.snapshot())
    for each in (scorer, InList(Settings(more=0), copy)):
        assert found(each, [], [0, 1, 2])[:, 2].tolist() == pytest.approx([-log(2), 0, -log(3)])
    catalogue.remove_items(np.array([2], np.int32))
    assert isnan(found(scorer, [], [0, 1, 2])[2, 2])


def test_a_thousand_names_in_one_list_are_no_matter_and_one_of_ones_own_is_found_among_them() -> None:
    contexts = [{f"a{n}": n for n in range(1_000)} | {"price": price} for price in (2, 1)]
    features = found(InList(Settings(), Catalogue()), contexts)
    assert features[:, 2].tolist() == pytest.approx([-log(2), 0])


def test_a_number_that_stands_twice_is_refused() -> None:
    for numbers in (("price", "price"), ("number_1",)):
        with pytest.raises(LearnerError, match=f"{numbers[0]!r} stands twice"):
            InList(Settings(numbers=numbers), Catalogue())
