"""Whole graphs at once, built by hnswlib beside the live one.

hnswlib 0.8 builds well and serves badly under change (peers.md section 5.1), so only its level-0 links are
kept: its object is thrown away and never sees a query. The links are read from the pickled state, whose
layout is not a promise of that library: everything read is checked, and the dependency is pinned to the minor
version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import hnswlib
import numpy as np
from numpy.typing import NDArray

from index.errors import GraphLayoutError

__all__ = ["BUILD_CHUNK", "build_links", "read_links"]

BUILD_CHUNK = 2000
"""Rows added between two questions whether to go on."""


def build_links(
    vectors: NDArray[np.float32],
    *,
    m: int = 16,
    ef_construction: int = 200,
    n_threads: int = 1,
    seed: int = 100,
    proceed: Callable[[], bool] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.uint8]] | None:
    """Level-0 links among `vectors` (n, dim), unit length.

    Args:
        proceed: asked between chunks; may wait, and ends the build by returning False.

    Returns:
        Links (n, 2 m), padded with 0, and degrees (n,), both by position in `vectors`; None if ended early.

    Raises:
        GraphLayoutError: the builder's memory is not laid out as expected.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(50, 4)).astype(np.float32)
        >>> links, degrees = build_links(x / np.linalg.norm(x, axis=1, keepdims=True))
        >>> links.shape, int(degrees.min()) > 0
        ((50, 32), True)
    """
    n, dim = vectors.shape
    graph = hnswlib.Index("ip", dim)
    graph.init_index(n, M=m, ef_construction=ef_construction, random_seed=seed)
    for start in range(0, n, BUILD_CHUNK):
        if proceed is not None and not proceed():
            return None
        part = vectors[start : start + BUILD_CHUNK]
        graph.add_items(part, np.arange(start, start + len(part)), num_threads=n_threads)
    state = graph.__getstate__()
    return read_links(state if isinstance(state, dict) else state[0], vectors, m)


def read_links(
    state: Mapping[str, Any], vectors: NDArray[np.float32], m: int
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Level-0 links from hnswlib's pickled state, by label; every field is checked before it is believed."""
    n, dim = vectors.shape
    room = 2 * m
    size = 4 + 4 * room + 4 * dim + 8  # count, links, vector, label
    raw = np.asarray(state["data_level0"]).view(np.uint8)
    expected = {
        "cur_element_count": n,
        "max_M0": room,
        "size_data_per_element": size,
        "label_offset": size - 8,
    }
    found = {name: int(state[name]) for name in expected}
    if found != expected or raw.size < n * size:
        msg = f"hnswlib's graph has layout {found} in {raw.size} bytes, expected {expected}; another version?"
        raise GraphLayoutError(msg)
    raw = raw[: n * size].reshape(n, size)
    # The count is 16 bits; the byte after it carries the deletion mark.
    counts = raw[:, :2].copy().view(np.uint16)[:, 0]
    links = raw[:, 4 : 4 + 4 * room].copy().view(np.uint32).astype(np.int64)
    stored = raw[:, 4 + 4 * room : size - 8].copy().view(np.float32)
    labels = raw[:, size - 8 :].copy().view(np.uint64)[:, 0].astype(np.int64)
    links[np.arange(room)[None, :] >= counts[:, None]] = 0
    sound = (
        np.array_equal(np.sort(labels), np.arange(n))
        and int(counts.max(initial=0)) <= room
        and int(links.max(initial=0)) < max(1, n)
        and np.array_equal(stored, vectors[labels])
    )
    if not sound:
        msg = "hnswlib's graph: labels, counts, links or vectors are not those added; another version?"
        raise GraphLayoutError(msg)
    by_label = np.empty((n, room), np.int32)
    degrees = np.empty(n, np.uint8)
    by_label[labels] = labels[links]
    degrees[labels] = counts
    return by_label, degrees
