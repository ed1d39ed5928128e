"""One figure of the suite: what was measured, over which seeds, with its interval."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor import mean_interval

__all__ = ["SEEDS", "Row", "shared_data", "summary"]

SEEDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True)
class Row:
    """A mean over seeds.

    `world` is the planted world or the log, `name` what was tried on it, `metric` what was measured, with
    its unit. `low` and `high` are the 95 % interval over seeds. `higher_is_better` says which way is worse.
    """

    world: str
    name: str
    metric: str
    seeds: int
    mean: float
    low: float
    high: float
    higher_is_better: bool = True

    @property
    def key(self) -> str:
        """What tells it from all others.

        Example:
            >>> summary("clusters", "thompson", "regret", [1.0, 3.0]).key
            'clusters / thompson / regret'
        """
        return f"{self.world} / {self.name} / {self.metric}"


def summary(
    world: str, name: str, metric: str, values: Sequence[float], *, higher_is_better: bool = True
) -> Row:
    """The row of one value a seed.

    Example:
        >>> row = summary("clusters", "thompson", "regret", [2.0, 2.0, 2.0])
        >>> row.mean, row.low, row.high, row.seeds
        (2.0, 2.0, 2.0, 3)
    """
    mean, low, high = mean_interval(list(values))
    return Row(world, name, metric, len(values), float(mean), float(low), float(high), higher_is_better)


def shared_data(name: str) -> Path | None:
    """The folder of a real log, if it is there: FRESHET_SHARED_DATA, or `shared/data` beside the checkout."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("FRESHET_SHARED_DATA", beside)) / name
    return folder if folder.is_dir() else None
