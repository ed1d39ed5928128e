"""From a request to a decision: candidates, the ranker's order, the policy's places, everything to be logged.

Pure computation over the learned parts as they are now; nothing here waits, reads a clock or writes a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bandits import Context, Draws, Policy, Slated, build_slate
from serving.errors import FieldError
from serving.item_index import ItemIndex
from serving.models import Models
from serving.ops.order import is_usable, split_shown
from serving.requests import RecommendRequest
from serving.settings import ServeSettings
from serving.sources import SOURCES, Asker, Candidates, Gatherer
from stream.events import Decision

__all__ = ["Circumstances", "DecisionMaker"]

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_NONE = np.zeros(0, np.int32)


class Circumstances(NamedTuple):
    """What a decision is made under besides the request: its id, the time, and how fresh the rows are.

    `absorbed_at` is the mark of the user's rows, `items_at` and `policies_at` are those of the other kinds.
    """

    request_id: str
    now_ms: int
    absorbed_at: int
    stale: bool
    digest: str
    items_at: int = 0
    policies_at: int = 0


class _Ranked(NamedTuple):
    """Candidates in the ranker's order, with what the ranker saw of them."""

    rows: Int32
    scores: Float64
    features: Float32
    sources: npt.NDArray[np.int8]


class DecisionMaker:
    """Decides slates.

    Args:
        models: the learned parts; `index` over their items.
        settings: sizes of sources and of what is logged.
        epsilon: probability at each place that the policy picks.
        seed: of all draws; with the request id it gives the slate again.
    """

    def __init__(
        self, models: Models, index: ItemIndex, settings: ServeSettings, *, epsilon: float, seed: int
    ) -> None:
        self._models, self._index, self._settings = models, index, settings
        self._epsilon, self._seed = epsilon, seed
        self._gatherer = Gatherer(models, index, settings.sources)
        self._place_of = np.full(1_024, -1, np.int32)
        self._policies: Mapping[str, Policy] = models.policies
        self.default_policy = next(iter(self._policies))

    def check(self, asked: RecommendRequest) -> None:
        """Refuse what can be refused before anything is computed.

        Raises:
            FieldError: the policy is not configured.
        """
        if asked.policy is not None and asked.policy not in self._policies:
            known = ", ".join(self._policies)
            msg = f"field 'policy': expected one of {known}, got {asked.policy!r}; see [[policies]]"
            raise FieldError(msg)

    def refresh(self) -> None:
        """The learned parts have changed: forget what was kept of them between requests."""
        self._gatherer.refresh()

    def decide(self, asked: RecommendRequest, under: Circumstances) -> Decision:
        """The decision for one request; the policy takes note that its items are on their way."""
        name = asked.policy or self.default_policy
        policy = self._policies[name]
        asker, context = self._asker(asked, under.now_ms)
        draws = Draws(self._seed, under.request_id)
        found = self._gatherer.gather(asker, context, policy, draws.key)
        ranked = self._rank(asker, found)
        slated = build_slate(
            ranked.rows,
            policy,
            found.own,
            context,
            epsilon=self._epsilon,
            k=asker.k,
            draws=draws,
            outside=found.outside,
            strangers=found.strangers,
        )
        policy.served(slated.items)
        return self._decision(asked, under, name, asker, context, found, ranked, slated)

    # --- who asks ---

    def _asker(self, asked: RecommendRequest, now_ms: int) -> tuple[Asker, Context]:
        m = self._models
        user = m.users.row_of(asked.user_id)
        clicked = m.history.clicked(user)
        vector: Float32 | None = None
        # A row starts at a random vector; only a click that is rewarded makes it say something of the user.
        if user >= 0 and clicked.size and m.users.clicks[user]:
            vector = m.users.data[user]
            vector = vector if is_usable(vector) else None
        newest = clicked[::-1]
        recent = newest[: self._settings.sources.recent]
        blocked = [clicked]
        if asked.exclude:
            blocked.append(m.items.find(asked.exclude))
        extra = asked.context or {}
        if (item_id := extra.get("item_id")) is not None:
            viewed = m.items.find([item_id])
            blocked.append(viewed)
            recent = np.concatenate([viewed[viewed >= 0], recent])
        linked = m.cooccurrence.linked(recent, now_ms)
        # The source of neighbours and the ranker mostly look at the same items.
        same = item_id is None and recent.size == min(m.ranker.together_items, newest.size)
        clusters, weights = m.centroids.context(vector)
        features = extra.get("features")
        context = Context(clusters, weights, None if features is None else np.array(features, np.float32))
        groups = m.catalogue.group_codes(asked.groups) if asked.groups else None
        k = self._settings.k if asked.k is None else asked.k
        rows = np.concatenate(blocked)
        return Asker(user, vector, linked, linked if same else None, rows, groups, now_ms, k), context

    # --- the order ---

    def _rank(self, asker: Asker, found: Candidates) -> _Ranked:
        features = self._features(asker, found.rows)
        scores = self._models.ranker.score(features)
        # Of equal scores the one that was offered first: the order of candidates is itself repeatable.
        order = np.argsort(-scores, kind="stable")
        return _Ranked(found.rows[order], scores[order], features[order], found.sources[order])

    def _features(self, asker: Asker, rows: Int32) -> Float32:
        m = self._models
        return m.ranker.features(
            asker.now_ms,
            asker.user,
            rows,
            popularity=m.popularity,
            cooccurrence=m.cooccurrence,
            histories=m.history,
            mf=m.mf,
            linked=asker.ranked_by,
        )

    # --- what is logged ---

    def _decision(
        self,
        asked: RecommendRequest,
        under: Circumstances,
        policy: str,
        asker: Asker,
        context: Context,
        found: Candidates,
        ranked: _Ranked,
        slated: Slated,
    ) -> Decision:
        m = self._models
        at, others = self._split(ranked.rows, slated.items)
        shown = self._shown(asker, ranked, slated.items, at, found.source)
        features = np.concatenate([shown.features, ranked.features[others]])
        return Decision(
            request_id=under.request_id,
            ts=under.now_ms,
            user_id=asked.user_id,
            items=[name for name in m.items.ids_of(slated.items) if name is not None],
            propensities=slated.propensities.tolist(),
            policy=policy,
            clusters=context.clusters.tolist(),
            weights=context.weights.tolist(),
            context=asked.context,
            features=np.ascontiguousarray(features, "<f4").tobytes(),
            others=[name for name in m.items.ids_of(ranked.rows[others]) if name is not None],
            sources=[SOURCES[source] for source in shown.sources.tolist()],
            scores=shown.scores.tolist(),
            explored=np.flatnonzero(slated.explored).tolist(),
            propensity_kind=slated.propensity_kind,
            eligible=found.eligible,
            seed=self._seed,
            auto=(asked.activate or self._settings.activate) == "auto",
            graph_version=m.graph.version,
            centroids_version=m.centroids.version,
            policy_version=int(getattr(self._policies[policy], "version", 0)),
            index_version=self._index.index.version,
            placement=asked.placement,
            session_id=asked.session_id,
            experiment=asked.experiment,
            fallback=found.fallback,
            absorbed_at=under.absorbed_at,
            items_absorbed_at=under.items_at,
            policies_absorbed_at=under.policies_at,
            stale=under.stale,
            body_digest=under.digest,
        )

    def _split(self, rows: Int32, items: Int32) -> tuple[Int32, Int32]:
        """Where each of `items` stands among the distinct `rows`, -1 where it does not; and the places of
        the first others."""
        needed = self._models.items.capacity
        if needed > self._place_of.size:
            self._place_of = np.full(2 * needed, -1, np.int32)
        return split_shown(rows, items, self._settings.others, self._place_of)

    def _shown(self, asker: Asker, ranked: _Ranked, items: Int32, at: Int32, source: int) -> _Ranked:
        """What the ranker saw of the shown items; those that only the policy knew are looked at now."""
        if at.size and at.min() >= 0:
            return _Ranked(items, ranked.scores[at], ranked.features[at], ranked.sources[at])
        missing = items[at < 0]
        features = self._features(asker, missing)
        more = _Ranked(
            np.concatenate([ranked.rows, missing]),
            np.concatenate([ranked.scores, self._models.ranker.score(features)]),
            np.concatenate([ranked.features, features]),
            np.concatenate([ranked.sources, np.full(missing.size, source, np.int8)]),
        )
        at = at.copy()
        at[at < 0] = ranked.rows.size + np.arange(missing.size)
        return _Ranked(items, more.scores[at], more.features[at], more.sources[at])
