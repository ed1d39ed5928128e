"""Online centroids: contexts from the first user on, and ids that are never used again."""

from __future__ import annotations

import numpy as np
import pytest

from bandits import DEFAULT_CLUSTER, Centroids, PolicyError
from bandits.ops.arrays import Float32
from stream.frame import pack, unpack

DIM = 8


def users(n: int, seed: int = 0, spots: int = 6) -> Float32:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(spots, DIM))
    return (centres[rng.integers(spots, size=n)] + 0.1 * rng.normal(size=(n, DIM))).astype(np.float32)


def digest(centroids: Centroids) -> bytes:
    return pack(centroids.snapshot())


@pytest.mark.parametrize("vector", [None, np.zeros(DIM, np.float32), np.full(DIM, np.nan, np.float32)])
def test_users_of_whom_nothing_is_known_have_a_context(vector: Float32 | None) -> None:
    centroids = Centroids(DIM)
    centroids.observe(users(100))
    clusters, weights = centroids.context(vector)
    assert (clusters.tolist(), weights.tolist()) == ([DEFAULT_CLUSTER], [1.0])


def test_the_first_user_is_the_first_centroid() -> None:
    centroids = Centroids(DIM)
    centroids.observe(users(1))
    assert centroids.context(users(1)[0])[0].tolist() == [1]


def test_the_context_is_a_softmax_over_the_largest_inner_products() -> None:
    centroids = Centroids(DIM, top=3, temperature=0.5)
    centroids.observe(users(2_000))
    user = users(1, seed=7)[0]
    products = centroids.vectors @ (user / np.linalg.norm(user))
    order = np.argsort(-products)[:3]
    expected = np.exp(products[order] / 0.5)
    clusters, weights = centroids.context(user)
    assert clusters.tolist() == centroids.ids[order].tolist()
    assert np.allclose(weights, expected / expected.sum(), atol=1e-6)


def test_it_finds_the_planted_spots() -> None:
    centroids = Centroids(DIM, max_clusters=12)
    centroids.observe(users(6_000))
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, DIM))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    assert (centroids.vectors @ centres.T).max(axis=0).min() > 0.9


def test_the_same_users_in_other_batches_give_the_same_bits() -> None:
    whole, pieces = Centroids(DIM, max_clusters=5), Centroids(DIM, max_clusters=5)
    whole.observe(users(900))
    for vector in users(900):
        pieces.observe(vector[None])
    assert digest(whole) == digest(pieces)


def test_it_resumes_from_a_snapshot_and_a_replica_gives_the_same_contexts() -> None:
    straight, resumed, replica = (Centroids(DIM, max_clusters=5, review_after=100) for _ in range(3))
    straight.observe(users(300))
    resumed.restore(unpack(digest(straight)))
    for centroids in (straight, resumed):
        centroids.observe(users(300, seed=1))
    straight.tick(1_000)
    replica.apply(unpack(pack(straight.changes())))
    assert digest(straight) == digest(resumed) == digest(replica)
    assert straight.changes() == {}


def test_ids_are_never_used_again() -> None:
    centroids, seen, last = Centroids(DIM, max_clusters=3, split_after=4, review_after=64), set[int](), 0
    for seed in range(8):
        centroids.observe(users(640, seed=seed, spots=2))
        fresh = set(centroids.ids.tolist()) - seen
        assert all(i > last for i in fresh)
        seen |= fresh
        last = max(seen)
    assert len(seen) > 3
    assert len(centroids.ids) <= 3


def test_vectors_of_another_length_are_refused() -> None:
    with pytest.raises(PolicyError, match="dim=8"):
        Centroids(DIM).observe(np.ones((2, 3), np.float32))
    with pytest.raises(PolicyError, match="use the settings it was made with"):
        Centroids(3).restore(Centroids(DIM).snapshot())
    with pytest.raises(PolicyError, match="temperature=0"):
        Centroids(DIM, temperature=0.0)
