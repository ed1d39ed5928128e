"""What LEARN USERS hands to LEARN ITEMS beside the parcels of its parts: outcomes and time.

Nothing here names a user. Each block carries its own list of item ids, `names`, and columns of numbers into
it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["ItemOutcomes", "Ticked"]

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(slots=True, eq=False)
class ItemOutcomes:
    """Impressions, clicks and organic clicks of some items, O operations in order with N places in all.

    Operation columns: `kind` (stream.blocks), `ts` ms, `reward`, `before`, `first`, `action`,
    `decided`, and the logged context, `clusters` (O, K) padded with -1 and `weights` (O, K). Operation o has
    the places start[o]:start[o + 1] of `items` (N,), numbers into `names`: those of a shown slate that
    belong here, and exactly one for a click. Windows that close are here only where policies have detectors
    of drift: one CLOSED has those places of a slate that a policy picked and that had `reward` in the end.
    `accepted` is when a click was accepted, wall ms, else 0: measured, never learned.

    What was decided on: `request` (O, R) the features of the request (`learners.request_features`), laid out
    as `layout` says, which is empty for the intercept alone; `propensity` (N,) of each place, NaN where
    unknown; and `policy` (O,), a number into `policies`, -1 where unknown. `shown_at` (O,) is the time of the
    impression that a click rewards, ms, 0 where nobody asks for it.
    """

    names: list[str]
    kind: Int8
    ts: Int64
    reward: Float64
    first: Bool
    decided: Bool
    clusters: Int32
    weights: Float32
    start: Int32
    items: Int32
    before: Float64 = field(default_factory=lambda: np.zeros(0))
    accepted: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    request: Float32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    propensity: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    policy: Int8 = field(default_factory=lambda: np.zeros(0, np.int8))
    policies: list[str] = field(default_factory=list)
    layout: str = ""
    shown_at: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    action: Int8 = field(default_factory=lambda: np.zeros(0, np.int8))

    def __post_init__(self) -> None:
        """What is not given: zeros, the intercept alone, and nothing known of the decision."""
        n = self.kind.size
        if self.before.size != n:
            self.before = np.zeros(n)
        if self.action.size != n:
            self.action = np.zeros(n, np.int8)
        if self.accepted.size != n:
            self.accepted = np.zeros(n, np.int64)
        if self.shown_at.size != n:
            self.shown_at = np.zeros(n, np.int64)
        if not self.request.shape[1]:
            self.request = np.ones((n, 1), np.float32)
        if self.propensity.size != self.items.size:
            self.propensity = np.full(self.items.size, np.nan, np.float32)
        if self.policy.size != n:
            self.policy = np.full(n, -1, np.int8)

    def __len__(self) -> int:
        """Number of operations."""
        return int(self.kind.size)


@dataclass(slots=True)
class Ticked:
    """Whatever partition `source` of the step before had absorbed at `ts` (ms) stands before this.

    `watermark` is how far event time has come there, in ms. A tick that `rewinds` says that time was wrong:
    what its source said before counts no further than this.
    """

    source: int
    ts: int
    watermark: int
    rewinds: bool = False
