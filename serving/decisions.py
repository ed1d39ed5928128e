"""From a request to a decision: candidates, the ranker's order, the policy's places, everything to be logged.

Pure computation over the learned parts as they are now; nothing here waits, reads a clock or writes a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import isfinite
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bandits import Context, Draws, Policy, PolicyError, Slated, Uniform, build_slate
from learners.ask import Ask
from learning.asking import ask_of_rows, make_ask
from learning.parts import Parts
from serving.chosen_sources import build_sources, source_entries
from serving.errors import FieldError, ServingError
from serving.failures import raise_named
from serving.gather import Candidates, Gatherer, PolicyRaisedError
from serving.given import GIVEN, Given, given_of
from serving.item_index import ItemIndex
from serving.ops.order import split_shown
from serving.requests import RecommendRequest
from serving.settings import ServeSettings
from serving.source import Source
from stream.events import Decision

__all__ = ["Circumstances", "DecisionMaker"]

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_NONE = np.zeros(0, np.int32)
_EVENLY = Uniform()
_STAND_IN = Uniform()
"""Where a policy raised: without candidates it places nothing, so the ranker fills every place."""
_MOST_SHARE = 1.0 + 1e-6  # sums of shares are rounded


class Circumstances(NamedTuple):
    """What a decision is made under besides the request: its id, the time, and how fresh the rows are.

    `absorbed_at` is the mark of the user's rows, the others are those of the other kinds.
    """

    request_id: str
    now_ms: int
    absorbed_at: int
    stale: bool
    digest: str
    items_at: int = 0
    policies_at: int = 0
    trained_at: int = 0


class _Ranked(NamedTuple):
    """Candidates in the ranker's order, with what the ranker saw of them: (n, 0) where a scorer raised."""

    rows: Int32
    scores: Float64
    features: Float32
    sources: npt.NDArray[np.int8]


def _without_own(found: Candidates) -> Candidates:
    """Where the policy cannot be asked: nothing is its to pick."""
    return replace(found, own=_NONE, outside=0, evenly=False)


class DecisionMaker:
    """Decides slates.

    Args:
        models: the learned parts; `index` over their items.
        settings: sizes of sources and of what is logged.
        epsilon: probability at each place that the policy picks.
        seed: of all draws; with the request id it gives the slate again.
        sources: of candidates, by name; None for those of `[serve.sources]`.
        failed: told of a part that raised, without which an answer is then made; by default it ends the
            request.
    """

    def __init__(
        self,
        models: Parts,
        index: ItemIndex,
        settings: ServeSettings,
        *,
        epsilon: float,
        seed: int,
        sources: Mapping[str, Source] | None = None,
        failed: Callable[[str, str, Exception], None] = raise_named,
    ) -> None:
        self._models, self._index, self._settings = models, index, settings
        self._epsilon, self._seed = epsilon, seed
        if sources is None:
            sources = build_sources(source_entries((), settings.sources), models, index)
        self._failed = failed
        self._gatherer = Gatherer(models, sources, sample=settings.sources.sample, failed=failed)
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
        """The decision for one request; the policy takes note that its items are on their way.

        Where a part raises, the answer is made without it, and `fallback` says so: `ranker`, where the policy
        did and the ranker alone fills every place, or `sources`, where a scorer did and nothing is ranked:
        then candidates that the caller named stand as they came, and it is `candidates`.
        """
        name = asked.policy or self.default_policy
        policy, doing = self._policies[name], f"answered request {under.request_id!r}"
        given = None if asked.candidates is None else given_of(self._models, asked, under.now_ms)
        ask, context = self._ask(asked, given, under.now_ms)
        draws = Draws(self._seed, under.request_id)
        try:
            found = self._found(ask, context, policy, draws, under, given)
        except PolicyRaisedError as error:
            self._policy_failed(name, doing, error.__cause__)
            policy = _STAND_IN
            found = _without_own(self._found(ask, context, policy, draws, under, given))
        ranked = self._rank(ask, found, doing)
        try:
            slated = self._slated(ask, context, found, ranked, policy, draws, given)
        except Exception as error:  # noqa: BLE001  # whatever another author's policy raises
            self._policy_failed(name, doing, error)
            policy, found = _STAND_IN, _without_own(found)
            slated = self._slated(ask, context, found, ranked, policy, draws, given)
        if policy is _STAND_IN:
            found = replace(found, fallback="ranker")
        elif not ranked.features.shape[1]:
            found = replace(found, fallback="sources" if given is None else GIVEN)
        return self._decision(asked, under, name, ask, context, found, ranked, slated, given)

    # --- who asks ---

    def _ask(self, asked: RecommendRequest, given: Given | None, now_ms: int) -> tuple[Ask, Context]:
        if given is None:
            ask = make_ask(
                self._models,
                asked.user_id,
                now_ms=now_ms,
                k=self._settings.k if asked.k is None else asked.k,
                context=asked.context,
                exclude=asked.exclude or (),
                groups=asked.groups,
                hide_ms=self._settings.hide_ms,
            )
        else:
            ask = ask_of_rows(
                self._models,
                self._models.users.row_of(asked.user_id),
                given.rows,
                now_ms=now_ms,
                context=asked.context,
                item_context=given.contexts,
            )
            ask.k = min(ask.k, asked.k or ask.k)
        clusters, weights = self._models.centroids.context(ask.vector)
        return ask, Context(clusters, weights, self._models.request_features.of(ask.context))

    def _found(
        self,
        ask: Ask,
        context: Context,
        policy: Policy,
        draws: Draws,
        under: Circumstances,
        given: Given | None,
    ) -> Candidates:
        if given is not None:
            return self._gatherer.given(context, policy, given)
        return self._gatherer.gather(ask, context, policy, draws.key, under.request_id)

    # --- the order ---

    def _rank(self, ask: Ask, found: Candidates, doing: str) -> _Ranked:
        # Of a list that came it is the very array that `ask` has: by that scorers know it.
        rows = found.rows if ask.listed is None else ask.listed.rows
        features, scores = self._scored(ask, rows, doing)
        # Of equal scores the one that was offered first: the order of candidates is itself repeatable.
        order = np.argsort(-scores, kind="stable")
        return _Ranked(found.rows[order], scores[order], features[order], found.sources[order])

    def _scored(self, ask: Ask, rows: Int32, doing: str) -> tuple[Float32, Float64]:
        """Features (n, F) and scores (n,) of item rows; (n, 0) and zeros where a scorer raised."""
        ranker = self._models.ranker
        try:
            features = ranker.features(ask, rows)
            scores = ranker.score(features)
            if not isfinite(scores.sum()):
                strange = [
                    name
                    for name, column in zip(ranker.names, features.T, strict=True)
                    if np.isinf(column).any()
                ]
                msg = f"expected no infinite features, got some of {', '.join(strange) or 'no column alone'}"
                raise ServingError(msg)
        except Exception as error:  # noqa: BLE001  # whatever another author's scorer raises
            self._failed("ranker", doing, error)
            return np.zeros((rows.size, 0), np.float32), np.zeros(rows.size)
        return features, scores

    # --- what the policy places ---

    def _slated(
        self,
        ask: Ask,
        context: Context,
        found: Candidates,
        ranked: _Ranked,
        policy: Policy,
        draws: Draws,
        given: Given | None,
    ) -> Slated:
        def rank_features(rows: Int32) -> Float32:
            if given is None:
                return self._features_of(ask, ranked, rows)
            by_place = ranked.features[np.argsort(ranked.rows)]
            return given.features_of(rows, found.own, by_place, self._models.ranker.n_features)

        slated = build_slate(
            ranked.rows,
            _EVENLY if found.evenly else policy,
            found.own,
            Context(context.clusters, context.weights, context.features, rank_features),
            epsilon=self._epsilon,
            k=ask.k,
            draws=draws,
            outside=found.outside,
            strangers=found.strangers,
            known_as=None if given is None else given.known_as[found.own],
        )
        for row, share in zip(slated.items.tolist(), slated.propensities.tolist(), strict=True):
            if not (row >= 0 and 0.0 <= share <= _MOST_SHARE):
                msg = f"expected item rows with shares of 0 to 1, got row {row} with {share}"
                raise PolicyError(msg)
        policy.served(slated.items if given is None else given.served(slated.items))
        return slated

    def _features_of(self, ask: Ask, ranked: _Ranked, rows: Int32) -> Float32:
        """What the ranker sees of any item rows (n,), for policies that look at it, too; NaN where a scorer
        raised. What it has looked at already is not computed again."""
        at, _ = split_shown(ranked.rows, rows, 0, self._places_of_rows())
        width = ranked.features.shape[1]
        out = np.full((rows.size, self._models.ranker.n_features), np.nan, np.float32)
        if width:
            out[at >= 0] = ranked.features[at[at >= 0]]
            if at.min(initial=0) < 0:
                more, _ = self._scored(ask, rows[at < 0], "chose")
                out[at < 0] = more if more.shape[1] else np.nan
        return out

    def _policy_failed(self, name: str, doing: str, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            self._failed(f"policy {name!r}", doing, error)

    # --- what is logged ---

    def _decision(
        self,
        asked: RecommendRequest,
        under: Circumstances,
        policy: str,
        ask: Ask,
        context: Context,
        found: Candidates,
        ranked: _Ranked,
        slated: Slated,
        given: Given | None,
    ) -> Decision:
        m = self._models
        names = self._names if given is None else given.names
        at, others = self._split(ranked.rows, slated.items)
        doing = f"answered request {under.request_id!r}"
        shown = self._shown(ask, ranked, slated.items, at, found.source, doing)
        features = np.concatenate([shown.features, ranked.features[others, : shown.features.shape[1]]])
        return Decision(
            request_id=under.request_id,
            ts=under.now_ms,
            user_id=asked.user_id,
            items=names(slated.items),
            propensities=slated.propensities.tolist(),
            policy=policy,
            clusters=context.clusters.tolist(),
            weights=context.weights.tolist(),
            context=asked.context,
            features=np.ascontiguousarray(features, "<f4").tobytes(),
            feature_schema=m.ranker.schemas.id,
            others=names(ranked.rows[others]),
            sources=[self._gatherer.names[source] for source in shown.sources.tolist()],
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
            trained_absorbed_at=under.trained_at,
            stale=under.stale,
            body_digest=under.digest,
            **({} if given is None else given.logged(slated.items, ranked.rows[others])),
        )

    def _names(self, rows: Int32) -> list[str]:
        return [name for name in self._models.items.ids_of(rows) if name is not None]

    def _split(self, rows: Int32, items: Int32) -> tuple[Int32, Int32]:
        """Where each of `items` stands among the distinct `rows`, -1 where it does not; and the places of
        the first others."""
        return split_shown(rows, items, self._settings.others, self._places_of_rows())

    def _places_of_rows(self) -> Int32:
        needed = self._models.items.capacity
        if needed > self._place_of.size:
            self._place_of = np.full(2 * needed, -1, np.int32)
        return self._place_of

    def _shown(self, ask: Ask, ranked: _Ranked, items: Int32, at: Int32, source: int, doing: str) -> _Ranked:
        """What the ranker saw of the shown items; those that only the policy knew are looked at now."""
        if at.size and at.min() >= 0:
            return _Ranked(items, ranked.scores[at], ranked.features[at], ranked.sources[at])
        missing = items[at < 0]
        features, scores = self._scored(ask, missing, doing)
        width = min(features.shape[1], ranked.features.shape[1])  # 0 where a scorer raised for either
        more = _Ranked(
            np.concatenate([ranked.rows, missing]),
            np.concatenate([ranked.scores, scores]),
            np.concatenate([ranked.features[:, :width], features[:, :width]]),
            np.concatenate([ranked.sources, np.full(missing.size, source, np.int8)]),
        )
        at = at.copy()
        at[at < 0] = ranked.rows.size + np.arange(missing.size)
        return _Ranked(items, more.scores[at], more.features[at], more.sources[at])
