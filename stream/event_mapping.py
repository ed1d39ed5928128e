"""What records or rows of others are: which event each becomes, and where its fields stand."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from stream.events import Click, Forget, Impression, ItemEvent

__all__ = ["ANYTHING", "EVENT_TYPES", "EventMapping", "paths_of", "said"]

EVENT_TYPES: dict[str, type[msgspec.Struct]] = {
    "impression": Impression,
    "click": Click,
    "item": ItemEvent,
    "forget": Forget,
}

ANYTHING = "*"
"""In `where`: something must stand there, whatever it is."""

_OBJECTS = ("context", "attributes", "item_context")
_Word = str | bool | int


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


class EventMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of event in the records or rows of others, and where its fields stand.

    Where one `item_id` is wanted and a list stands, each element is an event of its own; lists of the same
    length, in `where` too, go with it element by element.

    Example:
        >>> EventMapping("click", {"item_id": "sku", "user_id": "who", "ts": "at"}).time
        'ms'
    """

    places: ClassVar[tuple[str, ...]] = ()
    """What a path may name beside what stands in the record itself."""
    needs_ts: ClassVar[bool] = True
    """Whether a time must be mapped: a record may have one of its own."""

    type: Literal["impression", "click", "item", "forget"]
    """What they are."""
    fields: dict[str, str | dict[str, str]]
    """For each field of the event where its value stands: a name, or a dotted path like `product.id` (a
    number or `*` picks from a list: `products.*.id`). `context` and `attributes` may be a table of names and
    paths; `item_context` too, each path to a list that is parallel to `items`."""
    constants: dict[str, Any] = {}
    """Fields of the event that are always the same, such as `kind = "purchase"`."""
    where: dict[str, _Word | tuple[_Word, ...]] = {}
    """Path and the text, boolean or whole number that must stand there, whichever way it is written; a list
    of them: any; `"*"`: anything at all. What has something else is passed over."""
    time: Literal["ms", "s", "us", "ns", "iso"] = "ms"
    """Unit of times since 1970, or `iso` for text such as `2024-05-01T12:00:00Z`; without zone it is UTC."""
    separator: Annotated[str, Meta(min_length=1, max_length=16)] | None = None
    """What stands between the elements of a list that is written as text; without it such text is JSON."""

    @property
    def origin(self) -> str:
        """What a message about it begins with."""
        return ""

    @property
    def label(self) -> str:
        """Its type and `where`, as messages call it.

        Example:
            >>> fields = {"item_id": "sku", "user_id": "who", "ts": "at"}
            >>> EventMapping("click", fields, where={"ok": True, "what": ("a", "b")}).label
            'click where ok = true and what = a or b'
        """
        where = " and ".join(
            f"{path} = {' or '.join(str(said(one)) for one in _words(wanted))}"
            for path, wanted in self.where.items()
        )
        return self.type + (f" where {where}" if where else "")

    def __post_init__(self) -> None:
        known = {field.name: field for field in msgspec.structs.fields(EVENT_TYPES[self.type])}
        given = [*self.fields, *self.constants]
        for name in given:
            if name not in known:
                msg = f"{self.origin}expected fields of {self.type} ({', '.join(known)}), got {name}"
                raise ValueError(msg)
        if len(set(given)) != len(given):
            msg = f"{self.origin}expected each field in fields or in constants, got one in both"
            raise ValueError(msg)
        needed = [name for name, field in known.items() if field.required and (self.needs_ts or name != "ts")]
        if missing := [name for name in needed if name not in given]:
            msg = f"{self.origin}expected where {', '.join(missing)} of {self.type} stands, got nothing"
            raise ValueError(msg)
        for name, place in self.fields.items():
            if isinstance(place, dict) and (name not in _OBJECTS or not place):
                msg = (
                    f"{self.origin}expected one path for {name}, got a table; "
                    f"only {', '.join(_OBJECTS)} are made of several"
                )
                raise ValueError(msg)
        for path in paths_of(self):
            if path.startswith("$") and path not in self.places:
                expected = " or ".join(("a path", *self.places)).replace(" or ", ", ", len(self.places) - 1)
                msg = f"{self.origin}expected {expected}, got {path}"
                raise ValueError(msg)


def paths_of(mapping: EventMapping) -> list[str]:
    """Every path that it names, those of `where` first.

    Example:
        >>> fields = {"item_id": "sku", "ts": "at", "attributes": {"brand": "maker.name"}}
        >>> paths_of(EventMapping("item", fields, where={"kind": "product"}))
        ['kind', 'sku', 'at', 'maker.name']
    """
    paths = list(mapping.where)
    for place in mapping.fields.values():
        paths += place.values() if isinstance(place, dict) else [place]
    return paths


def _words(wanted: _Word | tuple[_Word, ...]) -> tuple[_Word, ...]:
    return wanted if isinstance(wanted, tuple) else (wanted,)
