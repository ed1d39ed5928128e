"""The quick suite keeps to its bands: a change that makes learning worse is seen."""

from __future__ import annotations

from functools import cache

import pytest

from benchmarks.quality.bands import outside, read_bands
from benchmarks.quality.rows import SEEDS, summary
from benchmarks.quality.suite import modules, rows_of

LONG = {"networks"}
quick = cache(lambda part: rows_of(part, quick=True))


@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=[pytest.mark.long] if part in LONG else []) for part in modules()]
)
def test_nothing_is_learned_worse_than_its_band(part: str) -> None:
    rows, bands = quick(part), read_bands()
    if not rows:
        pytest.skip(f"what {part} needs is not here; FRESHET_SHARED_DATA names the folder of the logs")
    new = [row.key for row in rows if row.key not in bands]
    assert new == [], "python -m benchmarks.quality --quick --bands writes bands of new figures"
    assert all(row.seeds >= len(SEEDS) for row in rows)
    assert outside(rows, bands) == []


def test_a_policy_that_learns_nothing_is_outside_the_band_of_one_that_does() -> None:
    rows = {row.key: row for row in quick("worlds") if row.world == "linear"}
    unlearned = rows["linear / uniform / regret after 500 rounds"].mean
    row = summary("linear", "lin_ucb", "regret after 500 rounds", [unlearned] * 5, higher_is_better=False)
    assert len(outside([row], read_bands())) == 1
