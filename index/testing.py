"""The contract of a vector index, as tests to inherit, and a planted world with a known answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from index.base import VectorIndex
from index.errors import IndexFullError, IndexInputError
from index.exact import ExactIndex
from stream.errors import SnapshotError
from stream.frame import pack, unpack

__all__ = [
    "MakeIndex",
    "PlantedWorld",
    "VectorIndexContract",
    "planted_world",
    "recall_of",
    "rows_of",
    "unit",
]

MakeIndex = Callable[[int], VectorIndex]
"""Makes an empty index of a dimension, with room for at least 100,000 rows."""


class PlantedWorld(NamedTuple):
    """Vectors in clusters, with queries drawn like them."""

    vectors: NDArray[np.float32]  # (n, dim)
    cluster: NDArray[np.int64]  # (n,)
    queries: NDArray[np.float32]  # (n_queries, dim)
    query_cluster: NDArray[np.int64]  # (n_queries,)


def planted_world(
    n: int, dim: int = 16, n_clusters: int = 20, n_queries: int = 50, seed: int = 0
) -> PlantedWorld:
    """Clusters far apart: the nearest rows of a query are of its own cluster."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_clusters, dim))
    cluster = rng.integers(0, n_clusters, n + n_queries)
    vectors = (centres[cluster] + 0.2 * rng.normal(size=(n + n_queries, dim))).astype(np.float32)
    return PlantedWorld(vectors[:n], cluster[:n], vectors[n:], cluster[n:])


def rows_of(*rows: int) -> NDArray[np.int32]:
    """Row numbers as an index takes them."""
    return np.array(rows, np.int32)


def unit(angle: float) -> NDArray[np.float32]:
    """The direction of an angle in the plane, (2,)."""
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def recall_of(index: VectorIndex, oracle: VectorIndex, queries: NDArray[np.float32], k: int = 10) -> float:
    """Mean share of the oracle's `k` nearest that `index` finds.

    Raises:
        IndexInputError: `k` is below 1, or there are no queries.
    """
    if k < 1 or not len(queries):
        msg = f"recall is taken of k >= 1 and at least one query; got k={k} and {len(queries)} queries"
        raise IndexInputError(msg)
    found = [np.intersect1d(index.search(q, k).rows, oracle.search(q, k).rows).size for q in queries]
    return float(np.mean(found)) / k


def _fan(n: int) -> NDArray[np.float32]:
    """`n` directions over a right angle: row 0 lies at 0, the last just short of 90 degrees."""
    return np.stack([unit(i * np.pi / 2 / n) for i in range(n)])


_BAD_UPSERTS: list[tuple[str, Any, Any]] = [
    ("NaN", rows_of(0), np.array([[1, np.nan]], np.float32)),
    ("infinite", rows_of(0), np.array([[np.inf, 1]], np.float32)),
    ("zero", rows_of(0), np.zeros((1, 2), np.float32)),
    ("wrong dimension", rows_of(0), np.ones((1, 3), np.float32)),
    ("too few vectors", rows_of(0, 1), np.ones((1, 2), np.float32)),
    ("float64", rows_of(0), np.ones((1, 2))),
    ("a list", rows_of(0), [[1.0, 2.0]]),
    ("negative row", rows_of(-1), np.ones((1, 2), np.float32)),
    ("row beyond the room", np.array([2**40]), np.ones((1, 2), np.float32)),
    ("float rows", np.array([0.0]), np.ones((1, 2), np.float32)),
]

_BAD_SEARCHES: list[tuple[str, Any, dict[str, Any]]] = [
    ("NaN", np.array([np.nan, 1], np.float32), {}),
    ("zero", np.zeros(2, np.float32), {}),
    ("wrong dimension", np.ones(3, np.float32), {}),
    ("float64", np.ones(2), {}),
    ("k of zero", unit(0), {"k": 0}),
    ("k of a fraction", unit(0), {"k": 2.5}),
    ("groups as a list", unit(0), {"groups": [1]}),
    ("time as text", unit(0), {"now_ms": "now"}),
    ("mask of numbers", unit(0), {"allowed": np.ones(3)}),
]


class VectorIndexContract:
    """Inherit and give a fixture `make` (a `MakeIndex`)."""

    def test_an_empty_index_answers_nothing(self, make: MakeIndex) -> None:
        answers = make(2).search(unit(0), 10)
        assert answers.rows.size == 0
        assert answers.rows.dtype == np.int32
        assert answers.scores.dtype == np.float32

    def test_answers_are_cosines_best_first(self, make: MakeIndex) -> None:
        index = make(2)
        index.upsert(rows_of(4, 0, 9), np.array([[0, 2], [5, 0], [3, 3]], np.float32))
        answers = index.search(unit(0), 3)
        assert answers.rows.tolist() == [0, 9, 4]
        np.testing.assert_allclose(answers.scores, [1, np.sqrt(0.5), 0], atol=1e-6)

    def test_equal_scores_stand_by_row(self, make: MakeIndex) -> None:
        index = make(2)
        index.upsert(np.arange(99, -1, -1), np.tile(unit(1), (100, 1)))
        assert index.search(unit(0), 7).rows.tolist() == [0, 1, 2, 3, 4, 5, 6]

    def test_fewer_rows_than_k_are_fewer_answers(self, make: MakeIndex) -> None:
        index = make(2)
        index.upsert(rows_of(1, 2), _fan(2))
        assert index.search(unit(0), 1_000_000_000).rows.tolist() == [1, 2]

    def test_the_next_search_sees_a_moved_row(self, make: MakeIndex) -> None:
        index = make(2)
        index.upsert(np.arange(200), _fan(200))
        index.upsert(rows_of(199), unit(0.001).reshape(1, 2))
        assert index.search(unit(0.001), 1).rows.tolist() == [199]

    def test_of_equal_rows_in_a_batch_the_last_stays(self, make: MakeIndex) -> None:
        index = make(2)
        index.upsert(rows_of(5, 5), np.stack([unit(1), unit(0)]))
        assert index.size == 1
        assert index.search(unit(0), 2).scores.tolist() == [1.0]

    def test_one_batch_means_the_same_as_its_rows_one_by_one(self, make: MakeIndex) -> None:
        world = planted_world(300)
        batch, single = make(16), make(16)
        batch.upsert(np.arange(300), world.vectors)
        for row in range(300):
            single.upsert(rows_of(row), world.vectors[row : row + 1])
        for query in world.queries[:10]:
            one, other = batch.search(query, 10), single.search(query, 10)
            assert one.rows.tolist() == other.rows.tolist()
            assert one.scores.tobytes() == other.scores.tobytes()

    def test_a_removed_row_is_never_an_answer(self, make: MakeIndex) -> None:
        index = make(2)
        index.upsert(np.arange(200), _fan(200))
        assert index.remove(np.arange(0, 150)) == 150
        assert index.remove(np.arange(100, 160)) == 10
        assert index.size == 40
        assert index.search(unit(0), 200).rows.tolist() == list(range(160, 200))

    def test_a_row_used_again_is_there_once_with_its_new_vector(self, make: MakeIndex) -> None:
        index = make(2)
        index.upsert(np.arange(200), _fan(200))
        for _ in range(3):
            index.remove(rows_of(0, 1))
            index.upsert(rows_of(0), unit(1.5).reshape(1, 2))
        rows = index.search(unit(1.5), 300).rows
        assert rows.size == np.unique(rows).size == 199
        assert rows[0] == 0 or rows[1] == 0

    def test_an_item_is_nearest_to_itself_whatever_the_lengths(self, make: MakeIndex) -> None:
        """Under inner product the long row would win every search (papers.md section 15)."""
        index = make(2)
        vectors = np.array([[1, 0], [100, 100], [0, 1]], np.float32)
        index.upsert(rows_of(0, 1, 2), vectors)
        assert int(np.argmax(vectors @ vectors[0])) == 1
        assert [int(index.search(v, 1).rows[0]) for v in vectors] == [0, 1, 2]

    def test_planted_neighbours_are_found(self, make: MakeIndex) -> None:
        world = planted_world(3000)
        index, oracle = make(16), ExactIndex(16)
        index.upsert(np.arange(3000), world.vectors)
        oracle.upsert(np.arange(3000), world.vectors)
        first = [int(index.search(q, 1).rows[0]) for q in world.queries]
        assert np.array_equal(world.cluster[first], world.query_cluster)
        assert recall_of(index, oracle, world.queries) > 0.97

    @pytest.mark.parametrize(
        ("what", "rows", "vectors"), _BAD_UPSERTS, ids=lambda v: v if isinstance(v, str) else ""
    )
    def test_a_bad_batch_is_refused_and_changes_nothing(
        self, make: MakeIndex, what: str, rows: Any, vectors: Any
    ) -> None:
        index = make(2)
        index.upsert(rows_of(0), unit(1).reshape(1, 2))
        before = pack(index.snapshot())
        with pytest.raises((IndexInputError, IndexFullError), match=r"expected|finite|zero|beyond"):
            index.upsert(rows, vectors)
        assert pack(index.snapshot()) == before

    @pytest.mark.parametrize(
        ("what", "query", "more"), _BAD_SEARCHES, ids=lambda v: v if isinstance(v, str) else ""
    )
    def test_a_bad_search_is_refused(
        self, make: MakeIndex, what: str, query: Any, more: dict[str, Any]
    ) -> None:
        index = make(2)
        with pytest.raises(IndexInputError, match=r"query|k|groups|now_ms|allowed"):
            index.search(query, **{"k": 1, **more})

    def test_groups_filter(self, make: MakeIndex) -> None:
        index = make(2)
        index.upsert(np.arange(90), _fan(90))
        index.set_attributes(np.arange(90), group=np.arange(90, dtype=np.int32) % 3)
        assert index.search(unit(0), 4, groups=rows_of(2, 1)).rows.tolist() == [1, 2, 4, 5]
        assert index.search(unit(0), 4, groups=rows_of(7)).rows.size == 0
        assert index.search(unit(0), 4, groups=rows_of()).rows.size == 0

    def test_windows_open_at_from_and_close_before_until(self, make: MakeIndex) -> None:
        index = make(2)
        index.upsert(np.arange(3), _fan(3))
        index.set_attributes(rows_of(0), from_ms=np.array([100]), until_ms=np.array([200]))
        index.set_attributes(rows_of(1), until_ms=np.array([150]))
        found = {t: index.search(unit(0), 3, now_ms=t).rows.tolist() for t in (99, 100, 149, 150, 199, 200)}
        assert found == {99: [1, 2], 100: [0, 1, 2], 149: [0, 1, 2], 150: [0, 2], 199: [0, 2], 200: [2]}
        assert index.search(unit(0), 3).rows.tolist() == [0, 1, 2]

    def test_a_mask_filters_and_ends_where_it_ends(self, make: MakeIndex) -> None:
        index = make(2)
        index.upsert(np.arange(5), _fan(5))
        assert index.search(unit(0), 5, allowed=np.array([False, True, True])).rows.tolist() == [1, 2]

    def test_attributes_may_come_before_the_vector_and_leave_with_it(self, make: MakeIndex) -> None:
        index = make(2)
        index.set_attributes(rows_of(3), group=rows_of(8), until_ms=np.array([10]))
        index.upsert(rows_of(3), unit(0).reshape(1, 2))
        assert index.search(unit(0), 1, groups=rows_of(8), now_ms=9).rows.tolist() == [3]
        index.remove(rows_of(3))
        index.upsert(rows_of(3), unit(0).reshape(1, 2))
        assert index.search(unit(0), 1, groups=rows_of(8)).rows.size == 0
        assert index.search(unit(0), 1, now_ms=99).rows.tolist() == [3]

    @pytest.mark.parametrize("share", [0.5, 0.05, 0.001])
    def test_a_filter_never_empties_an_answer_wrongly(self, make: MakeIndex, share: float) -> None:
        world = planted_world(3000)
        index = make(16)
        index.upsert(np.arange(3000), world.vectors)
        # The allowed rows are the farthest from the query, where a walk towards it never comes.
        query = world.queries[0]
        cosine = (world.vectors @ query) / np.linalg.norm(world.vectors, axis=1)
        far = np.argsort(cosine)[: int(3000 * share)]
        index.set_attributes(far.astype(np.int32), group=np.ones(far.size, np.int32))
        rows = index.search(query, 10, groups=rows_of(1)).rows
        assert rows.size == min(10, far.size)
        assert set(rows.tolist()) <= set(far.tolist())

    def test_each_batch_is_a_version_and_a_search_is_none(self, make: MakeIndex) -> None:
        index = make(2)
        index.upsert(rows_of(0, 1), _fan(2))
        index.set_attributes(rows_of(0), group=rows_of(1))
        index.remove(rows_of(0))
        index.search(unit(0), 1)
        assert index.version == 3

    def test_a_thousand_searches_leave_every_byte_as_it_was(self, make: MakeIndex) -> None:
        world = planted_world(500)
        index = make(16)
        index.upsert(np.arange(500), world.vectors)
        before = pack(index.snapshot())
        for i in range(1000):
            index.search(world.queries[i % 50], 10, groups=rows_of(0, 99), now_ms=i)
        assert pack(index.snapshot()) == before

    def test_a_restored_index_answers_the_same_and_lives_on(self, make: MakeIndex) -> None:
        world = planted_world(3000)
        index, other = make(16), make(16)
        index.upsert(np.arange(3000), world.vectors)
        index.set_attributes(np.arange(500), group=np.ones(500, np.int32), until_ms=np.full(500, 7))
        index.remove(np.arange(100, 200))
        other.upsert(np.arange(10), world.queries[:10])
        other.restore(unpack(pack(index.snapshot())))
        assert (other.size, other.version) == (index.size, index.version)
        for query in world.queries:
            for more in ({}, {"groups": rows_of(0)}, {"now_ms": 7}):
                one, two = index.search(query, 10, **more), other.search(query, 10, **more)
                assert _alike(one.rows, two.rows)
        other.upsert(rows_of(150), world.queries[:1])
        assert other.search(world.queries[0], 1).rows.tolist() == [150]

    def test_a_snapshot_of_another_kind_is_refused(self, make: MakeIndex) -> None:
        index = make(2)
        index.upsert(rows_of(0), _fan(1))
        good = index.snapshot()
        wrong: list[dict[str, Any]] = [
            make(3).snapshot(),
            {**good, "space": "ip"},
            {**good, "vectors": good["vectors"][:, :1]},
            {**good, "vectors": good["vectors"] * np.float32(np.nan)},
            {**good, "state": good["state"].astype(np.int64)},
            {},
        ]
        for frame in wrong:
            with pytest.raises(SnapshotError, match="snapshot"):
                index.restore(frame)
        assert index.search(unit(0), 1).rows.tolist() == [0]


def _alike(one: NDArray[np.int32], other: NDArray[np.int32]) -> bool:
    """Whether two answers share all but at most one row: walks may begin elsewhere after a restore."""
    return one.size == other.size and np.intersect1d(one, other).size >= one.size - 1
