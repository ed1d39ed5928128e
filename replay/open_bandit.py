"""Loader of the Open Bandit Dataset sample (Saito et al. 2020, arXiv 2008.07146): real logged propensities.

The project carries no copy; `load_open_bandit` reads a Parquet file with the columns ``campaign``,
``policy``, ``item_id``, ``position`` (1 to 3), ``click`` and ``propensity``, one shown item a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from replay.errors import ReplayError
from replay.rounds import Rounds

__all__ = ["OpenBanditLog", "load_open_bandit"]

_COLUMNS = ("campaign", "policy", "item_id", "position", "click", "propensity")


@dataclass(frozen=True, slots=True)
class OpenBanditLog:
    """One campaign under one policy: `item` (n,), `position` (n,), `click` (n,), `propensity` (n,), and the
    number of arms of the campaign."""

    item: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64]
    click: npt.NDArray[np.float64]
    propensity: npt.NDArray[np.float64]
    n_items: int

    def uniform_rounds(self) -> Rounds:
        """Rounds whose target shows every item with the same probability."""
        return Rounds.single(np.full(self.item.size, 1.0 / self.n_items), self.propensity, self.click)

    def rounds_towards(self, shown: OpenBanditLog) -> Rounds:
        """Rounds whose target shows items as often, position by position, as the log `shown` does.

        That is the marginal of the policy behind `shown`: q(item | position) is a frequency, so an item that
        it never showed has none.
        """
        width = max(self.n_items, int(self.item.max()) + 1, int(shown.item.max()) + 1)
        counts = np.bincount(shown.position * width + shown.item, minlength=8 * width)
        per_position = np.bincount(shown.position, minlength=8)
        at = self.position * width + self.item
        return Rounds.single(counts[at] / per_position[self.position], self.propensity, self.click)


def load_open_bandit(path: Path, *, campaign: str, policy: str) -> OpenBanditLog:
    """Read the rows of one campaign (``all``, ``men``, ``women``) and policy (``random``, ``bts``).

    Raises:
        ReplayError: the file cannot be read, lacks a column, or has no such rows.
    """
    # Imported here: only this loader reads Parquet.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=list(_COLUMNS))
    except (OSError, pa.ArrowException) as error:
        msg = f"{path} cannot be read as Open Bandit data: {error}"
        raise ReplayError(msg) from error
    columns: dict[str, Any] = {name: np.asarray(table[name].to_pylist()) for name in _COLUMNS}
    chosen = columns["campaign"] == campaign
    n_items = int(np.unique(columns["item_id"][chosen]).size)
    chosen &= columns["policy"] == policy
    if not chosen.any():
        msg = f"{path} holds no rows of campaign {campaign!r} and policy {policy!r}"
        raise ReplayError(msg)
    return OpenBanditLog(
        item=columns["item_id"][chosen].astype(np.int64),
        position=columns["position"][chosen].astype(np.int64),
        click=columns["click"][chosen].astype(np.float64),
        propensity=columns["propensity"][chosen].astype(np.float64),
        n_items=n_items,
    )
