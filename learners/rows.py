"""A feedback block with ids turned into row numbers: what every learner and policy reads.

Rows are those of the user table and the item table of one shard. A row of -1 means that the id is not
admitted (yet): the operation still counts, but there is nothing to learn into.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

__all__ = ["RowBlock"]

T = TypeVar("T")

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
UInt64 = npt.NDArray[np.uint64]
Bool = npt.NDArray[np.bool_]

_OF_OPERATIONS = (
    "kind", "slate", "place", "user", "item", "reward", "first", "ts", "before", "action", "stands_for",
)  # fmt: skip

_NO_KEYS: UInt64 = np.zeros(0, np.uint64)
"""Of a block whose reader did not ask for keys."""
_NO_FLAGS: Bool = np.zeros(0, np.bool_)


@dataclass(slots=True)
class RowBlock:
    """Columns of one feedback block; S slates, N shown places in all, O operations, in order.

    A slate whose ids were admitted or removed between two of its operations stands here once for each, so S
    can exceed the block's own count.

    Slate columns: `slate_user` (S,), `start` (S + 1,) so that slate s has places start[s]:start[s + 1],
    `clusters` (S, K) padded with -1, `weights` (S, K), `decided` (S,), `slate_ts` (S,), `policy` (S,)
    number of the policy that decided, -1 if it is not configured, and `request` (S, R) the features of the
    request (`learners.request_features`), whose first is 1, or 0 throughout where they are not known. R is 1
    where no features are named.

    `ranked` (S,) says whose features are known, as far as anybody worked them out: of what a policy decided,
    and of other lists that were given theirs when they were shown. The ranker learns from these; policies
    and off-policy evaluation go by `decided`, and without `ranked` both are the same.

    Place columns: `items` (N,), `propensity` (N,) NaN where unknown, `rewards` (N,) reward counted when the
    window closed (0: a negative; only meaningful for CLOSED), `rank_features` (N, F) the ranker's, NaN where
    not logged, `explored` (N,), and `item_keys` (N,) keys of the items by their ids alone
    (`learners.item_keys`), 0 where not known: they are there only for parts with `reads_inputs`.

    Logged candidates that were not shown: `other_start` (S + 1,), `other_features` (M, F).

    Operation columns: `kind`, `slate` (-1 for ORGANIC), `place` (index into the place columns for CLICK, else
    -1), `user`, `item` (CLICK and ORGANIC, else -1), `reward`, `first`, `ts`, and `before`: the place's
    reward before the change, for CLICK (zeros if it is not given), `action`: for CLICK and ORGANIC the kind
    of the click, a number in `World.actions`, or -1 where a reward is taken back, else 0 (likewise; TRAIN is
    not given it), and `stands_for`: how many of its kind one is, for TRAIN may be given a part of the lists
    without a click (ones if it is not given).

    Example:
        >>> block = RowBlock.empty()
        >>> len(block), block.start.tolist(), block.operations(0, 0).kind.size
        (0, [0], 0)
    """

    slate_user: Int32
    slate_ts: Int64
    start: Int32
    clusters: Int32
    weights: Float32
    decided: Bool
    policy: Int8
    items: Int32
    propensity: Float32
    rewards: Float32
    rank_features: Float32
    explored: Bool
    other_start: Int32
    other_features: Float32
    kind: Int8
    slate: Int32
    place: Int32
    user: Int32
    item: Int32
    reward: Float64
    first: Bool
    ts: Int64
    before: Float64 = field(default_factory=lambda: np.zeros(0))
    stands_for: Float64 = field(default_factory=lambda: np.zeros(0))
    request: Float32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    item_keys: UInt64 = field(default_factory=lambda: _NO_KEYS)
    action: Int8 = field(default_factory=lambda: np.zeros(0, np.int8))
    ranked: Bool = field(default_factory=lambda: _NO_FLAGS)
    known: dict[str, Any] = field(default_factory=dict)
    """What was worked out of the places, which all pieces of a block share."""

    def __post_init__(self) -> None:
        """Without rewards to start from, every change starts at 0; without features, x is its intercept."""
        if not self.request.shape[1]:
            self.request = np.ones((self.slate_user.size, 1), np.float32)
        if self.ranked.size != self.decided.size:
            self.ranked = self.decided
        if self.before.size != self.kind.size:
            self.before = np.zeros(self.kind.size)
        if self.action.size != self.kind.size:
            self.action = np.zeros(self.kind.size, np.int8)
        if self.stands_for.size != self.kind.size:
            self.stands_for = np.ones(self.kind.size)

    @classmethod
    def empty(cls) -> RowBlock:
        """A block of no operation.

        Example:
            >>> len(RowBlock.empty())
            0
        """
        i4, i8, f4 = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.float32)
        none, one, wide = np.zeros(0, np.bool_), np.zeros(1, np.int32), np.zeros((0, 0), np.float32)
        return cls(
            slate_user=i4, slate_ts=i8, start=one, clusters=np.zeros((0, 1), np.int32),
            weights=np.zeros((0, 1), np.float32), decided=none, policy=np.zeros(0, np.int8), items=i4,
            propensity=f4, rewards=f4, rank_features=wide, explored=none, other_start=one.copy(),
            other_features=wide.copy(), kind=np.zeros(0, np.int8), slate=i4, place=i4, user=i4, item=i4,
            reward=np.zeros(0), first=none, ts=i8,
        )  # fmt: skip

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` returns of the slates and places, worked out once for all pieces of a block.

        Example:
            >>> block = RowBlock.empty()
            >>> block.once("sum", lambda: 13), block.operations(0, 0).once("sum", lambda: 14)
            (13, 13)
        """
        found = self.known.get(name)
        if found is None:
            found = self.known[name] = make()
        return cast(T, found)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """All columns by name.

        Example:
            >>> RowBlock(**RowBlock.empty().columns()).columns().keys() == RowBlock.empty().columns().keys()
            True
        """
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "known"}

    def __len__(self) -> int:
        """Number of operations."""
        return int(self.kind.size)

    def operations(self, low: int, high: int) -> RowBlock:
        """The operations low..high - 1, over the same slates.

        Example:
            >>> len(RowBlock.empty().operations(0, 0))
            0
        """
        part = object.__new__(RowBlock)
        # A list of others is a piece of its own: `dataclasses.replace` takes five times as long.
        for name in _OF_SLATES:
            setattr(part, name, getattr(self, name))
        for name in _OF_OPERATIONS:
            setattr(part, name, getattr(self, name)[low:high])
        return part


_OF_SLATES = tuple(each.name for each in fields(RowBlock) if each.name not in _OF_OPERATIONS)
