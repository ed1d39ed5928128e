"""The whole pipeline for harnesses that name their step."""

from __future__ import annotations

from typing import cast

from freshet.config import Settings, load_settings
from learning.pipeline import Pipeline
from stream.step import Step

__all__ = ["CHAOS_SETTINGS", "chaos_pipeline"]

CHAOS_SETTINGS: Settings = load_settings(
    environ={},
    flags={
        "learn": {"embedding_dim": 8, "maintain_ms": 100, "max_users": 20_000, "max_items": 4_096},
        "join": {"window_ms": 200, "lateness_ms": 2_000},
        "policy": {"centroids": 8},
    },
)
"""Small vectors, windows that close while processes die, and lateness for a disk that takes long to sync."""


def chaos_pipeline() -> Step:
    """A pipeline with a fixed forget key."""
    return cast(Step, Pipeline(CHAOS_SETTINGS, b"a key for tests, no secret"))
