"""Following the compacted topics: rows by id in, frames for a replica's parts out."""

from __future__ import annotations

from freshet.following.rows import RowFollower

__all__ = ["RowFollower"]
