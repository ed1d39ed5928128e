"""How a live index searches, links and builds."""

from __future__ import annotations

import msgspec

__all__ = ["LiveSettings"]


class LiveSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a live index searches and links."""

    ef: int = 128
    """Breadth of a search's walk; more is slower and finds more."""
    max_links: int = 32
    """Room for links per row; twice `build_m`."""
    build_m: int = 16
    """hnswlib's M, for whole builds."""
    ef_construction: int = 200
    """hnswlib's, for whole builds."""
    build_threads: int = 1
    link_ef: int = 96
    """Breadth of the walk when one row is linked."""
    exact_below: int = 2048
    """Up to so many rows there is no graph: a scan is as quick."""
    max_pending: int = 512
    """New rows that may wait for their links before `upsert` links them itself."""
    n_pivots: int = 1024
    """Rows sampled as places where walks begin."""
    least_move: float = 0.01
    """Path, in lengths of a vector, from which a row is linked again among its neighbours."""
    jump: float = 0.5
    """Path from which a row is linked anew; a single step of this length makes it wait like a new row."""
    seed: int = 0
    """Of the pivots' sample."""
