"""Rows of a team's own files as events, by a map; one row may be several."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from freshet.feeding.csv_rows import csv_cells
from freshet.feeding.json_rows import json_rows
from freshet.feeding.opening import Row, format_of
from freshet.feeding.parquet_rows import parquet_cells
from stream.codec import decode_events
from stream.errors import EventError
from stream.event_mapping import EventMapping, paths_of
from stream.mapped_events import NOTHING, Given, event_bodies, mapped_from, value_at

__all__ = ["MappedRows", "Source"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
# A row's list goes before the click on it, both at one time: what waits for a list has a limit.
_FIRST = {"item": 0, "impression": 1, "click": 2, "forget": 3}
_UNITS = {"seconds": "s", "microseconds": "us", "nanoseconds": "ns"}
_LONGEST_NAME = 160  # characters of the file's name in `$row`; an id has 256 bytes


class Source(NamedTuple):
    """One source of a map, and what it is called in messages: where it stands."""

    place: str
    mapping: EventMapping


class MappedRows:
    """The rows of one file, each as the events that the sources make of it.

    The events of a row come with its number, lists before clicks. A row of which one event cannot be is
    refused as a whole, for a click without its list would teach something else.

    Args:
        path: the file; its name gives the format, as without a map.
        sources: those that are for it.
    """

    def __init__(self, path: Path, sources: Sequence[Source]) -> None:
        self._path = path
        # `sorted` keeps the order of those that are alike.
        self._sources = sorted(sources, key=lambda source: _FIRST[source.mapping.type])
        self._begin()

    def _begin(self) -> None:
        self._n_rows = self._n_passed_over = 0
        self._held = dict.fromkeys((source.place for source in self._sources), 0)
        self._unseen = {source.place: set(paths_of(source.mapping)) for source in self._sources}

    def rows(self) -> Iterator[Row]:
        """All events, from the beginning.

        Raises:
            EventError: a column is not there, or the file cannot be read.
        """
        self._begin()
        is_text = format_of(self._path) == "csv"
        for number, value in self._cells():
            self._n_rows += 1
            if isinstance(value, str):
                yield Row(number, b"", reason=value)
                continue
            place = f"{self._path.name[-_LONGEST_NAME:]}:{number + 1}"
            yield from self._mapped(number, Given(value, {"$row": place}, is_text))

    def findings(self) -> list[str]:
        """What was seen, in sentences; nothing where every source found what it names."""
        found = []
        if self._n_passed_over:
            found.append(
                f"{self._n_passed_over:,} of {self._n_rows:,} rows are none of the map's events: "
                "no `where` holds for them"
            )
        for place, mapping in self._sources:
            if not self._held[place]:
                found.append(
                    f"{place}, {mapping.label}: held for none of {self._n_rows:,} rows; is it meant so?"
                )
            elif unseen := sorted(self._unseen[place]):
                found.append(f"{place}, {mapping.label}: nothing stands at {', '.join(unseen)} in any row")
        return found

    def _mapped(self, number: int, given: Given) -> list[Row]:
        rows = []
        for place, mapping in self._sources:
            try:
                bodies = event_bodies(mapping, given)
                rows += [Row(number, self._checked(mapping, body)) for body in bodies]
            except EventError as error:
                return [Row(number, b"", reason=f"{error}; by {place}, {mapping.label}")]
            if bodies:
                self._held[place] += 1
                if unseen := self._unseen[place]:
                    seen = [path for path in unseen if value_at(given, path) not in (NOTHING, None)]
                    unseen.difference_update(seen)
        self._n_passed_over += not rows
        return rows

    @staticmethod
    def _checked(mapping: EventMapping, body: dict[str, Any]) -> bytes:
        raw = _encode(body)
        decoded = decode_events(raw, ndjson=True)
        if decoded.rejected:
            reason = decoded.rejected[0].reason
            raise EventError(mapped_from(mapping, reason) + _advice(mapping, reason))
        return raw

    def _cells(self) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
        kind = format_of(self._path)
        if kind == "csv":
            yield from csv_cells(self._path, lambda _path, names: self._wanted(names))
        elif kind == "parquet":
            yield from enumerate(parquet_cells(self._path, self._wanted))
        else:
            for row in json_rows(self._path):
                yield row.number, row.reason if row.reason is not None else _object(row.body)

    def _wanted(self, names: list[str]) -> list[str]:
        """The columns that paths lead to or through.

        Raises:
            EventError: there is no such column, or two.
        """
        wanted: dict[str, None] = {}
        for place, mapping in self._sources:
            for path in paths_of(mapping):
                if path in mapping.places:
                    continue
                column = next((name for name in _ways(path) if name in names), None)
                if column is None:
                    near = get_close_matches(path, names, n=1)
                    meant = f"; did you mean {near[0]}?" if near else ""
                    msg = (
                        f"{self._path}: {place} of the map names {path}; expected a column of the file "
                        f"({', '.join(names[:40])}), got none of that name{meant}"
                    )
                    raise EventError(msg)
                if names.count(column) > 1:
                    msg = f"{self._path} cannot be read: expected each column once, got {column} twice"
                    raise EventError(msg)
                wanted[column] = None
        return list(wanted)


def _ways(path: str) -> list[str]:
    """A path and what it goes through first, the longest name first: `a.b.c`, `a.b`, `a`."""
    steps = path.split(".")
    return [".".join(steps[:n]) for n in range(len(steps), 0, -1)]


def _object(body: bytes) -> Mapping[str, Any] | str:
    value = _decode(body)
    if isinstance(value, dict):
        return value
    return f"row: expected a JSON object, got {type(value).__name__}"


def _advice(mapping: EventMapping, reason: str) -> str:
    """What to write into the map."""
    if unit := re.search(r"this looks like (\w+):", reason):
        return f'; write time = "{_UNITS[unit[1]]}"'
    name, _, rest = reason.partition(": ")
    path = mapping.fields.get(name)
    if rest.startswith("required, but missing") and isinstance(path, str) and path not in mapping.places:
        return f'; where = {{ "{path}" = "*" }} passes over rows without it'
    return ""
