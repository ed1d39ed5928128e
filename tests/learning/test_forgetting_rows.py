"""Rows and snapshots of a policy that forgets are not read by one that forgets otherwise, and it is said."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
import pytest

from learning.errors import SettingsError
from learning.parts import build_parts
from learning.rows.follow import RowFollower
from learning.settings import LearningSettings, LearnSettings
from learning.testing_engines import Embedded, scripted

NEVER: dict[str, Any] = {}
FADING, WINDOW = {"half_life_ms": 60_000}, {"window_ms": 60_000}
DIFFERENT = pytest.mark.parametrize(
    ("written", "read", "says"),
    [
        (
            NEVER,
            FADING,
            "half_life_ms = 60000, window_parts = 1, epochs of 1, sums of 1: expected 56 bytes",
        ),
        (FADING, NEVER, "shown, reward: expected 16 bytes, the row has 56"),
        (
            FADING,
            {"half_life_ms": 30_000},
            "forgets: expected half_life_ms = 30000, the row has half_life_ms = 60000",
        ),
        (
            WINDOW,
            {**WINDOW, "window_parts": 4},
            "window_ms = 60000, window_parts = 4, epochs of 4, sums of 4: expected 128 bytes",
        ),
    ],
)


def settings_of(forgets: dict[str, Any]) -> LearningSettings:
    return LearningSettings(
        learn=LearnSettings(embedding_dim=4, max_items=4_096, max_users=4_096),
        policies=({"kind": "thompson", **forgets},),
    )


@lru_cache
def _learned(encoded: bytes) -> Embedded:
    made = msgspec.json.decode(encoded, type=LearningSettings)
    return Embedded(made, "rows").learn([scripted(made, n=120)])


def learned(forgets: dict[str, Any]) -> Embedded:
    return _learned(msgspec.json.encode(settings_of(forgets)))


@DIFFERENT
def test_rows_of_another_way_to_forget_are_passed_over(
    written: dict[str, Any], read: dict[str, Any], says: str
) -> None:
    follower = RowFollower(settings_of(read))
    rows = [output for output in learned(written).outputs if output.topic == "policy" and output.value]
    for row in rows:
        follower.add(row.topic, row.partition, row.key or b"", row.value)
    assert rows and follower.misfits["thompson"].startswith(says)
    side = follower.take()["policy:thompson"]["item"]
    assert side["shown"].size and not any(side[name].any() for name in side if name != "rows")


@DIFFERENT
def test_a_snapshot_of_another_way_to_forget_is_refused_with_the_policy_s_name(
    written: dict[str, Any], read: dict[str, Any], says: str
) -> None:
    with pytest.raises(
        SettingsError, match=r"settings: thompson: what it learned was kept with.*another `name`"
    ):
        build_parts(settings_of(read)).restore(learned(written).parts.snapshot())
