"""Settings of the topics that a team has already and Freshet reads: which become which events, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from stream.events import Click, Forget, Impression, ItemEvent

__all__ = ["EVENT_TYPES", "SourceSettings", "said"]

EVENT_TYPES: dict[str, type[msgspec.Struct]] = {
    "impression": Impression,
    "click": Click,
    "item": ItemEvent,
    "forget": Forget,
}

_PLACES = ("$key", "$timestamp")


def said(value: Any) -> Any:
    """A value as `where` compares it: booleans and whole numbers as text, a boolean's text in small letters.

    Example:
        >>> said(True), said("TRUE"), said(7), said(7.0), said(None)
        ('true', 'true', '7', '7', None)
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value.lower() if value.lower() in ("true", "false") else value
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return value


class SourceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One topic of others, with JSON objects as values, and the event that each of its records is.

    A topic may stand in several sources that differ in `where`.

    Example:
        >>> source = SourceSettings("views", "click", {"item_id": "product.id", "user_id": "$key"})
        >>> source.time
        'ms'
    """

    topic: Annotated[str, Meta(min_length=1, max_length=249)]
    """Name of the topic, without our prefix."""
    type: Literal["impression", "click", "item", "forget"]
    """What its records are."""
    fields: dict[str, str]
    """For each field of the event where its value stands: a name, a dotted path like `product.id` (a number
    or `*` picks from a list: `products.*.id`), or `$key` or `$timestamp` of the record."""
    constants: dict[str, Any] = {}
    """Fields of the event that are always the same, such as `kind = "purchase"`."""
    where: dict[str, str | bool | int] = {}
    """Path and the text, boolean or whole number that must stand there, whichever way it is written; records
    with another one are passed over."""
    time: Literal["ms", "s", "us", "ns", "iso"] = "ms"
    """Unit of times since 1970, or `iso` for text such as `2024-05-01T12:00:00Z`; without zone it is UTC."""

    @property
    def name(self) -> str:
        """What messages call it.

        Example:
            >>> fields = {"item_id": "sku", "user_id": "$key"}
            >>> SourceSettings("acts", "click", fields, where={"ok": True}).name
            'acts, click where ok = true'
        """
        where = " and ".join(f"{path} = {said(wanted)}" for path, wanted in self.where.items())
        return f"{self.topic}, {self.type}" + (f" where {where}" if where else "")

    def __post_init__(self) -> None:
        known = {field.name: field for field in msgspec.structs.fields(EVENT_TYPES[self.type])}
        given = [*self.fields, *self.constants]
        for name in given:
            if name not in known:
                msg = f"source {self.topic}: expected fields of {self.type} ({', '.join(known)}), got {name}"
                raise ValueError(msg)
        if len(set(given)) != len(given):
            msg = f"source {self.topic}: expected each field in fields or in constants, got one in both"
            raise ValueError(msg)
        # Without a mapped time it is the record's.
        missing = [name for name, field in known.items() if field.required and name not in (*given, "ts")]
        if missing:
            msg = (
                f"source {self.topic}: expected where {', '.join(missing)} of {self.type} stands, got nothing"
            )
            raise ValueError(msg)
        for path in [*self.fields.values(), *self.where]:
            if path.startswith("$") and path not in _PLACES:
                msg = f"source {self.topic}: expected a path, $key or $timestamp, got {path}"
                raise ValueError(msg)
