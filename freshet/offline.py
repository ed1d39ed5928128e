"""The learner's own state as a recommender without exploration: what a replay asks before each click."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from bandits import Context, Offered, Policy, request_key
from index import LiveIndex
from learners import Catalogue, EmbeddingTable
from learners.ask import Ask
from learners.scorer import Renamed
from learning.asking import ask_of_list, make_ask
from learning.parts import Parts
from serving.chosen_sources import build_sources, source_entries
from serving.gather import Candidates, Gatherer, PolicyRaisedError
from serving.item_index import ItemIndex
from serving.settings import SourceSettings
from stream.blocks import Slate
from stream.errors import PartError
from stream.outbox import revive_context
from stream.slates import item_contexts

__all__ = ["StateRecommender"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]

_NEWEST = 1_024  # as many as a serving worker lists
_NEVER = np.float64("-inf")
_NONE = np.zeros(0, np.int32)


class _Near(NamedTuple):
    rows: Int32


class _ExactSearch:
    """Nearest servable items by cosine, by looking at all: a replay has no index to keep in step."""

    def __init__(self, items: EmbeddingTable, catalogue: Catalogue) -> None:
        self._items, self._catalogue = items, catalogue

    @property
    def size(self) -> int:
        return min(self._items.size, self._catalogue.size)

    def search(
        self, query: Any, k: int, *, groups: Any = None, now_ms: int | None = None, allowed: Any = None
    ) -> _Near:
        n = self.size
        c, data = self._catalogue, self._items.data[:n]
        eligible = c.known[:n] & ~c.deleted[:n]
        if now_ms is not None:
            eligible &= (c.from_ms[:n] <= now_ms) & (now_ms < c.until_ms[:n])
        if allowed is not None:
            eligible &= allowed[:n]
        if groups is not None:
            eligible &= np.isin(c.group[:n] + 1, groups)
        norms = np.sqrt(np.einsum("ij,ij->i", data, data))
        near = np.where(eligible & (norms > 0), data @ query / np.maximum(norms, 1e-12), _NEVER)
        return _Near(_largest(near, min(k, int(np.count_nonzero(near > _NEVER)))))


class _ExactItems(ItemIndex):
    """What `Gatherer` asks for: nearest and newest items, straight from the tables."""

    def __init__(self, items: EmbeddingTable, catalogue: Catalogue, n_newest: int) -> None:
        super().__init__(cast(LiveIndex, _ExactSearch(items, catalogue)), items, catalogue)
        self._n_newest = n_newest
        self.n_timed = 1  # availability is always looked at

    def refresh(self) -> None:
        """Look at the catalogue anew."""
        c = self._catalogue
        entered = np.where(c.known & ~c.deleted, c.entered_ms, -1)
        self.newest = _largest(entered, min(self._n_newest, int(np.count_nonzero(entered >= 0))))


def _largest(values: npt.NDArray[Any], n: int) -> Int32:
    """Rows of the `n` largest values, largest first; of equal ones the lower row, as where answers are made.

    Items often enter together, so which of equals are in decides what a policy could have chosen.
    """
    if n == 0:
        return np.zeros(0, np.int32)
    bar = np.partition(values, values.size - n)[values.size - n]
    above = np.flatnonzero(values > bar)
    rows = np.concatenate([above, np.flatnonzero(values == bar)[: n - above.size]])
    return rows[np.lexsort((rows, -values[rows]))].astype(np.int32)


class StateRecommender:
    """The same sources, filters and ranker as a serving worker, over the learner's own parts, epsilon 0.

    `sources` are the entries of `[[sources]]`, none for those of `sizes`. Nearest items are exact here. A
    request's `exclude` and `groups` are not in the log, so a replay does not know them. Reads only; see
    `replay.prequential.Recommender`.
    """

    def __init__(
        self, parts: Parts, sizes: SourceSettings, *, sources: Sequence[Mapping[str, Any]] = (), seed: int = 0
    ) -> None:
        self._parts, self._seed = parts, seed
        self._index = _ExactItems(parts.items, parts.catalogue, _NEWEST)
        chosen = build_sources(source_entries(sources, sizes), parts, self._index)
        self._gatherer = Gatherer(parts, chosen, sample=sizes.sample)
        self._policy = next(iter(parts.policies.values()))

    def recommend(self, user_id: str, k: int, ts: int) -> list[str]:
        """The best k items, in the ranker's order."""
        ask, context = self._ask(user_id, k, ts)
        rows = self._gather(ask, context, self._policy).rows
        scores = self._scored(ask, rows)
        best = rows[np.lexsort((rows, -scores))[:k]]
        return [name for name in self._parts.items.ids_of(best) if name is not None]

    def scores(self, slate: Slate, ts: int, *, as_logged: bool = False) -> Float64:
        """The ranker's scores (n,) of a list's items, NaN for an item of which nothing is known."""
        return self.score(self.list_features(slate, ts, as_logged=as_logged))

    @property
    def features(self) -> dict[str, tuple[str, ...]]:
        """Names of the ranker's features by the kind of their scorer, or the name it was given."""
        found: dict[str, tuple[str, ...]] = {}
        for scorer in self._parts.ranker.scorers:
            kind = type(scorer).__module__.rpartition(".")[2]
            name = scorer.names[0].partition(".")[0] if isinstance(scorer, Renamed) else kind
            found[name if name not in found else f"{name} ({len(found)})"] = scorer.names
        return found

    @property
    def shares(self) -> dict[str, float]:
        """The share of each order in the mixture that is served now."""
        return self._parts.ranker.explain()

    def list_features(self, slate: Slate, ts: int, *, as_logged: bool = False) -> Float32:
        """What the ranker would see now of a list's items, place by place: (n, F).

        A list of others is asked for as the learner does. Of an own decision the features are computed anew
        too, with the scorers of these settings, unless they are wanted `as_logged`.
        """
        parts, context = self._parts, revive_context(slate.context)
        if not isinstance(context, dict):
            context = None  # of somebody else's making
        if slate.decided:
            logged = self._logged(slate) if as_logged else None
            if logged is not None:
                return logged
            ask, _ = self._ask(slate.user_id, len(slate.items), ts, context)
            return parts.ranker.features(ask, parts.items.find(slate.items))
        known = item_contexts(slate)
        ask = ask_of_list(parts, slate.user_id, slate.items, now_ms=ts, context=context, item_context=known)
        rows = ask.listed.rows if ask.listed is not None else _NONE
        return parts.ranker.features(ask, rows)

    def _logged(self, slate: Slate) -> Float32 | None:
        """The logged features of the shown items by the names of now; None where they cannot be read."""
        schemas, n_rows = self._parts.ranker.schemas, len(slate.items) + len(slate.others)
        read = schemas.read(slate.feature_schema, slate.features, n_rows)
        return None if read is None else np.frombuffer(read, "<f4").reshape(n_rows, -1)[: len(slate.items)]

    def score(self, features: Float32) -> Float64:
        """The ranker's scores (n,) of `features` (n, F), with the weights of now."""
        return self._parts.ranker.score(features)

    def reachable(self, user_id: str, item_id: str, ts: int) -> bool:
        """Whether the item is in the catalogue, available, and not clicked by this user before."""
        row = self._parts.items.row_of(item_id)
        clicked = self._parts.history.clicked(self._parts.users.row_of(user_id))
        servable = self._parts.catalogue.servable(np.array([row], np.int32), ts)
        return bool(servable[0]) and row not in clicked

    def candidates(self, policy: Policy) -> Callable[[Slate, Context], Offered]:
        """What `policy` could have chosen from for a logged slate, filtered as for an answer.

        Where an answer draws some of it at random, so does this, with the numbers of the request.
        """

        def choose(slate: Slate, context: Context) -> Offered:
            logged = revive_context(slate.context)
            ask, _ = self._ask(slate.user_id, len(slate.items), slate.ts, logged)
            found = self._gather(ask, context, policy, slate.request_id)
            shown = self._parts.items.find(slate.items)
            may_not = np.isin(shown, ask.blocked) | ~self._parts.catalogue.servable(shown, slate.ts)
            return Offered(found.own, found.outside, shown[may_not])

        return choose

    def rank_features(self, slate: Slate, rows: Int32) -> Float32:
        """What the ranker sees now of item rows (n,) for the request of a logged slate: (n, F)."""
        ask, _ = self._ask(slate.user_id, len(slate.items), slate.ts, revive_context(slate.context))
        return self._parts.ranker.features(ask, rows)

    def _gather(self, ask: Ask, context: Context, policy: Policy, request_id: str = "") -> Candidates:
        # Something was learned since the last question, so nothing may be kept from it.
        self._index.refresh()
        self._gatherer.refresh()
        try:
            return self._gatherer.gather(ask, context, policy, request_key(self._seed, request_id))
        except PolicyRaisedError as error:
            name = next(name for name, each in self._parts.policies.items() if each is policy)
            msg = f"part {name!r} raised while it answered request {request_id!r}: {error.__cause__!r}"
            raise PartError(msg) from error

    def _ask(
        self, user_id: str, k: int, ts: int, context: Mapping[str, Any] | None = None
    ) -> tuple[Ask, Context]:
        """As `serving.decisions.DecisionMaker` sees who asks."""
        ask = make_ask(self._parts, user_id, now_ms=ts, k=k, context=context)
        features = self._parts.request_features.of(context)
        return ask, Context(*self._parts.centroids.context(ask.vector), features)

    def _scored(self, ask: Ask, rows: Int32) -> Float64:
        ranker = self._parts.ranker
        return ranker.score(ranker.features(ask, rows))
