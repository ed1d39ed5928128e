"""What each figure of the quick suite must keep to, so that a change that makes learning worse is seen.

The bands stand in `bands.json`. `python -m benchmarks.quality --quick --bands` writes them anew, which a
change does that is meant to change what is learned, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.quality.rows import Row

__all__ = ["BANDS", "band_of", "outside", "read_bands", "write_bands"]

BANDS = Path(__file__).with_name("bands.json")

# Seeds are fixed, so a figure moves with the code alone; but another processor rounds a sum otherwise, one
# choice turns, and the rest of that run is as if drawn anew. So a band is as wide as the interval over seeds.
_SHARE, _MOST = 0.1, 0.5


def band_of(row: Row) -> float:
    """The worst mean that still passes: worse by half the interval over seeds, and a tenth of it at least.

    Example:
        >>> from benchmarks.quality.rows import summary
        >>> band_of(summary("w", "n", "hit", [0.5, 0.5])), band_of(
        ...     summary("w", "n", "regret", [100.0, 100.0], higher_is_better=False))
        (0.45, 110.0)
    """
    slack = min(max((row.high - row.low) / 2, _SHARE * abs(row.mean)), _MOST * abs(row.mean))
    return round(row.mean - slack if row.higher_is_better else row.mean + slack, 6)


def outside(rows: Sequence[Row], bands: Mapping[str, float]) -> list[str]:
    """The figures that are worse than their bands, in words.

    Example:
        >>> from benchmarks.quality.rows import summary
        >>> outside([summary("w", "n", "hit", [0.4, 0.4])], {"w / n / hit": 0.45})
        ['w / n / hit: 0.4, the worst allowed is 0.45']
    """
    found = []
    for row in rows:
        worst = bands.get(row.key)
        if worst is not None and (row.mean < worst if row.higher_is_better else row.mean > worst):
            found.append(f"{row.key}: {row.mean:.6g}, the worst allowed is {worst:.6g}")
    return found


def read_bands() -> dict[str, float]:
    """The bands by the keys of their rows."""
    bands: dict[str, float] = json.loads(BANDS.read_text("utf-8"))
    return bands


def write_bands(rows: Sequence[Row]) -> None:
    """Bands of these figures; those of figures that are not among them stay."""
    old = read_bands() if BANDS.exists() else {}
    new = old | {row.key: band_of(row) for row in rows}
    BANDS.write_text(json.dumps(new, indent=2, sort_keys=True) + "\n", "utf-8")
