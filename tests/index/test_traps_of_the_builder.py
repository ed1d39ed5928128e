"""The traps of hnswlib 0.8, each shown on the bare library and kept from whoever uses the room.

The bare library may crash or write where it should not, so it runs in a process of its own. When a new
version of it no longer behaves badly, the first half of a test fails and says that a guard may go.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from index import ExactIndex, IndexInputError, LiveIndex, LiveSettings, load_index, save_index
from index.testing import planted_world, rows_of, unit
from stream.errors import SnapshotError

_PREAMBLE = """
import sys, threading
import hnswlib, numpy as np
rng = np.random.default_rng(0)
x = rng.normal(size=(2000, 8)).astype(np.float32)
def make(space='cosine', dim=8, n=2000, **more):
    ix = hnswlib.Index(space, dim)
    ix.init_index(n, M=16, ef_construction=50, **more)
    return ix
"""


def bare(code: str, folder: Path) -> tuple[int, str]:
    """Exit status and output of `code` run against hnswlib alone, in `folder`."""
    done = subprocess.run(
        [sys.executable, "-c", _PREAMBLE + code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout.strip()


def walking(dim: int) -> LiveIndex:
    """A live index that walks a graph however small it is."""
    return LiveIndex(dim, 100_000, LiveSettings(exact_below=8, max_pending=4))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[LiveIndex, Path]:
    index = walking(8)
    index.upsert(np.arange(300), planted_world(300, 8).vectors)
    path = tmp_path / "items.index"
    save_index(index, path)
    return index, path


def test_growing_under_queries_kills_the_library_and_not_us(tmp_path: Path) -> None:
    code = """
big = rng.normal(size=(20_000, 8)).astype(np.float32)
ix = make(n=20_000); ix.add_items(big)
def ask():
    while True: ix.knn_query(big[:500], k=5)
for _ in range(2): threading.Thread(target=ask, daemon=True).start()
for size in range(20_100, 80_000, 200): ix.resize_index(size)
print('survived', flush=True)
import os; os._exit(0)
"""
    assert any(bare(code, tmp_path)[0] != 0 for _ in range(5))

    index, world = walking(8), planted_world(6000, 8)
    index.upsert(np.arange(500), world.vectors[:500])
    stop, wrong = Event(), []

    def ask() -> None:
        while not stop.is_set():
            answers = index.search(world.queries[0], 10)
            if answers.rows.size != 10 or not np.isfinite(answers.scores).all():
                wrong.append(answers)

    asking = [Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    for start in range(500, 6000, 50):
        index.upsert(np.arange(start, start + 50), world.vectors[start : start + 50])
    stop.set()
    for thread in asking:
        thread.join()
    assert wrong == []
    assert index.size == 6000


def test_fewer_rows_than_k_raise_there_and_answer_here(tmp_path: Path) -> None:
    code = """
ix = make(); ix.add_items(x[:3])
try: ix.knn_query(x[0], k=10)
except RuntimeError: print('raised')
"""
    assert bare(code, tmp_path) == (0, "raised")
    index = walking(2)
    index.upsert(rows_of(0, 1, 2), np.stack([unit(0), unit(1), unit(2)]))
    assert index.search(unit(0), 10).rows.tolist() == [0, 1, 2]


def test_replacing_a_deleted_row_doubles_a_live_label_there_and_not_here(tmp_path: Path) -> None:
    code = """
ix = make('l2', 2, 10, allow_replace_deleted=True)
ix.add_items(np.array([[0, 0], [9, 9], [5, 5]], np.float32), [0, 1, 2])
ix.mark_deleted(1)
ix.add_items(np.array([[0.1, 0]], np.float32), [0], replace_deleted=True)
print(ix.knn_query(np.zeros(2, np.float32), k=3)[0][0].tolist().count(0))
"""
    assert bare(code, tmp_path) == (0, "2")
    index = walking(8)
    world = planted_world(100, 8)
    index.upsert(np.arange(100), world.vectors)
    index.remove(rows_of(1))
    index.upsert(rows_of(0), world.queries[:1])
    rows = index.search(world.queries[0], 200).rows
    assert (rows[0], rows.size, np.unique(rows).size) == (0, 99, 99)


def test_not_a_number_is_taken_there_and_refused_here(tmp_path: Path) -> None:
    code = "ix = make(); x[0] = np.nan; ix.add_items(x[:1]); print(ix.get_current_count())"
    assert bare(code, tmp_path) == (0, "1")
    with pytest.raises(IndexInputError, match="not finite"):
        walking(2).upsert(rows_of(0), np.array([[np.nan, 1]], np.float32))


def test_a_zero_vector_is_taken_there_and_refused_here(tmp_path: Path) -> None:
    assert bare("ix = make(); ix.add_items(x[:1] * 0); print(ix.get_current_count())", tmp_path) == (0, "1")
    with pytest.raises(IndexInputError, match="all zero"):
        walking(2).upsert(rows_of(0), np.zeros((1, 2), np.float32))


def test_a_flipped_byte_loads_silently_there_and_is_refused_here(
    tmp_path: Path, saved: tuple[LiveIndex, Path]
) -> None:
    code = """
ix = make(); ix.add_items(x); ix.save_index('bare')
raw = bytearray(open('bare', 'rb').read()); raw[len(raw) // 2] ^= 0x40; open('bare', 'wb').write(raw)
other = hnswlib.Index('cosine', 8); other.load_index('bare'); print(other.get_current_count())
"""
    assert bare(code, tmp_path) == (0, "2000")
    index, path = saved
    raw = bytearray(path.read_bytes())
    for place in (3, 9, 30, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 0x40]) + raw[place + 1 :])
        with pytest.raises(SnapshotError):
            load_index(index, path)
    assert index.size == 300


@pytest.mark.parametrize("length", [0, 10, 60, 5000])
def test_a_file_cut_short_is_refused(saved: tuple[LiveIndex, Path], length: int) -> None:
    index, path = saved
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(SnapshotError):
        load_index(index, path)
    assert index.size == 300


def test_another_dimension_or_space_loads_silently_there_and_is_refused_here(
    tmp_path: Path, saved: tuple[LiveIndex, Path]
) -> None:
    code = """
ix = make(); ix.add_items(x); ix.save_index('bare')
for space, dim in (('cosine', 4), ('l2', 8)):
    other = hnswlib.Index(space, dim); other.load_index('bare'); print(other.get_current_count())
"""
    assert bare(code, tmp_path) == (0, "2000\n2000")
    other = walking(4)
    with pytest.raises(SnapshotError, match=r"dim 8; this index is 'cosine', dim 4"):
        load_index(other, saved[1])
    assert other.size == 0


def test_a_missing_folder_is_silence_there_and_an_error_here(
    tmp_path: Path, saved: tuple[LiveIndex, Path]
) -> None:
    code = "ix = make(); ix.add_items(x); ix.save_index('no/such/folder/bare'); print('silence')"
    assert bare(code, tmp_path) == (0, "silence")
    with pytest.raises(SnapshotError, match="not written"):
        save_index(saved[0], tmp_path / "no/such/folder/items.index")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_silence_there_and_an_error_here(
    tmp_path: Path, saved: tuple[LiveIndex, Path]
) -> None:
    code = "ix = make(); ix.add_items(x); ix.save_index('/dev/full'); print('silence')"
    assert bare(code, tmp_path) == (0, "silence")
    index, path = saved
    before = path.read_bytes()
    # Snapshots are written aside under a name that is known: it leads to the full disk here.
    path.with_name(f"{path.name}.{os.getpid()}.aside").symlink_to("/dev/full")
    with pytest.raises(SnapshotError, match="not written"):
        save_index(index, path)
    assert path.read_bytes() == before


def test_the_breadth_falls_to_ten_there_and_stays_a_setting_here(
    tmp_path: Path, saved: tuple[LiveIndex, Path]
) -> None:
    code = """
ix = make(); ix.add_items(x); ix.set_ef(200); ix.save_index('bare')
other = hnswlib.Index('cosine', 8); other.load_index('bare'); print(other.ef)
"""
    assert bare(code, tmp_path) == (0, "10")
    other = LiveIndex(8, 1000, LiveSettings(exact_below=8, ef=200))
    load_index(other, saved[1])
    assert other.settings.ef == 200
    query = planted_world(300, 8).queries[0]
    assert other.search(query, 10).rows.tolist() == saved[0].search(query, 10).rows.tolist()


def test_tombstones_slow_every_walk_there_and_are_swept_here(tmp_path: Path) -> None:
    code = """
ix = make(n=2000); ix.add_items(x)
for i in range(1900): ix.mark_deleted(i)
print(ix.element_count)
"""
    assert bare(code, tmp_path) == (0, "2000")
    index, oracle, world = walking(8), ExactIndex(8), planted_world(2000, 8)
    for one in (index, oracle):
        one.upsert(np.arange(2000), world.vectors)
        one.remove(np.arange(1500))
    assert index.graph is not None
    assert index.graph.dead.size > 0
    index.relinker.run()
    links = index.graph.links
    assert index.graph.dead.size == 0
    assert not links.degree[:1500].any()
    alive = [links.to[row, : links.degree[row]].min() for row in range(1500, 2000)]
    assert min(alive) >= 1500
    found = [np.intersect1d(index.search(q, 10).rows, oracle.search(q, 10).rows).size for q in world.queries]
    assert np.mean(found) > 9.7
