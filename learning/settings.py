"""Settings of what learns, the same embedded, on partitions and in a replay."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from stream.engine.settings import EngineSettings
from stream.engine.worker_settings import ShardSettings, WorkerSettings
from stream.join import JoinSettings
from stream.kafka import KafkaSettings

__all__ = ["AdmissionRule", "LearnSettings", "LearningSettings", "PolicySettings"]

_DAY_MS = 86_400_000
_MOST_ROWS = 2**31 - 1  # rows are numbered in 32 bits
Positive = Annotated[int, Meta(ge=1)]

AdmissionRule = Literal["threshold", "share", "equal"]


class LearnSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is learned about users and items, and how much of it is kept."""

    embedding_dim: Annotated[int, Meta(ge=1, le=4_096)] = 64
    """Length of user and item vectors."""
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 0.1
    """Step size of the matrix factorisation."""
    l2: Annotated[float, Meta(ge=0, le=1)] = 0.001
    """Weight of the squared-norm penalty on vectors and biases."""
    negatives: Annotated[int, Meta(ge=0, le=64)] = 5
    """Sampled negatives for each positive."""
    shown_weight: Annotated[float, Meta(ge=0, le=100)] = 0.25
    """Weight of a shown-not-clicked place against a positive's 1."""
    half_lives_ms: Annotated[tuple[Positive, ...], Meta(min_length=1, max_length=16)] = (_DAY_MS, 4 * _DAY_MS)
    """Half-lives of the popularities; the one nearest to a day orders the `popular` source."""
    neighbours: Positive = 100
    """Co-occurring items kept for each item."""
    pair_window: Annotated[int, Meta(ge=0, le=1_000)] = 5
    """Earlier items that a click is paired with."""
    history: Positive = 500
    """Clicked items remembered for each user, which are not shown to them again."""
    admission: Positive = 1
    """Sightings that let an id in, see `admission_rule`; items of the catalogue always have a row."""
    admission_rule: AdmissionRule = "threshold"
    """`threshold`: after so many sightings; `share`, `equal`: by chance at each sighting."""
    ttl_ms: Annotated[int, Meta(ge=0)] = 0
    """Expiry of rows untouched for so long in event time; 0 keeps them."""
    user_admission: Positive | None = None
    """The same as `admission`, for users alone; as `admission` where it is not given."""
    item_admission: Positive | None = None
    """The same as `admission`, for items alone; as `admission` where it is not given."""
    user_admission_rule: AdmissionRule | None = None
    """The same as `admission_rule`, for users alone."""
    item_admission_rule: AdmissionRule | None = None
    """The same as `admission_rule`, for items alone."""
    user_ttl_ms: Annotated[int, Meta(ge=0)] | None = None
    """The same as `ttl_ms`, for users alone."""
    item_ttl_ms: Annotated[int, Meta(ge=0)] | None = None
    """The same as `ttl_ms`, for items alone."""
    maintain_ms: Positive = 60_000
    """Time between looks at expiry, centroids and graph."""
    max_users: Annotated[int, Meta(ge=8, le=_MOST_ROWS)] = 4_000_000
    """Rows of users, at most; above seven eighths of it the longest untouched are dropped."""
    max_items: Annotated[int, Meta(ge=8, le=_MOST_ROWS)] = 4_000_000
    """Rows of items, at most, bounded likewise, but items that are in the catalogue are dropped last, and a
    sixteenth of the rows is theirs alone; a worker reserves address space, not memory, for all."""
    training_mb: Annotated[int, Meta(ge=1, le=1 << 20)] = 512
    """Memory for shown lists that the step `train` keeps until their windows are over; beyond it the oldest
    close early, and clicks on them teach the ranker nothing. Only on Kafka."""
    seed: Annotated[int, Meta(ge=0, le=2**32 - 2)] = 0
    """What first vectors, sampled negatives and the draws of decisions are derived from."""


class PolicySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all policies share: how often they decide, and the cluster-item graph."""

    name: str = "diag_lin_ucb"
    """The policy that explores when a request names none, by kind; better: the first of `[[policies]]`."""
    others: tuple[str, ...] = ("uniform",)
    """Further policies that learn from the same log and that a request may name; better: `[[policies]]`."""
    epsilon: Annotated[float, Meta(ge=0, le=1)] = 0.05
    """Probability at each place that the policy, not the ranker, picks; 1 lets it decide everything."""
    alpha: Annotated[float, Meta(ge=0, le=1_000)] = 0.5
    """Width of the confidence bonus of `diag_lin_ucb`; better: `alpha` in its entry of `[[policies]]`."""
    centroids: Annotated[int, Meta(ge=1, le=65_536)] = 64
    """Clusters of users, at most."""
    context_clusters: Annotated[int, Meta(ge=1, le=64)] = 4
    """Nearest centroids that make the context of a request."""
    features: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(max_length=256)] = ()
    """Keys of a request's `context` that policies look at: numbers as they are, words by hashing."""
    feature_dim: Annotated[int, Meta(ge=0, le=1_024)] = 16
    """Slots that the words of those features are hashed to; 0 leaves words out."""
    edges_per_item: Annotated[int, Meta(ge=2, le=64)] = 8
    """Clusters that an item may be explored in, at most."""
    edges_per_cluster: Positive = 200
    """Items that may be explored in a cluster, at most."""
    refresh_budget: Positive = 256
    """Items whose edges are looked at again at each maintenance."""


class LearningSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sections that the learning side reads; a server and a whole system have more of them."""

    clock: Literal["wall", "event"] = "wall"
    """`event`: time is the largest accepted ts (demos, replays, tests)."""
    join: JoinSettings = JoinSettings()
    learn: LearnSettings = LearnSettings()
    policy: PolicySettings = PolicySettings()
    policies: tuple[dict[str, Any], ...] = ()
    """The policies that learn and that a request may name, the default one first; `diag_lin_ucb` and
    `uniform` where none are given."""
    learners: tuple[dict[str, Any], ...] = ()
    """What learns from every click beside what always does, for scorers and sources that name it."""
    measures: tuple[dict[str, Any], ...] = ()
    """What is counted of the exploration, for `/metrics`; `policy_counts`, `organic_clicks` and `part_notes`
    where none are given."""
    scorers: tuple[dict[str, Any], ...] = ()
    """What the ranker weighs about a candidate; `popular`, `together`, `together_by_history`, `taste`,
    `rates`, `seen`, `session` and `in_list` where none are given."""
    engine: EngineSettings = EngineSettings()
    kafka: KafkaSettings = KafkaSettings()
    work: WorkerSettings = WorkerSettings()
    shard: ShardSettings = ShardSettings()

    @property
    def max_ahead_ms(self) -> int | None:
        """How far an event's `ts` may be ahead of the wall clock; None, where no server sets it: any."""
        return None
