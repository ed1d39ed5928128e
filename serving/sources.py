"""Candidate sources: who offers what for one request, merged without duplicates and filtered.

To add a source: a method that returns rows, best first, and a line in `gather`. What a source offers is
filtered afterwards, all of it at once: clicked within the history, excluded, gone, of another group, not
available now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from bandits import Context, Policy, Reach
from learners.parts.cooccurrence import Linked
from serving.item_index import ItemIndex
from serving.models import Models
from serving.ops.eligible import count_eligible, draw_eligible, hide
from serving.ops.merge import Columns, merge_candidates
from serving.settings import SourceSettings

__all__ = ["SOURCES", "Asker", "Candidates", "Gatherer"]

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]

SOURCES = ("index", "neighbours", "graph", "popular", "fresh", "catalogue")
"""An item is attributed to the source that ranks it best, of equals to the one that stands first here; the
last is that of items that nobody offered, and that a policy drew from all that may be shown."""

_CATALOGUE = SOURCES.index("catalogue")
_DAY_MS = 86_400_000
_FEW_BLOCKED = 48
_POPULAR_STEP = 32
_MOST_COUNTS = 64
_NONE = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and for what: rows of the tables, -1 for an unknown user.

    `vector` (dim,) is None while nothing is known of the user's taste; `linked` is what goes with the items
    to look for neighbours of, newest first, and `ranked_by` the same where those are the items that the
    ranker looks at; `blocked` are rows that must not be shown; `groups` are group numbers, None for any.
    """

    user: int
    vector: Float32 | None
    linked: Linked
    ranked_by: Linked | None
    blocked: Int32
    groups: Int32 | None
    now_ms: int
    k: int


@dataclass(frozen=True, slots=True)
class Candidates:
    """Eligible rows (n,), each once, with the number of the source that offered it (n,).

    `own` (m,) are the rows that the policy may choose from, eligible as well; they need not be among `rows`.
    `fallback` names the source that stands in when nothing personal was offered. `outside` counts the items
    that a policy which reaches all may draw beside `own`, and `strangers` are the first of them in an order
    drawn at random. `eligible` counts all items that may be shown to this user now: exact for policies
    without candidates of their own, for others within a thousandth.
    """

    rows: Int32
    sources: Int8
    own: Int32
    fallback: str | None
    eligible: int
    outside: int = 0
    strangers: Int32 = field(default_factory=lambda: _NONE)
    source: int = SOURCES.index("graph")
    """That of items that only the policy knows."""


class Gatherer:
    """Asks every source and merges what they offer.

    Works with one array of a byte an item row that is restored after each request, so it is not for several
    threads.
    """

    def __init__(self, models: Models, index: ItemIndex, sizes: SourceSettings) -> None:
        self._models, self._index, self._sizes = models, index, sizes
        self._allowed = np.ones(1_024, np.bool_)
        half_lives = models.popularity.half_lives_ms
        self._most_popular: dict[int, Int32] = {}
        self._counted: dict[bytes | None, tuple[int, int, int, int]] = {}
        self._half_life = min(range(len(half_lives)), key=lambda h: abs(half_lives[h] - _DAY_MS))

    def refresh(self) -> None:
        """The learned parts have changed: forget what was kept of them between requests."""
        self._most_popular.clear()

    def gather(self, asker: Asker, context: Context, policy: Policy, key: np.uint64) -> Candidates:
        """All candidates of one request; `key` is that of its draws."""
        columns = self._columns()
        blocked = asker.blocked[asker.blocked >= 0]
        any_group, groups = _group_filter(asker)
        n_hidden = hide(blocked, columns, self._allowed, asker.now_ms, any_group, groups)
        try:
            reach = policy.reach(context)
            if reach is Reach.EVERYTHING or reach is Reach.OFFERED:
                own = None
            else:
                own = self._merge([reach], columns, asker)[0]
            near, together = self._near(asker, blocked), self._together(asker)
            popular = self._popular(asker, blocked)
            fresh = self._index.newest[: self._sizes.fresh]
            offers = [near, together, self._best_of(own, context, policy), popular, fresh]
            rows, sources = self._merge(offers, columns, asker)
            if rows.size < asker.k:
                rows, sources = self._merge([*offers[:4], self._everything()], columns, asker)
            fallback = _fallback(near.size + together.size, popular.size, rows.size)
            eligible = max(self._n_eligible(asker, columns, exact=own is None) - n_hidden, rows.size)
            if own is not None:
                return Candidates(rows, sources, own, fallback, eligible)
            everything = reach is Reach.EVERYTHING
            n = asker.k if everything else self._sizes.sample
            strangers = self._strangers(asker, columns, rows, eligible - rows.size, key, n)
        finally:
            self._allowed[blocked] = True
        if everything:
            outside = eligible - rows.size
            return Candidates(rows, sources, rows, fallback, eligible, outside, strangers, _CATALOGUE)
        # Whoever must know all its candidates gets some of the others, drawn anew for each request.
        own = np.concatenate([rows, strangers])
        return Candidates(rows, sources, own, fallback, eligible, source=_CATALOGUE)

    def _strangers(
        self, asker: Asker, columns: Columns, rows: Int32, n_left: int, key: np.uint64, n: int
    ) -> Int32:
        """At most `n` of the `n_left` items that may be shown and are not among `rows`, drawn at random."""
        strangers = np.empty(n, np.int32)
        self._allowed[rows] = False
        try:
            drawn = draw_eligible(
                columns, self._allowed, asker.now_ms, *_group_filter(asker), key, n_left, strangers
            )
        finally:
            self._allowed[rows] = True
        return strangers[:drawn]

    def _n_eligible(self, asker: Asker, columns: Columns, *, exact: bool) -> int:
        """How many items may be shown now to somebody who has seen nothing; counted anew when rows change.

        What need not be exact is kept until a thousandth of the rows has changed.
        """
        name = None if asker.groups is None else asker.groups.tobytes()
        version = self._models.catalogue.version
        known = self._counted.get(name)
        if known is not None and known[1] <= asker.now_ms < known[2]:
            most = 0 if exact else known[3] // 1_000
            if version - known[0] <= most:
                return known[3]
        n, until_ms = count_eligible(columns, asker.now_ms, *_group_filter(asker))
        if len(self._counted) >= _MOST_COUNTS:
            self._counted.clear()
        self._counted[name] = (version, asker.now_ms, until_ms, n)
        return int(n)

    def _columns(self) -> Columns:
        c = self._models.catalogue
        needed = max(c.size, self._models.items.capacity)
        if needed > self._allowed.size:
            self._allowed = np.ones(2 * needed, np.bool_)
        return Columns(c.known, c.deleted, c.group, c.from_ms, c.until_ms)

    def _merge(self, offers: list[Int32], columns: Columns, asker: Asker) -> tuple[Int32, Int8]:
        rows = np.concatenate(offers, dtype=np.int32)
        ends = np.array(list(accumulate(map(len, offers))), np.int32)
        out_rows, out_sources = np.empty(rows.size, np.int32), np.empty(rows.size, np.int8)
        n = merge_candidates(
            rows, ends, columns, self._allowed, asker.now_ms, *_group_filter(asker), out_rows, out_sources
        )
        return out_rows[:n], out_sources[:n]

    # --- the sources ---

    def _near(self, asker: Asker, blocked: Int32) -> Int32:
        """Nearest items to the user's vector."""
        index = self._index.index
        if asker.vector is None or index.size == 0 or self._sizes.index == 0:
            return _NONE
        groups = None if asker.groups is None else asker.groups + np.int32(1)
        now_ms = asker.now_ms if self._index.n_timed else None
        # A few more answers cost less than a look at the mask for every row on the way.
        few = blocked.size <= _FEW_BLOCKED
        k = self._sizes.index + (int(blocked.size) if few else 0)
        allowed = None if few else self._allowed
        return index.search(asker.vector, k, groups=groups, now_ms=now_ms, allowed=allowed).rows

    def _together(self, asker: Asker) -> Int32:
        """What goes together with recent items."""
        return asker.linked.best(self._sizes.neighbours)[0]

    def _best_of(self, own: Int32 | None, context: Context, policy: Policy) -> Int32:
        """The policy's own candidates, the best of them if there are too many."""
        if own is None or own.size <= self._sizes.graph:
            return _NONE if own is None or self._sizes.graph == 0 else own
        return policy.best_of(context, own, self._sizes.graph)

    def _popular(self, asker: Asker, blocked: Int32) -> Int32:
        """What is clicked now; deeper for those who have seen much of it."""
        if self._sizes.popular == 0:
            return _NONE
        n = max(self._sizes.popular, asker.k) + int(blocked.size)
        if asker.groups is not None:
            n = max(n, self._models.popularity.pool)
        # Rounded up, so that a handful of lists serves everybody until the next commit.
        n = -(-n // _POPULAR_STEP) * _POPULAR_STEP
        found = self._most_popular.get(n)
        if found is None:
            found = self._most_popular[n] = self._models.popularity.top(n, self._half_life)
        return found

    def _everything(self) -> Int32:
        """The whole catalogue, popular first, then newest: only when the sources have too little."""
        c, popularity = self._models.catalogue, self._models.popularity
        rows = np.flatnonzero(c.known & ~c.deleted).astype(np.int32)
        rows = rows[np.argsort(-c.entered_ms[rows], kind="stable")]
        return np.concatenate([popularity.top(rows.size, self._half_life), rows])


def _fallback(n_personal: int, n_popular: int, n_rows: int) -> str | None:
    """The source that stands in when nothing personal was found; None when something was."""
    if n_personal:
        return None
    if not n_rows:
        return "empty"
    return "popular" if n_popular else "fresh"


def _group_filter(asker: Asker) -> tuple[bool, Int32]:
    """Whether any group will do, and which ones else: as the kernels want it."""
    return (True, _NONE) if asker.groups is None else (False, asker.groups)
