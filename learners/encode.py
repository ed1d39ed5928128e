"""From ids to rows: a feedback block becomes the columns that learners and policies read."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain
from struct import Struct
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from learners.encoded import NO_BIRTHS, Births, Encoded
from learners.feature_schema import FeatureSchemas
from learners.item_keys import ItemKeys
from learners.ops.slates import HEAD, LACKS_ITEMS, LACKS_USER, read_slates, write_slates
from learners.request_features import RequestFeatures
from learners.rows import RowBlock
from learners.table import EmbeddingTable
from stream.blocks import CLOSED, ORGANIC, SHOWN, FeedbackBlock, Slate

__all__ = ["encode", "encode_rows"]

Int32 = npt.NDArray[np.int32]

_INTERCEPT = RequestFeatures()
_WORD = Struct("i")
_pack = msgspec.msgpack.Encoder().encode


class _Open:
    """A slate of which some ids have no row yet: they may get one before its next operation."""

    __slots__ = ("at", "lacks_user", "missing", "slate", "words")

    def __init__(self, slate: Slate, words: bytes, lacks: int) -> None:
        self.slate, self.words = slate, bytearray(words)
        self.lacks_user = bool(lacks & LACKS_USER)
        rows = array("i", words)[HEAD : HEAD + len(slate.items)] if lacks & LACKS_ITEMS else ()
        self.missing = [place for place, row in enumerate(rows) if row < 0]
        self.at = -1

    @property
    def is_whole(self) -> bool:
        return not self.missing and not self.lacks_user

    def resolve(self, users: EmbeddingTable, items: EmbeddingTable, ts: int, *, is_sighting: bool) -> bool:
        """Look again for what is missing; whether anything was found."""
        slate, before = self.slate, (self.lacks_user, len(self.missing))
        if self.lacks_user:
            name = slate.user_id
            self.lacks_user = not self._put(
                0, users.sight_one(name, ts) if is_sighting else users.row_of(name)
            )
        if self.missing:
            names = [slate.items[place] for place in self.missing]
            found = items.sight(names, ts) if is_sighting else items.rows_of(names)
            pairs = zip(self.missing, found, strict=True)
            self.missing = [place for place, row in pairs if not self._put(HEAD + place, row)]
        return (self.lacks_user, len(self.missing)) != before

    def _put(self, at: int, row: int) -> bool:
        """Write down a row, if it is one."""
        _WORD.pack_into(self.words, 4 * at, row)
        return row >= 0


class _Columns:
    """Columns in the making; a slate's words (learners/ops/slates.py) for each set of rows that it has.

    Words without a missing row are kept in `Slate.rows` while both tables' owners stay as they are. A row
    that is missing may be admitted before the slate's next operation: such slates are looked at in order.
    """

    def __init__(
        self, block: FeedbackBlock, users: EmbeddingTable, items: EmbeddingTable, width: int
    ) -> None:
        self.block, self.users, self.items, self.width = block, users, items, width
        # Only removals replace the tokens, and there are none in here.
        self.mark = (users.token, items.token, width)
        self.slates = list(block.slates)
        self.kind = np.frombuffer(bytearray(block.kind), np.int8)
        self.slate = _column("i", block.ref)
        self.organic: list[tuple[int, int, int]] = []
        self.admitted: list[tuple[int, int, int]] = []
        self.open = self._look_up()
        self.words = [slate.rows[1] for slate in self.slates]

    def _look_up(self) -> dict[int, _Open]:
        """Give every slate its words, new ones with one look-up for all; returns those that lack rows."""
        mark = self.mark
        new = [n for n, slate in enumerate(self.slates) if slate.rows is None or slate.rows[0] != mark]
        if not new:
            return {}
        slates = [self.slates[n] for n in new]
        shown = [slate.items for slate in slates]
        counts = np.fromiter(map(len, shown), np.int32, len(new))
        at = _starts(HEAD + 3 * counts + 2 * self.width, np.int64)
        words, lacks = np.empty(int(at[-1]), np.int32), np.empty(len(new), np.int8)
        logged = [
            (s.ts, s.decided, len(s.others), s.propensities, s.clusters, s.weights, s.explored)
            for s in slates
        ]
        write_slates(
            np.frombuffer(_pack(logged), np.uint8), self.users.find_many([s.user_id for s in slates]),
            self.items.find_many(list(chain.from_iterable(shown))), counts, at, self.width, words,
            words.view(np.float32), lacks,
        )  # fmt: skip
        raw, cuts = words.tobytes(), (4 * at).tolist()
        for slate, low, high in zip(slates, cuts, cuts[1:], strict=False):
            slate.rows = (mark, raw[low:high])
        return {
            new[n]: _Open(slates[n], slates[n].rows[1], int(lacks[n])) for n in np.flatnonzero(lacks).tolist()
        }

    def walk(self) -> None:
        """Go through what depends on order: an id is known from the operation on that admits it."""
        if not self.open and not self.block.organic:
            return
        is_organic = self.kind == ORGANIC
        is_open = np.zeros(len(self.slates) + 1, np.bool_)
        is_open[list(self.open)] = True
        self.slate[is_organic] = -1
        block = self.block
        for o in np.flatnonzero(is_organic | is_open[self.slate]).tolist():
            ref, ts = block.ref[o], block.ts[o]
            if block.kind[o] == ORGANIC:
                user_id, item_id = block.organic[ref]
                user, item = self.users.sight_one(user_id, ts), self.items.sight_one(item_id, ts)
                self.organic.append((o, user, item))
            else:
                self.slate[o] = self._resolve(ref, ts, is_sighting=block.kind[o] == SHOWN)
            self._note(o)
        for unknown in self.open.values():
            if not unknown.is_whole:
                unknown.slate.rows = None

    def _note(self, operation: int) -> None:
        """Remember which operation it was that gave ids their rows."""
        n_users, n_items = len(self.users.entering), len(self.items.entering)
        if (n_users, n_items) != (self.admitted[-1][1:] if self.admitted else (0, 0)):
            self.admitted.append((operation, n_users, n_items))

    def births(self) -> tuple[Births, Births]:
        """What `walk` gave a row, of users and of items; before they settle."""
        if not self.admitted:
            return NO_BIRTHS, NO_BIRTHS
        operations = np.array([entry[0] for entry in self.admitted], np.int32)
        found = []
        for side, table in ((1, self.users), (2, self.items)):
            counts = np.diff([0, *[entry[side] for entry in self.admitted]])
            rows = np.array([row for row, _, _ in table.entering], np.int32)
            order = np.argsort(rows)
            found.append(Births(rows[order], np.repeat(operations, counts)[order]))
        return found[0], found[1]

    def _resolve(self, ref: int, ts: int, *, is_sighting: bool) -> int:
        """Number of the words of a slate that was not whole when the block began."""
        slate = self.open[ref]
        if slate.at >= 0 and slate.is_whole:
            return slate.at
        has_changed = slate.resolve(self.users, self.items, ts, is_sighting=is_sighting)
        words = bytes(slate.words)
        if slate.is_whole:
            slate.slate.rows = (self.mark, words)
        if slate.at < 0:
            slate.at = ref
            self.words[ref] = words
        elif has_changed:
            slate.at = len(self.words)
            self.words.append(words)
            self.slates.append(slate.slate)
        return slate.at


def encode(
    block: FeedbackBlock,
    users: EmbeddingTable,
    items: EmbeddingTable,
    *,
    schemas: FeatureSchemas | None = None,
    max_clusters: int = 8,
    policies: Sequence[str] = (),
    request: RequestFeatures = _INTERCEPT,
    item_keys: ItemKeys | None = None,
) -> RowBlock:
    """Turn a block's ids into rows, admit what it sights, and add it to the tables' counts.

    SHOWN sights the user and every shown item, ORGANIC its user and item; CLICK and CLOSED only look up.
    An id that is not admitted has row -1. Logged features are put into the order of `schemas`, by name;
    those that it cannot read become NaN, and without it there are none. Clusters beyond `max_clusters`
    are cut; `request` computes the features of the requests from their logged contexts. With `item_keys`
    the block has the keys of shown items. Row numbers do not depend on how operations are cut into blocks.

    Example:
        >>> users, items = EmbeddingTable(2), EmbeddingTable(2)
        >>> slate = Slate(request_id="r", user_id="u", ts=5, items=["a", "b"])
        >>> block = FeedbackBlock([slate], [], [0, 1], [0, 0], [-1, 1], [0.0, 1.0], [False, True], [5, 6])
        >>> rows = encode(block, users, items)
        >>> rows.items, rows.item, items.clicks[:2]
        (array([0, 1], dtype=int32), array([-1,  1], dtype=int32), array([0, 1]))
    """
    encoded = encode_rows(
        block,
        users,
        items,
        max_clusters=max_clusters,
        policies=policies,
        request=request,
        item_keys=item_keys,
    )
    encoded.count(encoded.rows)
    return encoded.put_features(schemas)


def encode_rows(
    block: FeedbackBlock,
    users: EmbeddingTable,
    items: EmbeddingTable,
    *,
    max_clusters: int = 8,
    policies: Sequence[str] = (),
    request: RequestFeatures = _INTERCEPT,
    item_keys: ItemKeys | None = None,
) -> Encoded:
    """As `encode`, but nothing is added to the tables' counts yet, and no features are read."""
    columns = _Columns(block, users, items, max_clusters)
    columns.walk()
    births = columns.births()
    users.settle()
    items.settle()
    out = _assemble(columns, {name: n for n, name in enumerate(policies)}, request)
    if item_keys is not None:
        out.item_keys = item_keys.of_places(out.items, out.start, columns.slates)
    return Encoded(out, columns.slates, (users, items), births)


def _assemble(
    columns: _Columns,
    policies: dict[str, int],
    request: RequestFeatures,
) -> RowBlock:
    block, slates, width = columns.block, columns.slates, columns.width
    words = np.frombuffer(bytearray().join(columns.words), np.int32)
    at = _starts(np.fromiter(map(len, columns.words), np.int64, len(slates)) // 4, np.int64)
    counts = (at[1:] - at[:-1] - HEAD - 2 * width) // 3
    start = _starts(counts)
    n_slates, n_places = len(slates), int(start[-1])
    slate_user, n_others = np.empty(n_slates, np.int32), np.empty(n_slates, np.int32)
    decided, slate_ts = np.empty(n_slates, np.bool_), np.empty(n_slates, np.int64)
    shown, propensity = np.empty(n_places, np.int32), np.empty(n_places, np.float32)
    explored = np.empty(n_places, np.bool_)
    clusters, weights = np.empty((n_slates, width), np.int32), np.empty((n_slates, width), np.float32)
    read_slates(
        words, words.view(np.float32), at, start, slate_user, n_others, decided, slate_ts, shown, propensity,
        explored, clusters, weights,
    )  # fmt: skip
    place = _column("i", block.place)
    user, item = _pairs(columns, slate_user, shown, start, place)
    no_features = np.zeros((n_places, 0), np.float32)
    return RowBlock(
        slate_user=slate_user,
        slate_ts=slate_ts,
        start=start,
        clusters=clusters,
        weights=weights,
        decided=decided,
        policy=np.fromiter((policies.get(s.policy, -1) for s in slates), np.int8, n_slates),
        items=shown,
        propensity=propensity,
        rewards=_rewards(columns, start),
        rank_features=no_features,
        explored=explored,
        other_start=_starts(n_others),
        other_features=no_features,
        kind=columns.kind,
        slate=columns.slate,
        place=place,
        user=user,
        item=item,
        reward=_column("d", block.reward),
        first=np.frombuffer(bytearray(block.first), np.bool_),
        ts=_column("q", block.ts),
        before=_column("d", block.before),
        action=_column("b", block.action),
        request=_requests(slates, request),
    )


def _requests(slates: Sequence[Slate], request: RequestFeatures) -> npt.NDArray[np.float32]:
    # Without named features no context is looked at.
    if request.width == 1:
        return np.ones((len(slates), 1), np.float32)
    return request.many([slate.context for slate in slates])


def _column(code: str, values: Sequence[float]) -> npt.NDArray[Any]:
    return np.frombuffer(array(code, values), code)  # several times faster than numpy reads a list


def _starts(lengths: npt.NDArray[Any], dtype: type = np.int32) -> npt.NDArray[Any]:
    out: npt.NDArray[Any] = np.zeros(len(lengths) + 1, dtype)
    np.cumsum(lengths, out=out[1:])
    return out


def _pairs(
    columns: _Columns, slate_user: Int32, shown: Int32, start: Int32, place: Int32
) -> tuple[Int32, Int32]:
    """User and item of each operation; `place` (within its slate) is turned into a place of the columns."""
    user = np.append(slate_user, np.int32(-1))[columns.slate]
    item = np.full(user.size, -1, np.int32)
    is_click = place >= 0
    place[is_click] += start[columns.slate[is_click]]
    item[is_click] = shown[place[is_click]]
    for o, one, other in columns.organic:
        user[o], item[o] = one, other
    return user, item


def _rewards(columns: _Columns, start: Int32) -> npt.NDArray[np.float32]:
    # Only of closed slates: before that JOIN may be ahead of this block, and blocks must not matter.
    out = np.zeros(int(start[-1]), np.float32)
    at, rewards = array("q"), array("d")
    closed, slates = columns.slate[columns.kind == CLOSED], columns.slates
    for n, first in zip(closed.tolist(), start[closed].tolist(), strict=True):
        for place, reward in slates[n].rewards.items():
            at.append(first + place)
            rewards.append(reward)
    out[np.frombuffer(at, np.int64)] = np.frombuffer(rewards)
    return out
