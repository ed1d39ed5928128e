"""Why a map does not fit a file: columns that no row has, and sources that hold for none."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from stream.errors import EventError
from stream.event_mapping import EVENT_TYPES, EventMapping, paths_of
from stream.fields import shown
from stream.mapped_events import NOTHING, Given, holds_at, value_at

__all__ = ["Head", "NeverHeld", "Source", "column_of"]

_HEAD_ROWS = 1_000
_HEAD_BYTES = 16 << 20
_MOST_VALUES = 3
# Closer than for columns of CSV: a row of JSON may leave out what is not there, so `order_id` may come later.
_CLOSE = 0.8


class Source(NamedTuple):
    """One source of a map, and what it is called in messages: where it stands."""

    place: str
    mapping: EventMapping


class NeverHeld:
    """What rows have at the paths of a `where` that holds for none of them.

    Example:
        >>> fields = {"user_id": "who", "item_id": "sku", "ts": "at"}
        >>> never = NeverHeld(EventMapping("click", fields, where={"did": "bye", "ok": True}))
        >>> for did in ("buy", 7):
        ...     never.passed(Given({"did": did, "ok": True}, {}))
        >>> never.why()
        'at did stands "buy", 7'
    """

    def __init__(self, mapping: EventMapping) -> None:
        self._mapping = mapping
        self.n_rows = 0
        self._seen: dict[str, dict[str, None]] = {path: {} for path in mapping.where}
        self._never = set(mapping.where)

    def passed(self, given: Given) -> None:
        """A row that it does not hold for."""
        self.n_rows += 1
        for path in list(self._never):
            if holds_at(self._mapping, given, path):
                self._never.discard(path)
            elif len(self._seen[path]) < _MOST_VALUES:
                value = value_at(given, path)
                if value is not NOTHING and value is not None:
                    self._seen[path][shown(value)] = None

    def why(self) -> str:
        """The values seen where none was wanted, the first three of each."""
        if not self._seen:
            return "there is no item in any"
        said = [
            f"at {path} stands {', '.join(seen) or 'nothing in any row'}"
            for path, seen in self._seen.items()
            if path in self._never
        ]
        return "; ".join(said) or "each part of `where` holds for some, all of them for none"


class Head:
    """The first rows of a file whose rows name their own columns, to see which there are.

    Args:
        rows: each as its number, its value or why there is none, and its length; the first are taken.
    """

    def __init__(self, rows: Iterator[tuple[int, Mapping[str, Any] | str, int]]) -> None:
        self.rows: list[tuple[int, Mapping[str, Any] | str, int]] = []
        size = 0
        self.is_all = True
        for row in rows:
            self.rows.append(row)
            size += row[2]
            if len(self.rows) == _HEAD_ROWS or size > _HEAD_BYTES:
                self.is_all = False
                break

    def check(self, path: Path, sources: Sequence[Source]) -> None:
        """Look for the columns without which a source has no event.

        One that no row has is a slip where another is named almost so, which the map does not name or which
        stands in rows of that source; and a field's, where the whole file is at hand and the source holds for
        rows of it. Else it may come later, or be of events that are not in this file.

        Raises:
            EventError: a column is named that no row has.
        """
        values = [value for _, value, _ in self.rows if not isinstance(value, str)]
        names = list(dict.fromkeys(name for value in values for name in value))
        mapped = {column_of(each, names) for source in sources for each in paths_of(source.mapping)}
        others = [name for name in names if name not in mapped]
        for place, mapping in sources:
            for wanted in _needed(mapping):
                if not values or column_of(wanted, names) is not None:
                    continue
                near = get_close_matches(wanted, names, n=1, cutoff=_CLOSE)
                is_sure = bool(near) or (self.is_all and wanted not in mapping.where)
                is_other = bool(near) and near[0] in others
                if not is_other and not (is_sure and _would_hold(mapping, values, wanted)):
                    continue
                rows = "no row has" if self.is_all else f"none of the first {len(self.rows):,} rows has"
                meant = f'did you mean "{near[0]}"?' if near else f"they have {', '.join(names[:40])}"
                msg = f'{path}: {place} of the map, {mapping.label}: {rows} "{wanted}"; {meant}'
                raise EventError(msg)


def _needed(mapping: EventMapping) -> list[str]:
    """The paths of `where` and of the fields that every event must have."""
    required = [field.name for field in msgspec.structs.fields(EVENT_TYPES[mapping.type]) if field.required]
    places = [mapping.fields.get(name) for name in required]
    paths = [*mapping.where, *(place for place in places if isinstance(place, str))]
    return [path for path in paths if path not in mapping.places]


def _would_hold(mapping: EventMapping, values: Sequence[Mapping[str, Any]], without: str) -> bool:
    """Whether a source holds for one of the rows, whatever stands at one path."""
    paths = [path for path in mapping.where if path != without]
    return any(all(holds_at(mapping, Given(value, {}), path) for path in paths) for value in values)


def column_of(path: str, names: Collection[str]) -> str | None:
    """The column that a path leads to or through, the longest name first.

    Example:
        >>> column_of("a.b.c", ["a", "a.b"]), column_of("b", ["a"])
        ('a.b', None)
    """
    steps = path.split(".")
    ways = (".".join(steps[:n]) for n in range(len(steps), 0, -1))
    return next((way for way in ways if way in names), None)
