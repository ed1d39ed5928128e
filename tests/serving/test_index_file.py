"""The index on disk: taken over where it agrees with the tables, ignored where it cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from index import LiveIndex, LiveSettings
from learners import Catalogue, EmbeddingTable
from serving.index_file import IndexFile
from serving.item_index import ItemIndex
from stream.clock import WallClock
from stream.events import ItemEvent

N = 300


def empty() -> LiveIndex:
    return LiveIndex(8, 1_000, LiveSettings(exact_below=50), background=True)


def catalogue_of(n: int) -> tuple[EmbeddingTable, Catalogue]:
    items, catalogue = EmbeddingTable(8, seed=1), Catalogue()
    names = [f"i{row}" for row in range(n)]
    rows = items.admit_each(names, [1] * n)
    catalogue.put_each(rows, [ItemEvent(item_id=name, ts=1, group="g") for name in names])
    return items, catalogue


def written(path: Path) -> tuple[EmbeddingTable, Catalogue, LiveIndex]:
    """Tables, and their index with a graph, stored at `path` by a clean stop."""
    items, catalogue = catalogue_of(N)
    index = empty()
    (path.parent / "index.snapshot.99.aside").write_bytes(b"half, by one that was killed")
    file = IndexFile(index, path, WallClock(), writes=True)
    ItemIndex(index, items, catalogue).rebuild()
    assert index.rebuild()
    file.start()
    file.stop()
    return items, catalogue, index


def test_a_restarted_worker_builds_nothing(tmp_path: Path) -> None:
    items, catalogue, before = written(tmp_path / "index.snapshot")
    after = empty()
    assert IndexFile(after, tmp_path / "index.snapshot", WallClock(), writes=True).load()
    ItemIndex(after, items, catalogue).rebuild()
    assert after.graph is not None
    assert (after.n_rebuilds, after.graph.entry.pending.size, after.size) == (0, 0, N)
    for query in items.data[:20]:
        assert after.search(query, 5).rows.tolist() == before.search(query, 5).rows.tolist()


def test_what_changed_since_is_followed(tmp_path: Path) -> None:
    items, catalogue, _ = written(tmp_path / "index.snapshot")
    items.data[:100] *= 1.01  # the same direction
    items.data[100] = -items.data[100]
    catalogue.put(200, ItemEvent(item_id="i200", ts=2, deleted=True))
    after = empty()
    IndexFile(after, tmp_path / "index.snapshot", WallClock(), writes=False).load()
    ItemIndex(after, items, catalogue).rebuild()
    assert after.graph is not None
    assert after.graph.entry.pending.tolist() == [100]
    assert after.search(items.data[100], 1).rows.tolist() == [100]
    assert 200 not in after.table.alive()


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda _: b"something else", lambda _: b""])
def test_a_damaged_file_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "index.snapshot"
    written(path)
    path.write_bytes(damage(path.read_bytes()))
    index = empty()
    with caplog.at_level(logging.WARNING):
        assert not IndexFile(index, path, WallClock(), writes=True).load()
    assert (len(caplog.records), index.size) == (1, 0)


def test_only_one_worker_writes(tmp_path: Path) -> None:
    path = tmp_path / "index.snapshot"
    _, _, index = written(path)
    before = path.stat().st_mtime_ns
    assert [file.name for file in tmp_path.iterdir()] == ["index.snapshot"]
    other = IndexFile(index, path, WallClock(), writes=False)
    index.remove(np.array([1]))
    other.start()
    other.stop()
    assert path.stat().st_mtime_ns == before
