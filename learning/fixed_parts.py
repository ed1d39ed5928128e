"""Parts that are always there, by the settings of `[learn]` and `[policy]`: tables and clusters."""

from __future__ import annotations

from bandits import Centroids, ClusterItemGraph
from learners import Admission, EmbeddingTable
from learning.settings import AdmissionRule, LearningSettings, LearnSettings

__all__ = ["make_clusters", "make_tables"]


def make_tables(learn: LearnSettings) -> tuple[EmbeddingTable, EmbeddingTable]:
    """Users and items, empty.

    Example:
        >>> users, items = make_tables(LearnSettings(max_users=64))
        >>> users.max_rows, items.seed - users.seed
        (64, 1)
    """
    users = EmbeddingTable(
        learn.embedding_dim,
        seed=learn.seed,
        admission=_admission(learn, learn.user_admission, learn.user_admission_rule),
        ttl_ms=learn.ttl_ms if learn.user_ttl_ms is None else learn.user_ttl_ms,
        max_rows=learn.max_users,
    )
    items = EmbeddingTable(
        learn.embedding_dim,
        seed=learn.seed + 1,
        admission=_admission(learn, learn.item_admission, learn.item_admission_rule),
        ttl_ms=learn.ttl_ms if learn.item_ttl_ms is None else learn.item_ttl_ms,
        max_rows=learn.max_items,
        reserve=learn.max_items // 16,
    )
    return users, items


def make_clusters(
    settings: LearningSettings, users: EmbeddingTable | None, items: EmbeddingTable
) -> tuple[Centroids, ClusterItemGraph]:
    """The centroids of these users, or of those of another partition, and the items offered in each.

    Example:
        >>> settings = LearningSettings()
        >>> centroids, graph = make_clusters(settings, *make_tables(settings.learn))
        >>> centroids.dim == settings.learn.embedding_dim
        True
    """
    policy = settings.policy
    centroids = Centroids(
        settings.learn.embedding_dim,
        max_clusters=policy.centroids,
        top=policy.context_clusters,
        users=users,
    )
    graph = ClusterItemGraph(
        centroids,
        max_items=policy.edges_per_cluster,
        max_clusters=policy.edges_per_item,
        items=items,
        budget=policy.refresh_budget,
    )
    return centroids, graph


def _admission(learn: LearnSettings, threshold: int | None, rule: AdmissionRule | None) -> Admission:
    """The admission of one table: its own settings where it has some, else those for both."""
    return Admission(rule=rule or learn.admission_rule, threshold=threshold or learn.admission)
