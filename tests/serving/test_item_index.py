"""The index keeps the vectors of a replica's table: in memory once, and nothing else differs."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from index import LiveIndex, LiveSettings
from learners import Catalogue, EmbeddingTable, ShapeError, Vectors
from serving.item_index import ItemIndex
from stream.events import ItemEvent
from stream.frame import Frame, pack, unpack
from stream.step import Replicated

DIM, N = 10, 300


class Owner:
    """A learner's table and catalogue, and what they publish."""

    def __init__(self) -> None:
        self.items, self.catalogue = EmbeddingTable(DIM, seed=1), Catalogue()
        self.vectors = Vectors(EmbeddingTable(DIM), self.items)

    def put(self, first: int, last: int, ts: int, **more: Any) -> None:
        names = [f"i{n}" for n in range(first, last)]
        rows = self.items.admit_each(names, [ts] * len(names))
        self.catalogue.put_each(rows, [ItemEvent(item_id=name, ts=ts, **more) for name in names])

    def take(self) -> Frame:
        parts: dict[str, Replicated] = {
            "items": self.items,
            "vectors": self.vectors,
            "catalogue": self.catalogue,
        }
        return unpack(pack({name: part.changes() for name, part in parts.items()}))


class Follower:
    """A replica of both with an index behind it."""

    def __init__(self, *, shares: bool) -> None:
        self.items, self.catalogue = EmbeddingTable(DIM, seed=1, max_rows=1_000), Catalogue()
        index = LiveIndex(DIM, 1_000, LiveSettings(exact_below=50), as_given=shares)
        self.index = ItemIndex(index, self.items, self.catalogue)
        if shares:
            self.index.share_vectors()

    def apply(self, frame: Frame) -> None:
        self.items.apply(frame["items"])
        Vectors(EmbeddingTable(DIM), self.items).apply(frame["vectors"])
        self.catalogue.apply(frame["catalogue"])
        self.index.apply(frame)

    def restore(self, owner: Owner) -> None:
        self.items.restore(unpack(pack(owner.items.snapshot())))
        self.catalogue.restore(unpack(pack(owner.catalogue.snapshot())))
        self.index.rebuild()


def story(owner: Owner) -> list[Frame]:
    """Items come, move, are withdrawn, come back, leave, and their rows are used again."""
    rng = np.random.default_rng(0)
    frames = []
    owner.items.admit([f"unsent-{n}" for n in range(5)], 1)
    owner.put(0, N, 1)
    frames.append(owner.take())
    rows = np.arange(0, 100, dtype=np.int32)
    owner.items.set_vectors(rows, rng.normal(size=(100, DIM)).astype(np.float32))
    owner.put(20, 40, 2, deleted=True)
    frames.append(owner.take())
    owner.items.set_vectors(rows[20:60], rng.normal(size=(40, DIM)).astype(np.float32))
    owner.put(30, 35, 3)
    frames.append(owner.take())
    gone = owner.items.remove([f"i{n}" for n in range(50, 70)])
    owner.catalogue.remove_items(gone)
    frames.append(owner.take())
    owner.items.tick(4)
    owner.items.tick(5)
    owner.put(N, N + 30, 6)
    frames.append(owner.take())
    return frames


def assert_the_same(one: Follower, other: Follower, owner: Owner) -> None:
    live = owner.items.live
    assert one.items.live.tolist() == other.items.live.tolist() == live.tolist()
    assert (
        one.items.data[live].tobytes() == other.items.data[live].tobytes() == owner.items.data[live].tobytes()
    )
    assert one.index.index.table.alive().tolist() == other.index.index.table.alive().tolist()
    for query in owner.items.data[live[:20]]:
        mine, theirs = one.index.index.search(query, 10), other.index.index.search(query, 10)
        assert mine.rows.tolist() == theirs.rows.tolist()
        np.testing.assert_allclose(mine.scores, theirs.scores, atol=1e-6)


def test_a_shared_vector_answers_as_a_copied_one() -> None:
    owner, sharing, copying = Owner(), Follower(shares=True), Follower(shares=False)
    for frame in story(owner):
        sharing.apply(frame)
        copying.apply(frame)
    assert_the_same(sharing, copying, owner)


def test_a_restored_replica_is_one_that_followed() -> None:
    owner, restored, following = Owner(), Follower(shares=True), Follower(shares=True)
    for frame in story(owner):
        following.apply(frame)
    restored.restore(owner)
    assert_the_same(restored, following, owner)


def test_a_replica_that_followed_can_be_restored_to_what_came_since() -> None:
    owner, late, following = Owner(), Follower(shares=True), Follower(shares=True)
    frames = story(owner)
    for frame in frames:
        following.apply(frame)
    for frame in frames[:2]:
        late.apply(frame)
    late.restore(owner)
    assert_the_same(late, following, owner)


def test_the_vectors_are_in_memory_once() -> None:
    follower = Follower(shares=True)
    assert follower.items.data is follower.index.index.table.rows.vectors
    follower.apply(story(Owner())[0])
    assert follower.items.data is follower.index.index.table.rows.vectors


@pytest.mark.parametrize("vector", [np.zeros(DIM), np.full(DIM, 1e20), np.full(DIM, 1e-20)])
def test_an_item_without_a_direction_is_out_until_it_has_one(vector: Any) -> None:
    owner, follower = Owner(), Follower(shares=True)
    owner.put(0, 10, 1)
    follower.apply(owner.take())
    kept = owner.items.data[3:4].copy()
    for vectors, size in ((vector.astype(np.float32).reshape(1, DIM), 9), (kept, 10)):
        owner.items.set_vectors(np.array([3], np.int32), vectors)
        follower.apply(owner.take())
        assert follower.index.index.size == size
    assert follower.index.index.search(kept[0], 1).rows.tolist() == [3]


def test_a_home_of_another_shape_is_refused() -> None:
    items = EmbeddingTable(DIM, max_rows=2_000)
    index = ItemIndex(LiveIndex(DIM, 1_000, as_given=True), items, Catalogue())
    with pytest.raises(ShapeError, match="expected a home"):
        index.share_vectors()


def test_a_search_on_another_thread_never_sees_half_a_vector() -> None:
    owner, follower, stop = Owner(), Follower(shares=True), Event()
    owner.put(0, N, 1)
    rng = np.random.default_rng(1)
    versions = [rng.normal(size=(N, DIM)).astype(np.float32) for _ in range(2)]
    rows = np.arange(N, dtype=np.int32)
    frames = []
    for vectors in versions:
        owner.items.set_vectors(rows, vectors)
        frames.append(owner.take())
    follower.apply(frames[0])
    faults: list[float] = []
    query = rng.normal(size=DIM).astype(np.float32)
    cosines = np.stack([v @ query / np.linalg.norm(v, axis=1) / np.linalg.norm(query) for v in versions])

    def search() -> None:
        while not stop.is_set():
            found = follower.index.index.search(query, 10)
            off = np.abs(cosines[:, found.rows] - found.scores).min(axis=0).max()
            if off > 1e-5:
                faults.append(float(off))

    thread = Thread(target=search)
    thread.start()
    for n in range(300):
        follower.apply(frames[n % 2] if n else frames[1])
    stop.set()
    thread.join()
    assert faults == []


@pytest.mark.parametrize("entered", [lambda n: 1, lambda n: n % 7, lambda n: -n])
def test_the_newest_are_the_last_entered_however_many_came_at_once(entered: Callable[[int], int]) -> None:
    n_items = 1_500
    items, catalogue = EmbeddingTable(DIM, seed=1), Catalogue()
    names = [f"i{n}" for n in range(n_items)]
    times = [2_000 + entered(n) for n in range(n_items)]
    rows = items.admit_each(names, times)
    events = [ItemEvent(item_id=name, ts=ts) for name, ts in zip(names, times, strict=True)]
    catalogue.put_each(rows, events)
    index = ItemIndex(LiveIndex(DIM, 2_000, LiveSettings(exact_below=2_000)), items, catalogue)
    index.rebuild()
    best = sorted(range(n_items), key=lambda n: (-times[n], n))
    assert index.newest.tolist() == best[: index.newest.size]
    assert index.newest.size == 1_024
