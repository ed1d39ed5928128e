"""Lists of `hotel_search` with a dozen plain features, each as it was before the list's own click.

Place and first place as displayed, rank of the price within the list, clicks and click rate of the item,
times shown; how the item stands to the one that the session touched last, and whether the user clicked it
before.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from benchmarks.quality.rows import shared_data

__all__ = ["hotel_lists"]

Float32 = npt.NDArray[np.float32]
_N_FEATURES = 12


class _State:
    """What is known of items, sessions and users so far."""

    def __init__(self) -> None:
        self.clicks: Counter[str] = Counter()
        self.shown: Counter[str] = Counter()
        self.last: dict[str, str] = {}
        self.touched: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.mine: defaultdict[str, set[str]] = defaultdict(set)

    def features(self, row: Mapping[str, Any]) -> Float32:
        """Features (n, 12) of the list that `row` clicks on, NaN where there is none to have."""
        items, session, user = row["items"], row["session"], row["user"]
        x = np.full((len(items), _N_FEATURES), np.nan)
        place = np.arange(len(items))
        clicks, shown = (np.array([of[item] for item in items], float) for of in (self.clicks, self.shown))
        x[:, 0], x[:, 1] = -np.log1p(place), place == 0
        if row["prices"]:
            x[:, 2] = -np.log1p(np.argsort(np.argsort(row["prices"])))
        x[:, 3], x[:, 4] = np.log(clicks + 0.5), np.log((clicks + 0.5) / (shown + 10.0))
        x[:, 11] = -0.1 * np.log1p(shown)
        last, touched = self.last.get(session), self.touched[session]
        x[:, 5] = [item == last for item in items]
        x[:, 6] = np.log1p([touched[item] for item in items])
        x[:, 7] = [item in self.mine[user] for item in items]
        if last in items:
            at = items.index(last)
            x[:, 8], x[:, 9], x[:, 10] = place == at + 1, place < at, -np.log1p(abs(place - at))
        return x.astype(np.float32)

    def learn_click(self, row: Mapping[str, Any]) -> None:
        """The list of `row` was shown, and its reference clicked."""
        self.shown.update(row["items"])
        self.clicks[row["reference"]] += 1
        self.mine[row["user"]].add(row["reference"])
        self.touch(row)

    def touch(self, row: Mapping[str, Any]) -> None:
        """The session of `row` has touched its reference."""
        self.last[row["session"]] = row["reference"]
        self.touched[row["session"]][row["reference"]] += 1


def hotel_lists() -> Sequence[tuple[str, Float32, int]]:
    """User, features and clicked place of each list in order; none where the log is not there."""
    folder = shared_data("hotel_search")
    if folder is None:
        return []
    state, found = _State(), []
    for row in pq.read_table(folder / "events.parquet").to_pylist():
        items, clicked = row["items"], row["reference"] or ""
        if row["action"] == "clickout item" and items:
            if clicked in items and len(items) > 1:
                found.append((row["user"], state.features(row), items.index(clicked)))
            state.learn_click(row)
        elif row["action"].startswith(("interaction item", "search for item")) and clicked.isdigit():
            state.touch(row)
    return found
