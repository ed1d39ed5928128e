"""LinUCB on features of the request: a linear model for each item, or one for all over request x item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from bandits.base import Choice, Context, Policy, no_candidate
from bandits.draws import Uniforms
from bandits.errors import PolicyError
from bandits.fading_arms import FadingArms
from bandits.fading_outer import FadingOuter
from bandits.forgetting import Forgetting, ForgettingSettings
from bandits.linear_arms import LinearArms
from bandits.ops.arrays import Float32, Float64, Int32
from bandits.outer_model import ItemFeatures, OuterModel
from bandits.plans import Rule
from learners.attribute_features import AttributeFeatures
from learners.part import Columns, PartSpec, Side
from learners.request_features import RequestFeatures
from learners.rows import RowBlock
from learners.world import World
from stream.frame import Frame

__all__ = ["LinUcb", "Settings", "build", "needs"]

SOURCE = "Li et al. 2010, arXiv 1003.0146, Algorithms 1 and 2"
READS_FEATURES = True


class Settings(ForgettingSettings, frozen=True, forbid_unknown_fields=True):
    """What it looks at, how wide it explores, and how much it keeps. Where [policy] features names none, the
    disjoint form looks at the request's clusters."""

    form: Literal["disjoint", "shared"] = "disjoint"
    """`disjoint`: a model for each item, on the request's features ([policy] features). `shared`: one for
    all, on each pair of a request feature and an item feature."""
    attributes: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(max_length=256)] = ()
    """Keys of an item's `attributes` that the shared form looks at: numbers as they are, words by hashing."""
    attribute_dim: Annotated[int, Meta(ge=0, le=512)] = 8
    """Slots that the words of those attributes are hashed to; 0 leaves words out."""
    alpha: Annotated[float, Meta(ge=0, le=1_000)] = 0.5
    """Width of the confidence bonus."""
    l2: Annotated[float, Meta(gt=0, le=1_000_000)] = 1.0
    """Weight of the squared-norm penalty: what a model knows before it has seen anything."""
    freeze_rows: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 10_000
    """Impressions that the scale of numeric features rests on; 0 takes the features as they are."""
    max_arms: Annotated[int, Meta(ge=1, le=10_000_000)] = 10_000
    """Items with a model of their own; items beyond share one."""
    top: Annotated[int, Meta(ge=1, le=1_000)] = 5
    """How many of the best items share the traffic."""
    temperature: Annotated[float, Meta(ge=0, le=1_000)] = 0.25
    """How evenly they share it, in units of the best item's confidence width; 0 takes the best."""
    spread: Annotated[float, Meta(ge=0, le=1)] = 0.05
    """Share of the traffic that is dealt out evenly among them."""


class _Prior(TypedDict):
    l2: float
    freeze_rows: float


class LinUcb(Policy):
    """Ridge regression on the request's features x with its full covariance (Li et al. 2010, Algorithm 1).

    Score: ``theta . z + alpha sqrt(z^T A^-1 z)`` with A = l2 I + sum z z^T over impressions, b = sum r z over
    rewards, theta = A^-1 b, where z is x standardised. Kept are sums over x as it came: additions, so order,
    sharding and merging of the same outcomes do not matter beyond 1e-9. A is factored where somebody asks for
    a score, and only if it has changed since (a departure from the paper, which updates the inverse).

    *Standardising.* Numbers lose their mean and are divided by their standard deviation, as found in the
    first `freeze_rows` impressions; what was only ever 0 or 1 stays as it is. `version` is the number of
    impressions that this rests on. *Choice.* As in `DiagLinUcb`: a softmax over the `top` scores in units of
    the best one's confidence width, `spread` of it dealt out evenly. All items without feedback score alike
    and share their traffic, so that answers on their way need no bookkeeping.

    `form="disjoint"` has A and b for each item. Beyond `max_arms` items share one model: they learn together
    and are candidates like all others, and an item's next outcome gives it a model of its own once one is
    free. `form="shared"` has one A and b over the outer product of x and an item's features, so that what is
    learned of an item holds for those like it (as in Algorithm 2).

    Args:
        dim: length of x.
        source: "request": x is the request's features, whose first is 1. "clusters": the dense vector of its
            cluster weights, by centroid id, as it is; ids beyond `dim` are left out.
        item_features: features of item rows, for the shared form, and `item_dim`: how many; None: disjoint.
        alpha, l2, freeze_rows, max_arms, top, temperature, spread: as above.
        forgetting: None: A and b never forget.

    Bounded: see `bandits.linear_arms` and `bandits.outer_model`, and `bandits.fading_arms` and
    `bandits.fading_outer` for what forgets.

    Raises:
        PolicyError: a setting that cannot be, or a shared form that is too large.

    Example:
        >>> policy = LinUcb(2, alpha=1.0, freeze_rows=0)
        >>> request = Context(np.zeros(0, np.int32), np.zeros(0, np.float32), np.array([3, 4], np.float32))
        >>> policy.ucb(request, np.array([0], np.int32)).tolist()
        [5.0]
    """

    name = "lin_ucb"

    def __init__(
        self,
        dim: int,
        *,
        source: Literal["request", "clusters"] = "request",
        item_features: ItemFeatures | None = None,
        item_dim: int = 1,
        layout: str = "",
        alpha: float = 0.5,
        l2: float = 1.0,
        freeze_rows: float = 10_000,
        max_arms: int = 10_000,
        top: int = 5,
        temperature: float = 0.25,
        spread: float = 0.05,
        forgetting: Forgetting | None = None,
    ) -> None:
        if not (
            dim >= 1 and alpha >= 0 and l2 > 0 and freeze_rows >= 0 and max_arms >= 1
            and top >= 1 and temperature >= 0 and 0 <= spread <= 1
        ):  # fmt: skip
            msg = (
                "lin_ucb needs dim, max_arms, top >= 1, alpha, freeze_rows, temperature >= 0, l2 > 0 and "
                f"spread in 0..1; got dim={dim}, max_arms={max_arms}, top={top}, alpha={alpha}, "
                f"freeze_rows={freeze_rows}, temperature={temperature}, l2={l2}, spread={spread}"
            )
            raise PolicyError(msg)
        self.dim = dim
        self.layout = layout
        self.source = source
        self.alpha = alpha
        self.l2 = l2
        self.freeze_rows = freeze_rows if source == "request" else 0
        self.max_arms = max_arms
        self.top = top
        self.temperature = temperature
        self.spread = spread
        self.forgetting = forgetting
        self.goes_by_slates = forgetting is not None
        self._model = self._make(item_features, item_dim)
        self.spec = PartSpec(self._model.sides)

    def _make(self, item_features: ItemFeatures | None, item_dim: int) -> LinearArms | OuterModel:
        prior: _Prior = {"l2": self.l2, "freeze_rows": self.freeze_rows}
        if item_features is None:
            if self.forgetting is None:
                return LinearArms(self.dim, max_arms=self.max_arms, **prior)
            return FadingArms(self.dim, self.forgetting, max_arms=self.max_arms, **prior)
        if self.forgetting is None:
            return OuterModel(self.dim, item_dim, item_features, **prior)
        return FadingOuter(self.dim, item_dim, item_features, self.forgetting, **prior)

    @property
    def version(self) -> int:
        """Impressions that the standardisation rests on."""
        return self._model.moments.n

    # --- deciding ---

    def plan(self, context: Context, candidates: Int32) -> Rule:
        """Scores by full covariance."""
        scores, widths = self._model.scores(candidates, self._x(context), self.alpha)
        return Rule(scores, widths, self.top, self.temperature, self.spread)

    def decide(self, context: Context, candidates: Int32, rng: Uniforms) -> Choice:
        """Draw one candidate with one uniform number, as `plan` says, in one compiled call.

        Raises:
            PolicyError: there is no candidate.
        """
        choice = self._model.choose(
            candidates, self._x(context), self.alpha, self.top, self.temperature, self.spread, rng.random()
        )
        if choice[1] < 0:
            raise no_candidate(type(self).__name__, candidates.size)
        return Choice._make(choice)

    def ucb(self, context: Context, candidates: Int32) -> Float64:
        """theta . z + alpha sqrt(z^T A^-1 z) (n,)."""
        return self._model.scores(candidates, self._x(context), self.alpha)[0]

    def _x(self, context: Context) -> Float32 | Float64:
        if self.source == "clusters":
            return self._dense(context.clusters[None], context.weights[None]).reshape(-1)
        features = context.features
        if features is None or features.shape != (self.dim,):
            shape = None if features is None else features.shape
            msg = f"lin_ucb decides on features of shape ({self.dim},); the context has {shape}"
            raise PolicyError(msg)
        return features

    def _dense(self, clusters: Int32, weights: Float32) -> Float64:
        """Cluster weights (S, dim) by centroid id."""
        x, here = np.zeros((clusters.shape[0], self.dim)), (clusters >= 0) & (clusters < self.dim)
        np.add.at(x, (np.nonzero(here)[0], clusters[here]), weights[here])
        return x

    # --- learning ---

    def learn(self, rows: RowBlock) -> Int32:
        """Learn the decided slates of a block, in order; returns the rows touched, ascending.

        Raises:
            PolicyError: the block's requests have another number of features than `dim`.
        """
        if self.source == "clusters":
            return self._model.learn(rows, self._dense(rows.clusters, rows.weights))
        if rows.request.shape[1] != self.dim and rows.items.size:
            msg = f"lin_ucb learns features of width {self.dim}; the block has {rows.request.shape[1]}"
            raise PolicyError(msg)
        x = rows.request.astype(np.float64)
        x[~x.any(axis=1)] = np.nan  # requests whose features nobody logged teach nothing
        return self._model.learn(rows, x)

    def remove_items(self, rows: Int32) -> None:
        """Forget these rows; their arms may be given to other items."""
        self._model.remove(rows)

    # --- replication ---

    def touched(self, side: Side) -> Int32:
        """See `learners.part.Part.touched`."""
        return self._model.touched(side)

    def export(self, side: Side, rows: Int32) -> Columns:
        """See `learners.part.Part.export`."""
        return self._model.export(side, rows)

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """See `learners.part.Part.adopt`."""
        self._model.adopt(side, rows, columns)

    def notes(self) -> Columns:
        """Items with a model of their own, impressions of items that found none, and `version`."""
        model = self._model
        return {
            "arms": np.array(model.n_arms),
            "others_shown": np.array(model.n_others),
            "scale_rows": np.array(model.moments.n),
            **super().notes(),
        }

    def describe(self, row: int) -> Mapping[str, Any]:
        """Impressions of an item with a model of its own, and sum of r x."""
        known = self._model.of(row)
        return {} if known is None else {"shown": known[0], "b": known[1].tolist()}

    # --- state ---

    def snapshot(self) -> Frame:
        """All sums."""
        return {**self._model.snapshot(), "layout": self.layout, **self.drift_frame()}

    def restore(self, frame: Frame) -> None:
        """Become the state of a snapshot.

        Raises:
            PolicyError: it is of other features, of another form, or forgets in another way.
        """
        shape = self._model.export("shared", np.zeros(0, np.int32))["moments"].shape
        is_alike = getattr(frame.get("moments"), "shape", None) == shape
        is_alike &= ("rows" in frame) == isinstance(self._model, LinearArms)
        # Other names of as many features would give their sums to the wrong ones.
        if not is_alike or frame.get("layout", self.layout) != self.layout:
            msg = (
                "what it learned is of other features, attributes or another form; put policy.features and "
                "its settings back, or let it start afresh under another `name`"
            )
            raise PolicyError(msg)
        Forgetting.require_alike(self.forgetting, frame)
        self._model.restore(frame)
        self.restore_drift(frame)


def needs(settings: Settings) -> tuple[str, ...]:
    """The catalogue, for attributes in the shared form; else the centroids, whose weights are x where no
    request features are named."""
    return ("catalogue",) if settings.form == "shared" else ("centroids",)


def build(settings: Settings, world: World) -> LinUcb:
    """The policy, as the settings say; each of several partitions has its share of arms and of rows.

    Raises:
        PolicyError: attributes without the shared form, or a shared form that is too large.
    """
    item_features, item_dim, layout = None, 1, world.request_layout
    uses_clusters = settings.form == "disjoint" and world.request_dim == 1
    if settings.form == "shared":
        if settings.detector:
            msg = "lin_ucb: a detector is for the disjoint form, where items have models of their own"
            raise PolicyError(msg)
        if not settings.attributes:
            msg = "lin_ucb: form 'shared' knows items by attributes; name some: attributes = ['genre']"
            raise PolicyError(msg)
        features = RequestFeatures(settings.attributes, dim=settings.attribute_dim)
        item_features, item_dim = AttributeFeatures(world.parts["catalogue"], features), features.width
        layout = f"{layout}|{features.layout}"
    elif settings.attributes:
        msg = 'lin_ucb: attributes are for the shared form; write form = "shared", or leave them out'
        raise PolicyError(msg)
    policy = LinUcb(
        world.parts["centroids"].max_clusters if uses_clusters else world.request_dim,
        source="clusters" if uses_clusters else "request",
        item_features=item_features,
        item_dim=item_dim,
        layout=layout,
        alpha=settings.alpha,
        l2=settings.l2,
        freeze_rows=-(-settings.freeze_rows // world.n_partitions),
        max_arms=-(-settings.max_arms // world.n_partitions),
        top=settings.top,
        temperature=settings.temperature,
        spread=settings.spread,
        forgetting=settings.forgetting(),
    )
    return policy.watched_by(settings, world)
