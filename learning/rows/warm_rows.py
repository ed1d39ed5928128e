"""A few rows followed, so that what reads them is compiled before the first one comes."""

from __future__ import annotations

from learning.rows.codec import ItemRow, PolicyRow, UserRow, encode_row
from learning.rows.follow import RowFollower
from learning.settings import LearningSettings

__all__ = ["warm_rows"]


def warm_rows(settings: LearningSettings) -> None:
    """Follow one row of each kind.

    Example:
        >>> warm_rows(LearningSettings())
    """
    rows = {
        "item-vectors": ItemRow(item_id="a"),
        "policy": PolicyRow(item_id="a"),
        "user-vectors": UserRow(user_id="a"),
    }
    follower = RowFollower(settings)
    follower.add_all([(topic, 0, b"a", encode_row(row)) for topic, row in rows.items()])
    follower.take()
