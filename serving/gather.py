"""Candidates of one request: what all sources offer, merged without duplicates and filtered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from bandits import Context, Policy, Reach
from learners.ask import Ask
from learning.parts import Parts
from serving.errors import ServingError
from serving.failures import raise_named
from serving.given import GIVEN, Given, own_places
from serving.ops.eligible import count_eligible, draw_eligible, hide
from serving.ops.merge import Columns, merge_candidates
from serving.source import NO_ROWS, Source

__all__ = ["CATALOGUE", "Candidates", "Gatherer", "PolicyRaisedError"]

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]

CATALOGUE = "catalogue"
"""What items are attributed to that no source offered: a policy drew them from all that may be shown."""

_Asking = Callable[[Source, Ask, Int32], Int32]

_MOST_SOURCES = 100
_MOST_COUNTS = 64


class PolicyRaisedError(Exception):
    """The policy raised while candidates were gathered; the cause says what."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Eligible rows (n,), each once, with the number of the source that offered it (n,).

    `own` (m,) are the rows that the policy may choose from, eligible as well; they need not be among `rows`.
    `fallback` names the source that stands in when nothing personal was offered. `outside` counts the items
    that a policy which reaches everything may draw beside `own`, and `strangers` are the first of them in an
    order drawn at random. `eligible` counts all items that may be shown to this user now: exact for policies
    without candidates of their own, for others within a thousandth. `source` is the number of the source of
    items that only the policy knows. `evenly`: the policy has nothing of its own here, and what is its to
    pick is drawn from `own` with equal chances.
    """

    rows: Int32
    sources: Int8
    own: Int32
    fallback: str | None
    eligible: int
    source: int
    outside: int = 0
    strangers: Int32 = field(default_factory=lambda: NO_ROWS)
    evenly: bool = False


class Gatherer:
    """Asks every source and merges what they offer.

    An item is attributed to the source that ranks it best, of equals to the one that stands first; `names`
    are those of the sources by number, then `CATALOGUE` and `GIVEN`. Where all sources together have fewer
    items than the answer needs, each gives all that it has, and then the catalogue does.

    Works with one array of a byte an item row that is restored after each request, so it is not for several
    threads.

    Args:
        models: the learned parts.
        sources: by name, in order.
        sample: items drawn at random for a policy that must look at each of its candidates.
        failed: told of a source that raised, which then offers nothing; by default it ends the request.
    """

    def __init__(
        self,
        models: Parts,
        sources: Mapping[str, Source],
        *,
        sample: int,
        failed: Callable[[str, str, Exception], None] = raise_named,
    ) -> None:
        if {CATALOGUE, GIVEN} & sources.keys() or len(sources) > _MOST_SOURCES:
            msg = (
                f"sources: at most {_MOST_SOURCES}, none called {CATALOGUE!r} or {GIVEN!r}; "
                f"got {len(sources)}: {', '.join(sources)}"
            )
            raise ServingError(msg)
        self._models, self._sample = models, sample
        self._sources = dict(sources)
        self._failed = failed
        self._nothing = [NO_ROWS] * len(self._sources)
        self.names = (*self._sources, CATALOGUE, GIVEN)
        roles = [source.role for source in sources.values()]
        self._by_policy = roles.index("policy") if "policy" in roles else len(roles)
        self._personal = [n for n, role in enumerate(roles) if role == "personal"]
        self._anyone = [n for n, role in enumerate(roles) if role == "anyone"]
        self._allowed = np.ones(1_024, np.bool_)
        self._counted: dict[bytes | None, tuple[int, int, int, int]] = {}

    def refresh(self) -> None:
        """The learned parts have changed: forget what was kept of them between requests."""
        for name, source in self._sources.items():
            try:
                source.refresh()
            except Exception as error:  # noqa: BLE001  # whatever another author's source raises
                self._failed(f"source {name!r}", "refreshed", error)

    def gather(
        self, ask: Ask, context: Context, policy: Policy, key: np.uint64, request_id: str = ""
    ) -> Candidates:
        """All candidates of one request; `key` is that of its draws.

        Raises:
            PolicyRaisedError: the policy raised.
        """
        columns = self._columns()
        any_group, groups = _group_filter(ask)
        n_hidden = hide(ask.blocked, columns, self._allowed, ask.now_ms, any_group, groups)
        try:
            ask.allowed = self._allowed
            own, everything = self._own(ask, context, policy, columns)
            offers, (rows, sources) = self._offers(_offer, self._nothing, columns, ask, request_id)
            if rows.size < ask.k:
                rows, sources = self._exhausted(ask, offers, columns, request_id)
            eligible = max(self._n_eligible(ask, columns, exact=own is None) - n_hidden, rows.size)
            fallback = self._fallback(offers, rows.size)
            if own is not None:
                return Candidates(rows, sources, own, fallback, eligible, self._by_policy)
            n = ask.k if everything else self._sample
            strangers = self._strangers(ask, columns, rows, eligible - rows.size, key, n)
        finally:
            self._allowed[ask.blocked] = True
        catalogue = len(self._sources)
        if everything:
            outside = eligible - rows.size
            return Candidates(rows, sources, rows, fallback, eligible, catalogue, outside, strangers)
        # Whoever must know all its candidates gets some of the others, drawn anew for each request.
        own = np.concatenate([rows, strangers])
        return Candidates(rows, sources, own, fallback, eligible, catalogue)

    def given(self, context: Context, policy: Policy, given: Given) -> Candidates:
        """The places of candidates that the caller named, in the order in which they came.

        Raises:
            PolicyRaisedError: the policy raised.
        """
        n, number = given.rows.size, len(self.names) - 1
        try:
            own = own_places(policy, context, given)
        except Exception as error:
            raise PolicyRaisedError from error
        places, sources = np.arange(n, dtype=np.int32), np.full(n, number, np.int8)
        evenly, fallback = not own.size, None if n else "empty"
        return Candidates(places, sources, places if evenly else own, fallback, n, number, evenly=evenly)

    def _own(self, ask: Ask, context: Context, policy: Policy, columns: Columns) -> tuple[Int32 | None, bool]:
        """The eligible ones of the rows that the policy lists; whether it reaches everything instead."""
        try:
            reach = policy.reach(context)
            if reach is Reach.EVERYTHING or reach is Reach.OFFERED:
                return None, reach is Reach.EVERYTHING
            own = self._merge([reach], columns, ask)[0]
        except Exception as error:
            raise PolicyRaisedError from error

        def best_own(n: int) -> Int32:
            try:
                return own if own.size <= n else policy.best_of(context, own, n)
            except Exception as error:
                raise PolicyRaisedError from error

        ask.best_own = best_own
        return own, False

    def _offers(
        self, asking: _Asking, before: list[Int32], columns: Columns, ask: Ask, request_id: str
    ) -> tuple[list[Int32], tuple[Int32, Int8]]:
        """What each source answers, and that merged; one that raises, or gives no rows, offers nothing."""
        try:
            pairs = zip(self._sources.values(), before, strict=True)
            offers = [asking(source, ask, rows) for source, rows in pairs]
            return offers, self._merge(offers, columns, ask)
        except PolicyRaisedError:
            raise
        except Exception:  # noqa: BLE001  # whatever another author's source raises: find out which it was
            offers = [
                self._rows_of(name, partial(asking, self._sources[name], ask, rows), request_id)
                for name, rows in zip(self._sources, before, strict=True)
            ]
            return offers, self._merge(offers, columns, ask)

    def _rows_of(self, name: str, asked: Callable[[], Int32], request_id: str) -> Int32:
        try:
            rows = asked()
            if not isinstance(rows, np.ndarray) or rows.ndim != 1 or rows.dtype.kind not in "iu":
                msg = f"expected an array of item rows (n,), got {_shape_of(rows)}"
                raise ServingError(msg)
        except PolicyRaisedError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever another author's source raises
            self._failed(f"source {name!r}", f"answered request {request_id!r}", error)
            return NO_ROWS
        return rows

    def _exhausted(
        self, ask: Ask, offers: list[Int32], columns: Columns, request_id: str
    ) -> tuple[Int32, Int8]:
        """All that the sources have; where that is too little, the rest of the catalogue as well."""
        _, (rows, sources) = self._offers(_exhaust, offers, columns, ask, request_id)
        if rows.size < ask.k:
            rest = self._merge([self._models.catalogue.newest_first()], columns, ask)[0]
            rest = rest[~np.isin(rest, rows)]
            rows = np.concatenate([rows, rest])
            sources = np.concatenate([sources, np.full(rest.size, len(self._sources), np.int8)])
        return rows, sources

    def _fallback(self, offers: list[Int32], n_rows: int) -> str | None:
        """The source that stands in when nothing personal was found; None when something was."""
        # First: sources offer before what may not be shown is taken out, so an offer may come to nothing.
        if not n_rows:
            return "empty"
        for n in self._personal:
            if offers[n].size:
                return None
        offered = [n for n in self._anyone if offers[n].size] or self._anyone[-1:]
        return self.names[offered[0]] if offered else CATALOGUE

    def _strangers(
        self, ask: Ask, columns: Columns, rows: Int32, n_left: int, key: np.uint64, n: int
    ) -> Int32:
        """At most `n` of the `n_left` items that may be shown and are not among `rows`, drawn at random."""
        strangers = np.empty(n, np.int32)
        self._allowed[rows] = False
        try:
            drawn = draw_eligible(
                columns, self._allowed, ask.now_ms, *_group_filter(ask), key, n_left, strangers
            )
        finally:
            self._allowed[rows] = True
        return strangers[:drawn]

    def _n_eligible(self, ask: Ask, columns: Columns, *, exact: bool) -> int:
        """How many items may be shown now to somebody who has seen nothing; counted anew when rows change.

        What need not be exact is kept until a thousandth of the rows has changed.
        """
        name = None if ask.groups is None else ask.groups.tobytes()
        version = self._models.catalogue.version
        known = self._counted.get(name)
        if known is not None and known[1] <= ask.now_ms < known[2]:
            most = 0 if exact else known[3] // 1_000
            if version - known[0] <= most:
                return known[3]
        n, until_ms = count_eligible(columns, ask.now_ms, *_group_filter(ask))
        if len(self._counted) >= _MOST_COUNTS:
            self._counted.clear()
        self._counted[name] = (version, ask.now_ms, until_ms, n)
        return int(n)

    def _columns(self) -> Columns:
        c = self._models.catalogue
        needed = max(c.size, self._models.items.capacity)
        if needed > self._allowed.size:
            self._allowed = np.ones(2 * needed, np.bool_)
        return Columns(c.known, c.deleted, c.group, c.from_ms, c.until_ms)

    def _merge(self, offers: list[Int32], columns: Columns, ask: Ask) -> tuple[Int32, Int8]:
        rows = np.concatenate(offers, dtype=np.int32) if offers else NO_ROWS
        ends = np.array(list(accumulate(map(len, offers))), np.int32)
        out_rows, out_sources = np.empty(rows.size, np.int32), np.empty(rows.size, np.int8)
        n = merge_candidates(
            rows, ends, columns, self._allowed, ask.now_ms, *_group_filter(ask), out_rows, out_sources
        )
        return out_rows[:n], out_sources[:n]


def _offer(source: Source, ask: Ask, _: Int32) -> Int32:
    return source.offer(ask)


def _exhaust(source: Source, ask: Ask, offered: Int32) -> Int32:
    return source.exhaust(ask, offered)


def _shape_of(rows: object) -> str:
    return f"{rows.dtype} of shape {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__


def _group_filter(ask: Ask) -> tuple[bool, Int32]:
    """Whether any group will do, and which ones else: as the kernels want it."""
    return (True, NO_ROWS) if ask.groups is None else (False, ask.groups)
