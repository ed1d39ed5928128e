"""Merging of candidates, compiled."""

from __future__ import annotations

from serving.ops.merge import Columns, merge_candidates

__all__ = ["Columns", "merge_candidates"]
