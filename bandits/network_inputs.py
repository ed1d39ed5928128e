"""What a network sees of a shown place: the request, the ranker's features of the item, and which it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bandits.moments import Moments
from bandits.ops.arrays import Float32, Int32
from learners.item_keys import numbered_keys
from learners.ops.network import fill_inputs, find_slots, take_slots
from stream.frame import Frame

__all__ = ["NetworkInputs"]

UInt64 = npt.NDArray[np.uint64]

_CLIPPED = 5.0
"""Features are clipped to so many standard deviations."""
_FAR = 20.0
"""And to so many where they are counted for the scale, which one outlier may not decide."""
_LONG = 32
"""Squared length of inputs beyond which features are made smaller."""
_FEW = 64
"""Rows before which nobody knows what is far."""
_HUGE = 1e6


class NetworkInputs:
    """Numbers for a network, safe whatever comes: (R + F) features, one for missing ones, slots of items.

    *Features* are those of the request, then the ranker's of the place. Numbers lose their mean and are
    divided by their standard deviation, as found in the first `freeze_rows` places (`Moments`); what was only
    ever 0 or 1 stays so, and what never varies becomes 0. What is missing is 0, and one input more says which
    share is; infinite and huge numbers are clipped.

    *Items*: the first `slots` that are learned get a slot of their own, in which they are 1; of others each
    shares the slot that its key hashes to, once all near it are taken, and is without one until then.
    `crossed` gives each slot a copy of the request's features as well (request x item, the paper's blocks).

    Args:
        n_request, n_rank: features of the request, and of the ranker.
        slots: for items; 0 for none.
        crossed: see above.
        freeze_rows: places that the scale rests on; 0 takes features as they are.
        item_keys: keys (n,) of item rows (n,).

    Example:
        >>> NetworkInputs(3, 2, slots=4).width, NetworkInputs(3, 2, slots=4, crossed=True).width
        (10, 22)
    """

    def __init__(
        self,
        n_request: int,
        n_rank: int,
        *,
        slots: int = 64,
        crossed: bool = False,
        freeze_rows: float = 10_000,
        item_keys: Callable[[Int32], UInt64] = numbered_keys,
    ) -> None:
        self.n_request, self.n_rank = n_request, n_rank
        self.slots, self.crossed = slots, crossed and slots > 0
        self.n_features = n_request + n_rank
        self.width = self.n_features + 1 + slots + (slots * n_request if self.crossed else 0)
        n_active = self.n_features + 2 + (n_request if self.crossed else 0)
        self.n_active = min(n_active, _LONG)
        """The squared length of inputs, about."""
        # With more features each is smaller, so that steps of one length suit any number of them.
        self._gain = np.sqrt(self.n_active / n_active)
        self.moments = Moments(self.n_features, most=freeze_rows)
        self.most = _CLIPPED * float(self._gain)
        """The largest feature: an outlier is one, however far out."""
        self.keys: UInt64 = np.zeros(slots, np.uint64)
        self._item_keys = item_keys
        self._rescale()

    def _rescale(self) -> None:
        mean, scale = self.moments.scaling()
        self._spread = scale
        self.mean, self.scale = mean.astype(np.float32), (scale / self._gain).astype(np.float32)

    # --- learning ---

    def features(self, request: Float32, rank: Float32) -> Float32:
        """Raw features (n, R + F) of places, to be kept: NaN where missing, nothing infinite.

        `request` (n, R), 0 throughout where unknown; `rank` (n, F), or of another width, which is unknown.
        """
        out = np.full((len(request), self.n_features), np.nan, np.float32)
        known = request[:, 0] != 0.0
        out[known, : self.n_request] = request[known]
        if rank.shape[1] == self.n_rank:
            out[:, self.n_request :] = rank
        return np.clip(out, -_HUGE, _HUGE, out=out)

    def fill(self, x: Float32, features: Float32, keys: UInt64) -> None:
        """Inputs of a batch (n, width + 1) of raw features and items' keys; it counts for scale and slots."""
        if self.moments.n < self.moments.most:
            self._count(features)
        slots = take_slots(self.keys, keys)
        fill_inputs(
            x, features, self.n_request, slots, self.slots, self.crossed, self.mean, self.scale, self.most
        )  # fmt: skip

    def _count(self, features: Float32) -> None:
        rows = np.where(np.isnan(features), self.mean, features).astype(np.float64)
        if self.moments.n >= _FEW:
            reach = _FAR * self._spread
            rows = np.clip(rows, self.mean - reach, self.mean + reach)
        if self.moments.add_each(rows):
            self._rescale()

    # --- serving ---

    def slots_of(self, rows: Int32, keys: UInt64) -> Int32:
        """The slots (n,) of item rows (n,) in a table of `keys`; -1 for none."""
        found: Int32 = find_slots(keys, self._item_keys(rows))
        return found

    # --- state ---

    def snapshot(self) -> Frame:
        """Sums for the scale, and slots."""
        return {"moments": self.moments.sums.copy(), "keys": self.keys.copy()}

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self.moments.sums[:], self.keys[:] = frame["moments"], frame["keys"]
        self._rescale()
