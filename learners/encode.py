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

# What a slate adds to the columns, as bytes that only have to be joined: user row, item rows, propensities,
# explored places, clusters, weights, features, numbers of shown and of other items, time, decided.
_Entry = tuple[int, bytes, bytes, bytes, bytes, bytes, bytes, int, int, int, bool]


def _entry(slate: Slate, user: int, items: list[int], width: int) -> _Entry:
    n = len(items)
    k = min(len(slate.clusters), len(slate.weights), width)
    explored = bytearray(n)
    for place in slate.explored:
        if 0 <= place < n:
            explored[place] = 1
    return (
        user,
        array("i", items).tobytes(),
        _propensities(slate.propensities, n),
        bytes(explored),
        array("i", slate.clusters[:k] + [-1] * (width - k)).tobytes(),
        array("f", slate.weights[:k] + [0.0] * (width - k)).tobytes(),
        slate.features,
        n,
        len(slate.others),
        slate.ts,
        slate.decided,
    )


def _propensities(given: list[Any] | None, n: int) -> bytes:
    if given is None:
        return (array("f", [_NAN]) * n).tobytes()
    return array("f", [_NAN if p is None else p for p in given] if None in given else given).tobytes()


class _Columns:
    """Columns in the making; one entry for each (slate, row numbers) that occurs.

    A complete entry is kept in `Slate.rows` while both tables' owners stay as they are. A row that is missing
    may be admitted before the slate's next operation: such an entry is made anew each time.
    """

    def __init__(
        self, block: FeedbackBlock, users: EmbeddingTable, items: EmbeddingTable, width: int
    ) -> None:
        self.block, self.users, self.items, self.width = block, users, items, width
        self.slates: list[Slate] = []
        self.entries: list[_Entry] = []
        self.closed: list[int] = []
        self.slate = array("i")
        self.organic: list[tuple[int, int, int]] = []

    def walk(self) -> None:
        """Resolve every operation in order: an id is known from the operation on that admits it."""
        block, entries, put = self.block, self.entries, self.slate.append
        slates, width, last = block.slates, self.width, [-1] * len(block.slates)
        # Only removals replace the tokens, and there are none in here.
        user_token, item_token = self.users.token, self.items.token
        for kind, ref, ts in zip(block.kind, block.ref, block.ts, strict=True):
            if kind == ORGANIC:
                self._note_organic(*block.organic[ref], ts)
                continue
            slate = slates[ref]
            kept = slate.rows
            if kept is not None and kept[0] is user_token and kept[1] is item_token and kept[2] == width:
                entry: _Entry = kept[3]
            else:
                entry = self._resolve(slate, ts, is_sighting=kind == SHOWN)
            at = last[ref]
            if at < 0 or (entries[at] is not entry and entries[at][:2] != entry[:2]):
                at = last[ref] = len(entries)
                self.slates.append(slate)
                entries.append(entry)
            if kind == CLOSED:
                self.closed.append(at)
            put(at)

    def _note_organic(self, user_id: str, item_id: str, ts: int) -> None:
        user, item = self.users.sight((user_id,), ts)[0], self.items.sight((item_id,), ts)[0]
        self.organic.append((len(self.slate), user, item))
        self.slate.append(-1)

    def _resolve(self, slate: Slate, ts: int, *, is_sighting: bool) -> _Entry:
        if is_sighting:
            user = self.users.sight((slate.user_id,), ts)[0]
            items = self.items.sight(slate.items, ts)
        else:
            user, items = self.users.row_of(slate.user_id), self.items.rows_of(slate.items)
        entry = _entry(slate, user, items, self.width)
        is_complete = user >= 0 and -1 not in items
        slate.rows = (self.users.token, self.items.token, self.width, entry) if is_complete else None
        return entry


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
    columns = _Columns(block, users, items, max_clusters)
    columns.walk()
    users.settle()
    items.settle()
    out = _assemble(columns, n_features, {name: n for n, name in enumerate(policies)})
    by_place = (items, out.items, out.start, out.item)
    by_slate = (users, out.slate_user, np.arange(out.slate_user.size + 1, dtype=np.int32), out.user)
    for table, shown, start, one in (by_place, by_slate):
        marks = table.counted
        count_operations(
            shown, start, out.kind, out.slate, one, out.first, out.ts, table.clicks, table.impressions,
            table.touched_at, marks.flags, marks.rows, marks.size,
        )  # fmt: skip
    return out


def _assemble(columns: _Columns, n_features: int, policies: dict[str, int]) -> RowBlock:
    block, slates, width = columns.block, columns.slates, columns.width
    parts: Any = zip(*columns.entries, strict=True) if slates else [()] * 11
    users, items, propensities, explored, clusters, weights, features, ns, ms, ts, decided = parts
    start, other_start = _starts(ns), _starts(ms)
    slate_user, shown = np.array(users, np.int32), _joined(items, "i4")
    slate, place = _column("i", columns.slate), _column("i", block.place)
    user, item = _pairs(columns, slate_user, shown, start, slate, place)
    features, other_features = _split(features, ns, ms, n_features)
    return RowBlock(
        slate_user=slate_user,
        slate_ts=np.array(ts, np.int64),
        start=start,
        clusters=_joined(clusters, "i4").reshape(-1, width),
        weights=_joined(weights, "f4").reshape(-1, width),
        decided=np.array(decided, np.bool_),
        policy=np.array([policies.get(s.policy, -1) for s in slates], np.int8),
        items=shown,
        propensity=_joined(propensities, "f4"),
        rewards=_rewards(columns, start),
        features=features,
        explored=_joined(explored, "?"),
        other_start=other_start,
        other_features=other_features,
        kind=np.frombuffer(bytearray(block.kind), np.int8),
        slate=slate,
        place=place,
        user=user,
        item=item,
        reward=_column("d", block.reward),
        first=np.frombuffer(bytearray(block.first), np.bool_),
        ts=_column("q", block.ts),
    )


def _joined(parts: Sequence[bytes], dtype: str) -> npt.NDArray[Any]:
    # A bytearray, so that the array may be written to: kernels are compiled apart for read-only ones.
    return np.frombuffer(bytearray().join(parts), dtype)


def _column(code: str, values: Sequence[float]) -> npt.NDArray[Any]:
    return np.frombuffer(array(code, values), code)  # several times faster than numpy reads a list


def _starts(lengths: Sequence[int]) -> npt.NDArray[np.int32]:
    out = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=out[1:])
    return out


def _pairs(
    columns: _Columns,
    slate_user: npt.NDArray[np.int32],
    shown: npt.NDArray[np.int32],
    start: npt.NDArray[np.int32],
    slate: npt.NDArray[np.int32],
    place: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """User and item of each operation; `place` (within its slate) is turned into a place of the columns."""
    user = np.append(slate_user, np.int32(-1))[slate]
    item = np.full(slate.size, -1, np.int32)
    is_click = place >= 0
    place[is_click] += start[slate[is_click]]
    item[is_click] = shown[place[is_click]]
    for o, one, other in columns.organic:
        user[o], item[o] = one, other
    return user, item


def _rewards(columns: _Columns, start: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    # Only of closed slates: before that JOIN may be ahead of this block, and blocks must not matter.
    out = np.zeros(int(start[-1]), np.float32)
    for n in columns.closed:
        for place, reward in columns.slates[n].rewards.items():
            out[start[n] + place] = reward
    return out


def _split(
    logged: Sequence[bytes], ns: Sequence[int], ms: Sequence[int], width: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Features of the shown items and of the others; NaN for slates without as many as they should have."""
    if width == 0 or not ns:
        return np.zeros((sum(ns), width), np.float32), np.zeros((sum(ms), width), np.float32)
    missing = np.float32(_NAN).tobytes() * width
    whole = [
        data if len(data) == 4 * width * (n + m) else missing * (n + m)
        for data, n, m in zip(logged, ns, ms, strict=True)
    ]
    features = _joined(whole, "<f4").reshape(-1, width)
    if min(ns) == max(ns) and min(ms) == max(ms):
        cube = features.reshape(len(ns), ns[0] + ms[0], width)
        return cube[:, : ns[0]].reshape(-1, width), cube[:, ns[0] :].reshape(-1, width)
    counts = np.array([ns, ms], np.int64).T.ravel()
    is_shown = np.repeat(np.arange(counts.size) % 2 == 0, counts)
    return features[is_shown], features[~is_shown]
