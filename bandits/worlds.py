"""Small worlds whose right answer is known, to play policies in; seeded, so that a run can be repeated.

A world gives a context for each round and knows the expected reward of every item in it. `play` lets a policy
choose one item a round, rewards it with a coin of that bias and lets it learn, at once or `every` so many
rounds. Rounds are a second of event time apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from bandits.base import Context, Policy
from bandits.draws import Draws
from bandits.ops.arrays import Float64, Int32, Int64
from learners.item_keys import numbered_keys
from learners.part import learns_lists
from learners.rows import RowBlock
from stream.blocks import CLICK, CLOSED, SHOWN

__all__ = [
    "ROUND_MS",
    "BernoulliWorld",
    "ClusterWorld",
    "FlippingWorld",
    "LinearWorld",
    "Play",
    "World",
    "as_lists",
    "play",
    "row_block",
    "teaching",
]

ROUND_MS = 1_000
"""Event time between two rounds."""


class World(Protocol):
    """Contexts and what each item is worth in them."""

    n_items: int

    def context(self, t: int) -> Context:
        """The context of round t; the same for the same t."""

    def rates(self, context: Context) -> Float64:
        """Expected reward (n_items,) of each item, in 0..1."""


class BernoulliWorld:
    """Items with fixed click rates drawn evenly from low..high, in any context.

    Example:
        >>> world = BernoulliWorld(3, seed=1, low=0.1, high=0.5)
        >>> sorted(world.rates(world.context(0)).round(2).tolist())
        [0.1, 0.3, 0.5]
    """

    def __init__(self, n_items: int, *, seed: int, low: float = 0.05, high: float = 0.6) -> None:
        self.n_items = n_items
        self._rates = np.random.default_rng(seed).permutation(np.linspace(low, high, n_items))

    def context(self, t: int) -> Context:
        """Nothing is known of anybody: the default cluster."""
        return Context(np.zeros(1, np.int32), np.ones(1, np.float32))

    def rates(self, context: Context) -> Float64:
        """Fixed click rates (n_items,)."""
        return self._rates


@dataclass(frozen=True, slots=True)
class _Round(Context):
    """A context that knows its round; what learns of it does not see that."""

    t: int = 0


class FlippingWorld:
    """Another world turned over `every` so many rounds: what was the best item is then the worst.

    In an odd stretch an item is worth what its mirror image in the order of rates is worth in the other world
    in the same context, so that the mean over all items never changes.

    Example:
        >>> world = FlippingWorld(BernoulliWorld(3, seed=1, low=0.1, high=0.5), every=100)
        >>> [int(world.rates(world.context(t)).argmax()) for t in (0, 99, 100, 200)]
        [2, 2, 0, 2]
    """

    def __init__(self, world: World, *, every: int) -> None:
        self.n_items = world.n_items
        self.every = every
        self._world = world

    def context(self, t: int) -> Context:
        """That of the other world."""
        c = self._world.context(t)
        return _Round(c.clusters, c.weights, c.features, t=t)

    def rates(self, context: Context) -> Float64:
        """Rates (n_items,) in the stretch of the context's round."""
        rates = self._world.rates(context)
        if not isinstance(context, _Round) or context.t // self.every % 2 == 0:
            return rates
        turned, order = np.empty(self.n_items), np.argsort(rates, kind="stable")
        turned[order] = rates[order[::-1]]
        return turned


class ClusterWorld:
    """Users are mixtures of a few clusters, and each cluster has its own favourites: reward = <w,
    theta_item>.

    Cluster ids are 1..n_clusters; each context has `top` of them, the first with most of the weight.

    Example:
        >>> world = ClusterWorld(4, n_clusters=2, seed=1)
        >>> float(world.context(5).weights.sum().round(3)), world.rates(world.context(5)).shape
        (1.0, (4,))
    """

    def __init__(self, n_items: int, *, n_clusters: int, seed: int, top: int = 2, high: float = 0.6) -> None:
        self.n_items = n_items
        self.n_clusters = n_clusters
        self._seed = seed
        self._top = min(top, n_clusters)
        rng = np.random.default_rng(seed)
        self._theta = 0.05 + 0.1 * rng.random((n_clusters, n_items))
        for c in range(n_clusters):
            self._theta[c, rng.integers(n_items)] = high

    def context(self, t: int) -> Context:
        """The mixture of the user of round t."""
        rng = np.random.default_rng((self._seed, t))
        clusters = 1 + rng.choice(self.n_clusters, self._top, replace=False)
        weights = 0.2 ** np.arange(self._top)
        return Context(clusters.astype(np.int32), (weights / weights.sum()).astype(np.float32))

    def rates(self, context: Context) -> Float64:
        """Weighted favour (n_items,) of the context's clusters."""
        rates: Float64 = context.weights.astype(np.float64) @ self._theta[context.clusters - 1]
        return rates


class LinearWorld:
    """Requests with features x of length 1; reward = max(0, <x, theta_item>), what LinUCB assumes.

    Example:
        >>> world = LinearWorld(5, dim=3, seed=1)
        >>> world.context(0).features.shape, bool((world.rates(world.context(0)) <= 1).all())
        ((3,), True)
    """

    def __init__(self, n_items: int, *, dim: int, seed: int) -> None:
        self.n_items = n_items
        self.dim = dim
        self._seed = seed
        theta = np.abs(np.random.default_rng(seed).normal(size=(n_items, dim))) ** 2
        self._theta = theta / np.linalg.norm(theta, axis=1, keepdims=True)

    def context(self, t: int) -> Context:
        """The features of round t: one strong, the others weak."""
        rng = np.random.default_rng((self._seed, t))
        x = 0.2 * rng.random(self.dim)
        x[rng.integers(self.dim)] = 1.0
        unit = (x / np.linalg.norm(x)).astype(np.float32)
        return Context(np.zeros(1, np.int32), np.ones(1, np.float32), unit)

    def rates(self, context: Context) -> Float64:
        """Inner products (n_items,) with the request's features."""
        features = np.zeros(self.dim) if context.features is None else context.features.astype(np.float64)
        return np.asarray(np.clip(self._theta @ features, 0.0, 1.0), np.float64)


@dataclass(frozen=True, slots=True)
class Play:
    """What happened: items (n,), rewards (n,), probabilities (n,) and expected regret (n,) of each round."""

    items: Int32
    rewards: Float64
    probabilities: Float64
    regret: Float64


def play(
    world: World,
    policy: Policy,
    n_rounds: int,
    *,
    seed: int,
    every: int = 1,
    learn: Callable[[RowBlock], object] | None = None,
) -> Play:
    """Let `policy` choose one item a round and learn `every` so many rounds (the delay of a stale table).

    `learn` is called in place of the policy's own, where others learn beside it.

    Example:
        >>> from bandits.policies.uniform import Uniform
        >>> run = play(BernoulliWorld(2, seed=1, low=0.0, high=1.0), Uniform(), 400, seed=1)
        >>> 150 < float(run.regret.sum()) < 250
        True
    """
    learn = learn or teaching(policy)
    everything = np.arange(world.n_items, dtype=np.int32)
    items, rewards = np.empty(n_rounds, np.int32), np.empty(n_rounds)
    probabilities, regret = np.empty(n_rounds), np.empty(n_rounds)
    waiting: list[Context] = []
    for t in range(n_rounds):
        context, draws = world.context(t), Draws(seed, str(t))
        choice = policy.decide(context, everything, draws)
        rates = world.rates(context)
        items[t], probabilities[t] = choice.item, choice.probability
        rewards[t] = float(draws.at(1).random() < rates[choice.item])
        regret[t] = rates.max() - rates[choice.item]
        policy.served(items[t : t + 1])
        waiting.append(context)
        if len(waiting) == every or t == n_rounds - 1:
            first = t + 1 - len(waiting)
            ts = np.arange(first, t + 1) * ROUND_MS
            learn(row_block(waiting, items[first : t + 1, None], rewards[first : t + 1, None], ts=ts))
            waiting = []
    return Play(items, rewards, probabilities, regret)


def teaching(policy: Policy) -> Callable[[RowBlock], object]:
    """What teaches a policy alone: its `learn`, and for one that learns whole lists those, a second each; one
    with a detector of drift gets windows that close as well.

    Items have no ids here, so their numbers are their keys.

    Example:
        >>> from bandits.policies.uniform import Uniform
        >>> class Listening(Uniform):
        ...     def learn_lists(self, block):
        ...         print(block.kind.tolist(), block.item_keys.tolist(), block.ts.tolist())
        >>> nobody = Context(np.array([0], np.int32), np.ones(1, np.float32))
        >>> block = row_block([nobody], np.array([[4, 7]], np.int32), np.array([[0.0, 1.0]]))
        >>> _ = teaching(Listening())(block)
        [0, 1, 2] [5, 8] [0, 0, 0]
    """
    if not learns_lists(policy):
        if policy.watch is None:
            return policy.learn
        return lambda block: policy.learn_items(_closing(block, block.slate_ts), {})
    n = 0

    def learn(block: RowBlock) -> None:
        nonlocal n
        policy.learn_lists(as_lists(block, n))
        policy.learn(block)
        n += block.decided.size

    return learn


def as_lists(block: RowBlock, first: int) -> RowBlock:
    """The slates of a block as lists that end at once; the n-th slate of a run is in second n.

    Example:
        >>> nobody = Context(np.array([0], np.int32), np.ones(1, np.float32))
        >>> as_lists(row_block([nobody], np.array([[4]], np.int32), np.array([[1.0]])), 7).ts.tolist()
        [7000, 7000, 7000]
    """
    times = ROUND_MS * np.arange(first, first + block.decided.size, dtype=np.int64)
    return replace(_closing(block, times), item_keys=numbered_keys(block.items))


def _closing(block: RowBlock, slate_ts: Int64) -> RowBlock:
    """The slates of a block, all of them the policy's own, with windows that end at once."""
    n = block.decided.size
    slate = np.append(block.slate, np.arange(n, dtype=np.int32))
    none, zero = np.full(n, -1, np.int32), np.zeros(n)
    order = np.argsort(slate, kind="stable")  # the end of each follows what happened in it
    columns: dict[str, Any] = {
        "kind": np.append(block.kind, np.full(n, CLOSED, np.int8)),
        "slate": slate,
        "place": np.append(block.place, none),
        "user": np.append(block.user, none),
        "item": np.append(block.item, none),
        "reward": np.append(block.reward, zero),
        "first": np.append(block.first, zero.astype(np.bool_)),
        "ts": slate_ts[slate],
        "before": np.append(block.before, zero),
        "stands_for": np.append(block.stands_for, 1 + zero),
    }
    ordered: dict[str, Any] = {name: column[order] for name, column in columns.items()}
    return replace(block, **ordered, slate_ts=slate_ts, explored=np.ones(block.items.size, np.bool_))


def row_block(
    contexts: Sequence[Context],
    items: Int32,
    rewards: Float64,
    *,
    decided: bool = True,
    ts: Int64 | None = None,
) -> RowBlock:
    """A block of one shown slate a context: items (S, n) and rewards (S, n); each reward follows its
    impression, and both are of the slate's time `ts` (S,) ms, 0 if it is not given.

    Contexts are padded to the widest. Their features, where given, are those of the requests.

    Example:
        >>> nobody = Context(np.array([0], np.int32), np.ones(1, np.float32))
        >>> block = row_block([nobody], np.array([[4, 7]], np.int32), np.array([[0.0, 1.0]]))
        >>> block.kind.tolist(), block.place.tolist()
        ([0, 1], [-1, 1])
    """
    n_slates, width = items.shape
    k = max(c.clusters.size for c in contexts)
    clusters, weights = np.full((n_slates, k), -1, np.int32), np.zeros((n_slates, k), np.float32)
    for s, context in enumerate(contexts):
        clusters[s, : context.clusters.size] = context.clusters
        weights[s, : context.weights.size] = context.weights
    features = [np.ones(1, np.float32) if c.features is None else c.features for c in contexts]
    ops = [
        (kind, s, place, reward)
        for s in range(n_slates)
        for kind, place, reward in [
            (SHOWN, -1, 0.0),
            *((CLICK, s * width + p, rewards[s, p]) for p in range(width) if rewards[s, p] != 0.0),
        ]
    ]
    kind, slate, place, reward = (np.array(column) for column in zip(*ops, strict=True))
    n, n_ops = n_slates * width, len(ops)
    flat = items.astype(np.int32).reshape(-1)
    slate_ts = np.zeros(n_slates, np.int64) if ts is None else ts.astype(np.int64)
    return RowBlock(
        slate_user=np.full(n_slates, -1, np.int32),
        slate_ts=slate_ts,
        start=np.arange(0, n + 1, width, dtype=np.int32),
        clusters=clusters,
        weights=weights,
        decided=np.full(n_slates, decided),
        policy=np.zeros(n_slates, np.int8),
        items=flat,
        propensity=np.full(n, np.nan, np.float32),
        rewards=rewards.astype(np.float32).reshape(-1),
        rank_features=np.zeros((n, 0), np.float32),
        explored=np.zeros(n, np.bool_),
        other_start=np.zeros(n_slates + 1, np.int32),
        other_features=np.zeros((0, 0), np.float32),
        kind=kind.astype(np.int8),
        slate=slate.astype(np.int32),
        place=place.astype(np.int32),
        user=np.full(n_ops, -1, np.int32),
        item=np.where(place >= 0, flat[np.maximum(place, 0)], -1).astype(np.int32),
        reward=reward.astype(np.float64),
        first=kind == CLICK,
        ts=slate_ts[slate],
        request=np.stack(features),
    )
