"""Orders that one line of code makes, learned beside the real one: what a team has today, or could have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["SIMPLE_ORDERS", "SimpleOrders"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

_HOUR = 3_600_000
_HALF_LIVES_MS: Mapping[str, int] = {
    "1 h": _HOUR,
    "6 h": 6 * _HOUR,
    "1 d": 24 * _HOUR,
    "4 d": 96 * _HOUR,
    "16 d": 384 * _HOUR,
}
SIMPLE_ORDERS = (
    "as displayed",
    "clicks so far",
    *(f"half-life {name}" for name in _HALF_LIVES_MS),
    "click rate",
    "random",
)
"""Their names, in the order of `SimpleOrders.scores`."""

_PRIOR_SHOWS = 10.0
"""A click rate is shrunk towards that of all items as if each had been shown so often at that rate before."""
_FIRST_SLOTS = 1_024


class SimpleOrders:
    """Scores of a list's items by simple counts, as they stood before the list was shown.

    * **as displayed**: the order of the list itself;
    * **clicks so far**: rewarded clicks of the item, each place of a list and each organic click once;
    * **half-life**: the same, each click worth 2^(-age / half-life), in event time;
    * **click rate**: (clicks in lists + 10 r) / (times shown + 10), r the rate of all items;
    * **random**: all alike, so that ties say what chance makes of it.

    A click counts as soon as it is joined, a list as soon as it is shown: scores hold nothing of the list
    that is asked about, or of what came after it. A click that is taken back is taken off again.

    O(1) an item and event. Remembers the `capacity` items that were shown or clicked last, 80 bytes and an id
    each; one that comes back after it was dropped begins anew.

    Example:
        >>> orders = SimpleOrders()
        >>> orders.clicked("b", 0, 1.0, in_list=False)
        >>> found = dict(zip(SIMPLE_ORDERS, orders.scores(["a", "b"], 3_600_000), strict=True))
        >>> found["as displayed"].tolist(), found["clicks so far"].tolist()
        ([0.0, -1.0], [0.0, 1.0])
        >>> found["half-life 1 h"].tolist()
        [0.0, 0.5]
    """

    def __init__(self, *, capacity: int = 1_000_000) -> None:
        self._capacity = max(capacity, 1)
        self._slots: dict[str, int] = {}  # of the items last touched, the longest ago first
        self._half_lives = np.array(list(_HALF_LIVES_MS.values()), np.float64)
        self._clicks = np.zeros(_FIRST_SLOTS)
        self._list_clicks = np.zeros(_FIRST_SLOTS)
        self._shows = np.zeros(_FIRST_SLOTS)
        self._fading = np.zeros((_FIRST_SLOTS, self._half_lives.size))
        self._faded_at = np.zeros(_FIRST_SLOTS, np.int64)
        self._all_clicks = self._all_shows = 0.0

    def scores(self, items: Sequence[str], ts: int) -> Float64:
        """Scores (len(SIMPLE_ORDERS), n) of the items of a list in the order of the list, at `ts` (ms)."""
        slots = np.array([self._slots.get(item, -1) for item in items], np.int64)
        out = np.zeros((len(SIMPLE_ORDERS), slots.size))
        out[0] = -np.arange(slots.size)
        known = np.flatnonzero(slots >= 0)
        at = slots[known]
        out[1, known] = self._clicks[at]
        ages = np.maximum(ts - self._faded_at[at], 0)
        out[2:-2, known] = (self._fading[at] * np.exp2(-ages[:, None] / self._half_lives)).T
        rate = self._all_clicks / self._all_shows if self._all_shows else 0.0
        out[-2] = rate
        shows = self._shows[at] + _PRIOR_SHOWS
        out[-2, known] = (self._list_clicks[at] + _PRIOR_SHOWS * rate) / shows
        return out

    def was_shown(self, items: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which of the items (n,) stood in a list before."""
        return np.array(
            [self._shows[self._slots[item]] > 0 if item in self._slots else False for item in items]
        )

    def shown(self, items: Sequence[str]) -> None:
        """A list of these items was shown."""
        slots = [self._slot(item) for item in items]  # first: the columns may grow
        self._shows[slots] += 1.0
        self._all_shows += len(items)

    def clicked(self, item: str, ts: int, change: float, *, in_list: bool) -> None:
        """One click more (`change` 1) or less (-1) at `ts` (ms)."""
        slot = self._slot(item)
        self._clicks[slot] += change
        if in_list:
            self._list_clicks[slot] += change
            self._all_clicks += change
        # Weights are those of the latest click: an earlier one that comes late has faded since.
        now = max(ts, int(self._faded_at[slot]))
        kept = self._fading[slot] * np.exp2(-(now - self._faded_at[slot]) / self._half_lives)
        self._fading[slot] = kept + change * np.exp2(-(now - ts) / self._half_lives)
        self._faded_at[slot] = now

    def _slot(self, item: str) -> int:
        """The item's place in the columns, one of its own from now on."""
        slot = self._slots.pop(item, -1)
        if slot < 0:
            slot = len(self._slots)
            if slot >= self._capacity:
                slot = self._slots.pop(next(iter(self._slots)))
            elif slot >= self._clicks.size:
                self._grow()
            for column in (self._clicks, self._list_clicks, self._shows, self._fading, self._faded_at):
                column[slot] = 0
        self._slots[item] = slot
        return slot

    def _grow(self) -> None:
        n = self._clicks.size
        self._clicks, self._list_clicks, self._shows = (
            np.concatenate((column, np.zeros(n))) for column in (self._clicks, self._list_clicks, self._shows)
        )
        self._fading = np.concatenate((self._fading, np.zeros_like(self._fading)))
        self._faded_at = np.concatenate((self._faded_at, np.zeros(n, np.int64)))
