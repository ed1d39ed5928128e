"""Settings of the topics that a team has already and Freshet reads: which become which events, and how."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from stream.event_mapping import EventMapping

__all__ = ["SourceSettings"]


class SourceSettings(EventMapping, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One topic of others, with JSON objects as values, and the event that each of its records is.

    A topic may stand in several sources that differ in `where`. A path may also be `$key` or `$timestamp` of
    the record.

    Example:
        >>> source = SourceSettings("click", {"item_id": "product.id", "user_id": "$key"}, topic="views")
        >>> source.time
        'ms'
    """

    places: ClassVar[tuple[str, ...]] = ("$key", "$timestamp")
    needs_ts: ClassVar[bool] = False
    """Without a mapped time it is the record's."""

    topic: Annotated[str, Meta(min_length=1, max_length=249)]
    """Name of the topic, without our prefix."""

    @property
    def origin(self) -> str:
        """What a message about it begins with."""
        return f"source {self.topic}: "

    @property
    def name(self) -> str:
        """What messages call it.

        Example:
            >>> fields = {"item_id": "sku", "user_id": "$key"}
            >>> SourceSettings("click", fields, topic="acts", where={"ok": True}).name
            'acts, click where ok = true'
        """
        return f"{self.topic}, {self.label}"
