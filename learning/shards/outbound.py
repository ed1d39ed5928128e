"""What the owner of users tells the owners of items: pure functions from what was learned to blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from bandits.ops.drift import closed_places
from learners.rows import RowBlock
from learners.table import EmbeddingTable
from learners.touched import grown
from stream.blocks import CLICK, CLOSED, ORGANIC, SHOWN, FeedbackBlock
from stream.forget import ForgetBook
from stream.item_blocks import ItemOutcomes
from stream.ops.numbering import number_by_first_use

__all__ = ["Homes", "merged_blocks", "outcomes_of", "without_forgotten"]

Int32 = npt.NDArray[np.int32]

_MOST_HOMES = 1_000_000
_PARALLEL = ("kind", "place", "reward", "first", "ts")
_SPARSE = ("before", "accepted", "action")  # columns of a block that are empty where all is 0


class Homes:
    """Partitions of ids, each worked out once; forgets them all when there are a million.

    Example:
        >>> Homes(len).of(["a", "bcd", "a"])
        array([1, 3, 1], dtype=int32)
    """

    def __init__(self, partition_of: Callable[[str], int]) -> None:
        self._partition_of = partition_of
        self._known: dict[str, int] = {}
        self._token: object = None
        self._of_row = np.zeros(0, np.int32)

    def of(self, names: Sequence[str]) -> Int32:
        """The partition of each name, (n,)."""
        if len(self._known) > _MOST_HOMES:
            self._known.clear()
        known = self._known
        try:  # most batches name nobody new
            return np.fromiter(map(known.__getitem__, names), np.int32, len(names))
        except KeyError:
            known.update((name, self._partition_of(name)) for name in names if name not in known)
        return np.fromiter(map(known.__getitem__, names), np.int32, len(names))

    def at(self, table: EmbeddingTable, rows: Int32, names: Sequence[str]) -> Int32:
        """As `of`, where the `rows` (n,) of names in one table are known, -1 for none: hardly a name is
        looked up, for rows keep their homes as long as they keep their owners."""
        if self._token is not table.token:
            self._token, self._of_row = table.token, np.zeros(0, np.int32)
        if self._of_row.size < table.capacity:
            self._of_row = grown(self._of_row, table.capacity, -1).astype(np.int32, copy=False)
        found = np.where(rows < 0, np.int32(-1), self._of_row[rows])
        missing = np.flatnonzero(found < 0)
        if missing.size:
            found[missing] = self.of([names[n] for n in missing.tolist()])
            new = missing[rows[missing] >= 0]
            self._of_row[rows[new]] = found[new]
        return found


def merged_blocks(blocks: Sequence[FeedbackBlock]) -> FeedbackBlock:
    """Blocks that follow each other as one: where a block ends has no meaning, and one costs less."""
    if len(blocks) == 1:
        return blocks[0]
    one = FeedbackBlock()
    for block in blocks:
        n_slates, n_organic = len(one.slates), len(one.organic)
        one.ref += [
            ref + (n_organic if kind == ORGANIC else n_slates)
            for kind, ref in zip(block.kind, block.ref, strict=True)
        ]
        for name in _SPARSE:
            mine, theirs = getattr(one, name), getattr(block, name)
            if theirs:
                mine += [0] * (len(one.kind) - len(mine)) + theirs
            elif mine:
                mine += [0] * len(block)
        for name in ("slates", "organic", *_PARALLEL):
            getattr(one, name).extend(getattr(block, name))
    return one


def without_forgotten(block: FeedbackBlock, forgotten: ForgetBook) -> FeedbackBlock:
    """The block without outcomes whose impression or click is not newer than their user's forget."""
    slates = [forgotten.covers(slate.user_id, slate.ts) for slate in block.slates]
    organic = [
        kind == ORGANIC and forgotten.covers(block.organic[ref][0], ts)
        for kind, ref, ts in zip(block.kind, block.ref, block.ts, strict=True)
    ]
    if not any(slates) and not any(organic):
        return block
    kept = [
        o
        for o, (kind, ref) in enumerate(zip(block.kind, block.ref, strict=True))
        if not (organic[o] or (kind != ORGANIC and slates[ref]))
    ]
    # The slates stay as they are: what no operation names is learned by nobody.
    columns: dict[str, Any] = {
        name: [getattr(block, name)[o] for o in kept]
        for name in ("ref", *_PARALLEL, *(name for name in _SPARSE if getattr(block, name)))
    }
    return FeedbackBlock(slates=block.slates, organic=block.organic, **columns)


def outcomes_of(
    block: FeedbackBlock,
    rows: RowBlock,
    items: EmbeddingTable,
    *,
    policies: Sequence[str] = (),
    layout: str = "",
    shown_at: bool = False,
    with_closed: bool = False,
) -> ItemOutcomes:
    """Impressions and clicks of a block, one operation a slate, with the contexts that `rows` has of them,
    whose items have rows in `items`.

    `policies` are the names that `rows.policy` numbers, `layout` is that of `rows.request`. `shown_at`:
    whether somebody goes by the time of a click's impression. `with_closed` there are windows that close,
    too: of places that a policy picked, one operation a slate and reward.
    """
    sent, closed = np.flatnonzero(rows.kind != CLOSED), _closed(rows) if with_closed else None
    if closed is not None:
        sent = np.sort(np.concatenate([sent, closed.operation]))
    kind, ref = rows.kind[sent], np.array(block.ref, np.int32)[sent]
    names, numbers, begin, sizes = _numbered(block, rows, items, kind, ref)
    is_organic = kind == ORGANIC
    at = np.where(is_organic, len(block.slates), ref)
    counts = np.where(kind == SHOWN, sizes[at], 1)
    offset, reward = np.where(kind == CLICK, np.array(block.place, np.int32)[sent], 0), rows.reward[sent]
    if closed is not None:
        counts[kind == CLOSED], reward[kind == CLOSED] = closed.size, closed.reward
    start = np.zeros(sent.size + 1, np.int32)
    np.cumsum(counts, out=start[1:])
    within = np.arange(int(start[-1])) - np.repeat(start[:-1], counts)
    if closed is not None:
        within[np.repeat(kind == CLOSED, counts)] = closed.offset
    places = np.repeat(begin[at] + np.where(is_organic, ref, offset), counts) + within
    # In `rows` a slate may stand more than once; organic clicks get what stands behind the last one.
    context = np.where(is_organic, len(rows.decided), rows.slate[sent])
    logged = np.repeat(rows.start[context] + offset, counts) + within
    width = rows.clusters.shape[1]
    return ItemOutcomes(
        names=names,
        kind=kind,
        ts=rows.ts[sent],
        reward=reward,
        first=rows.first[sent],
        decided=np.append(rows.decided, False)[context],
        clusters=np.append(rows.clusters, np.full((1, width), -1, np.int32), axis=0)[context],
        weights=np.append(rows.weights, np.zeros((1, width), np.float32), axis=0)[context],
        start=start,
        items=numbers[places],
        before=rows.before[sent],
        action=rows.action[sent],
        accepted=np.array(block.accepted, np.int64)[sent]
        if block.accepted
        else np.zeros(sent.size, np.int64),
        request=np.append(rows.request, np.zeros((1, rows.request.shape[1]), np.float32), axis=0)[context],
        propensity=np.append(rows.propensity, np.float32(np.nan))[logged],
        policy=np.append(rows.policy, np.int8(-1))[context],
        policies=list(policies),
        layout=layout,
        shown_at=np.where(kind == CLICK, np.append(rows.slate_ts, 0)[context], 0)
        if shown_at
        else np.zeros(0, np.int64),
    )


class _Closed(NamedTuple):
    """For each operation that is sent of windows that closed: which one it is, the reward of all its places,
    and how many they are (G,); `offset` (P,) of each place in its slate."""

    operation: Any
    reward: Any
    size: Any
    offset: Any


def _closed(rows: RowBlock) -> _Closed:
    """Places of closed windows, with those of one slate that had one reward together: most had none."""
    places = np.arange(rows.items.size, dtype=np.int32)  # an item without a row here may have one elsewhere
    operation, place, reward = closed_places(
        rows.kind, rows.slate, rows.start, places, rows.decided, rows.explored, rows.rewards
    )
    order = np.lexsort((place, reward, operation))
    operation, place, reward = operation[order], place[order], reward[order]
    begins = np.ones(place.size, np.bool_)
    begins[1:] = (operation[1:] != operation[:-1]) | (reward[1:] != reward[:-1])
    first = np.flatnonzero(begins)
    size = np.diff(np.append(first, place.size))
    return _Closed(operation[first], reward[first], size, place - rows.start[rows.slate[operation]])


def _numbered(
    block: FeedbackBlock, rows: RowBlock, items: EmbeddingTable, kind: Any, ref: Int32
) -> tuple[list[str], Int32, Any, Any]:
    """Item ids, each once; the number of each place of a slate that is sent, organics behind; and where a
    slate's places begin (slates + 1,), with how many there are. The last entry is that of the organics."""
    n_slates, is_organic = len(block.slates), kind == ORGANIC
    is_sent = np.zeros(n_slates, np.bool_)
    is_sent[ref[~is_organic]] = True
    # The first slates of `rows` are those of the block.
    n_places = np.diff(rows.start[: n_slates + 1])
    sizes = np.append(np.where(is_sent, n_places, 0).astype(np.int64), 0)
    organic = np.full(len(block.organic), -1, np.int32)
    organic[ref[is_organic]] = rows.item[rows.kind == ORGANIC]
    shown = rows.items[: rows.start[n_slates]][np.repeat(is_sent, n_places)]
    found, begin = np.append(shown, organic), np.cumsum(sizes) - sizes
    more = _without_row(block, items, found, begin)
    number, distinct = number_by_first_use(found)
    n_rows = items.size
    names = items.ids_of(distinct[distinct < n_rows])
    if more:
        known = iter(names)
        names = [more[row - n_rows] if row >= n_rows else next(known) for row in distinct.tolist()]
    return cast(list[str], names), number, begin, sizes


def _without_row(block: FeedbackBlock, items: EmbeddingTable, found: Int32, begin: Any) -> list[str]:
    """Ids that have no row behind the block; in `found` they get the numbers that come after all rows."""
    unknown = np.flatnonzero(found < 0)
    if not unknown.size:
        return []
    # Slates without a place that is sent begin where the next one does.
    slates = (np.searchsorted(begin[:-1], unknown, side="right") - 1).tolist()
    within = (unknown - begin[slates]).tolist()
    n_shown, organic = int(begin[-1]), block.organic
    names = [
        organic[at - n_shown][1] if at >= n_shown else block.slates[slate].items[place]
        for at, slate, place in zip(unknown.tolist(), slates, within, strict=True)
    ]
    rows = items.find(names)  # one may have been admitted at a later place
    has_none = rows < 0
    numbers: dict[str, int] = {}
    rows[has_none] = [
        items.size + numbers.setdefault(names[n], len(numbers)) for n in np.flatnonzero(has_none).tolist()
    ]
    found[unknown] = rows
    return list(numbers)
