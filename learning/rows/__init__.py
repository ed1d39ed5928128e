"""Rows by id: how a part's rows become records of Kafka, and frames for a replica again.

`codec` has the records, `publish` writes what changed, `follow` makes frames of what came.
"""

from __future__ import annotations

__all__: list[str] = []
