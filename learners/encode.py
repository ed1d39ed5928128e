"""From ids to rows: a feedback block becomes the columns that learners and policies read."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from learners.ops.table import count_operations
from learners.rows import RowBlock
from learners.table import EmbeddingTable
from stream.blocks import CLOSED, ORGANIC, SHOWN, FeedbackBlock, Slate

__all__ = ["encode"]

_NAN = float("nan")


class _Rows:
    """Row numbers of one slate, kept in `Slate.rows` while both tables' owners stay as they are."""

    __slots__ = ("complete", "item_token", "items", "others", "propensity", "user", "user_token")

    def __init__(
        self, slate: Slate, user: int, items: list[int], users: EmbeddingTable, table: EmbeddingTable
    ) -> None:
        self.user = user
        self.items = array("i", items)
        others = [table.row_of(name) for name in slate.others] if slate.others else []
        self.others = array("i", others)
        # A row that is missing now may be admitted before the slate's next operation: look again then.
        self.complete = user >= 0 and -1 not in items and -1 not in others
        self.user_token, self.item_token = users.token, table.token
        self.propensity = _propensities(slate)

    def is_current(self, users: EmbeddingTable, table: EmbeddingTable) -> bool:
        return self.complete and self.user_token is users.token and self.item_token is table.token

    def says_the_same(self, other: _Rows) -> bool:
        return self.user == other.user and self.items == other.items and self.others == other.others


def _propensities(slate: Slate) -> array[float]:
    given: list[Any] | None = slate.propensities
    if given is None:
        return array("f", [_NAN]) * len(slate.items)
    return array("f", [_NAN if p is None else p for p in given] if None in given else given)


class _Columns:
    """Columns in the making; one slate entry for each (slate, row numbers) that occurs."""

    def __init__(self, block: FeedbackBlock, users: EmbeddingTable, items: EmbeddingTable) -> None:
        self.block, self.users, self.items = block, users, items
        self.slates: list[Slate] = []
        self.rows: list[_Rows] = []
        self.closed: list[bool] = []
        self.at: dict[int, int] = {}
        self.slate = array("i")
        self.user = array("i")
        self.item = array("i")

    def walk(self) -> None:
        """Resolve every operation in order: an id is known from the operation on that admits it."""
        block = self.block
        for kind, ref, ts in zip(block.kind, block.ref, block.ts, strict=True):
            if kind == ORGANIC:
                user, item = block.organic[ref]
                self.slate.append(-1)
                self.user.append(self.users.sight((user,), ts)[0])
                self.item.append(self.items.sight((item,), ts)[0])
                continue
            slate = block.slates[ref]
            rows = self._resolve(slate, ts, is_sighting=kind == SHOWN)
            at = self._entry(ref, slate, rows)
            if kind == CLOSED:
                self.closed[at] = True
            self.slate.append(at)
            self.user.append(rows.user)
            self.item.append(-1)

    def _resolve(self, slate: Slate, ts: int, *, is_sighting: bool) -> _Rows:
        kept: _Rows | None = slate.rows
        if kept is not None and kept.is_current(self.users, self.items):
            return kept
        if is_sighting:
            user = self.users.sight((slate.user_id,), ts)[0]
            fresh = _Rows(slate, user, self.items.sight(slate.items, ts), self.users, self.items)
        else:
            found = [self.items.row_of(name) for name in slate.items]
            fresh = _Rows(slate, self.users.row_of(slate.user_id), found, self.users, self.items)
        slate.rows = fresh
        return fresh

    def _entry(self, ref: int, slate: Slate, rows: _Rows) -> int:
        at = self.at.get(ref, -1)
        if at < 0 or not (self.rows[at] is rows or self.rows[at].says_the_same(rows)):
            at = self.at[ref] = len(self.slates)
            self.slates.append(slate)
            self.rows.append(rows)
            self.closed.append(False)
        return at


def encode(
    block: FeedbackBlock,
    users: EmbeddingTable,
    items: EmbeddingTable,
    *,
    n_features: int = 0,
    max_clusters: int = 8,
    policies: Sequence[str] = (),
) -> RowBlock:
    """Turn a block's ids into rows, admit what it sights, and add it to the tables' counts.

    SHOWN sights the user and every shown item, ORGANIC its user and item; CLICK and CLOSED only look up. An
    id that is not admitted has row -1. Logged `features` whose length is not `n_features` each become NaN;
    clusters beyond `max_clusters` are cut. Row numbers do not depend on how operations are cut into blocks.

    Example:
        >>> users, items = EmbeddingTable(2), EmbeddingTable(2)
        >>> slate = Slate(request_id="r", user_id="u", ts=5, items=["a", "b"])
        >>> block = FeedbackBlock([slate], [], [0, 1], [0, 0], [-1, 1], [0.0, 1.0], [False, True], [5, 6])
        >>> rows = encode(block, users, items)
        >>> rows.items, rows.item, items.clicks[:2]
        (array([0, 1], dtype=int32), array([-1,  1], dtype=int32), array([0, 1]))
    """
    columns = _Columns(block, users, items)
    columns.walk()
    users.settle()
    items.settle()
    out = _assemble(columns, n_features, max_clusters, {name: n for n, name in enumerate(policies)})
    by_place = (items, out.items, out.start, out.item)
    by_slate = (users, out.slate_user, np.arange(out.slate_user.size + 1, dtype=np.int32), out.user)
    for table, shown, start, one in (by_place, by_slate):
        marks = table.counted
        count_operations(
            shown, start, out.kind, out.slate, one, out.first, out.ts, table.clicks, table.impressions,
            table.touched_at, marks.flags, marks.rows, marks.size,
        )  # fmt: skip
    return out


def _assemble(columns: _Columns, n_features: int, max_clusters: int, policies: dict[str, int]) -> RowBlock:
    block, slates, rows = columns.block, columns.slates, columns.rows
    flat, propensity, others = array("i"), array("f"), array("i")
    for entry in rows:
        flat.extend(entry.items)
        propensity.extend(entry.propensity)
        others.extend(entry.others)
    start = _starts([len(entry.items) for entry in rows])
    other_start = _starts([len(entry.others) for entry in rows])
    features, other_features = _features(rows, slates, n_features)
    slate = np.array(columns.slate, np.int32)
    place = np.array(block.place, np.int32)
    is_click = place >= 0
    place[is_click] += start[slate[is_click]]
    items = np.array(flat, np.int32)
    item = np.array(columns.item, np.int32)
    item[is_click] = items[place[is_click]]
    clusters, weights = _contexts(slates, max_clusters)
    return RowBlock(
        slate_user=np.array([entry.user for entry in rows], np.int32),
        slate_ts=np.array([s.ts for s in slates], np.int64),
        start=start,
        clusters=clusters,
        weights=weights,
        decided=np.array([s.decided for s in slates], np.bool_),
        policy=np.array([policies.get(s.policy, -1) for s in slates], np.int8),
        items=items,
        propensity=np.array(propensity, np.float32),
        rewards=_rewards(columns, start),
        features=features,
        explored=_explored(slates, start),
        other_start=other_start,
        other_items=np.array(others, np.int32),
        other_features=other_features,
        kind=np.array(block.kind, np.int8),
        slate=slate,
        place=place,
        user=np.array(columns.user, np.int32),
        item=item,
        reward=np.array(block.reward, np.float64),
        first=np.array(block.first, np.bool_),
        ts=np.array(block.ts, np.int64),
    )


def _starts(lengths: list[int]) -> npt.NDArray[np.int32]:
    out = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=out[1:])
    return out


def _contexts(slates: list[Slate], width: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    clusters: list[int] = []
    weights: list[float] = []
    for slate in slates:
        k = min(len(slate.clusters), len(slate.weights), width)
        clusters += slate.clusters[:k]
        clusters += [-1] * (width - k)
        weights += slate.weights[:k]
        weights += [0.0] * (width - k)
    shape = (len(slates), width)
    return np.array(clusters, np.int32).reshape(shape), np.array(weights, np.float32).reshape(shape)


def _rewards(columns: _Columns, start: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    # Only of closed slates: before that JOIN may be ahead of this block, and blocks must not matter.
    out = np.zeros(int(start[-1]), np.float32)
    for n, (slate, is_closed) in enumerate(zip(columns.slates, columns.closed, strict=True)):
        if is_closed:
            for place, reward in slate.rewards.items():
                out[start[n] + place] = reward
    return out


def _explored(slates: list[Slate], start: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    out = np.zeros(int(start[-1]), np.bool_)
    for n, slate in enumerate(slates):
        for place in slate.explored:
            if 0 <= place < len(slate.items):
                out[start[n] + place] = True
    return out


def _features(
    rows: list[_Rows], slates: list[Slate], width: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    if width == 0:
        n, m = sum(len(entry.items) for entry in rows), sum(len(entry.others) for entry in rows)
        return np.zeros((n, 0), np.float32), np.zeros((m, 0), np.float32)
    shown: list[bytes] = []
    others: list[bytes] = []
    missing = np.float32(_NAN).tobytes() * width
    for entry, slate in zip(rows, slates, strict=True):
        n, m, data = len(entry.items), len(entry.others), slate.features
        if len(data) != 4 * width * (n + m):
            data = missing * (n + m)
        shown.append(data[: 4 * width * n])
        others.append(data[4 * width * n :])
    return np.frombuffer(b"".join(shown), "<f4").reshape(-1, width), np.frombuffer(
        b"".join(others), "<f4"
    ).reshape(-1, width)
