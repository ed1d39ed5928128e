"""Rows of a team's own files as events, by a map; one row may be several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from freshet.feeding.csv_rows import csv_cells
from freshet.feeding.json_rows import json_rows
from freshet.feeding.map_findings import Head, NeverHeld, Source, column_of
from freshet.feeding.opening import Row, format_of
from freshet.feeding.parquet_rows import parquet_cells
from stream.codec import decode_events
from stream.errors import EventError
from stream.event_mapping import EventMapping, paths_of
from stream.mapped_events import NOTHING, Given, event_bodies, far_time, mapped_from, value_at

__all__ = ["MappedRows"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
# A row's list goes before the click on it, both at one time: what waits for a list has a limit.
_FIRST = {"item": 0, "impression": 1, "click": 2, "forget": 3}
_LONGEST_NAME = 160  # characters of the file's name in `$row`; an id has 256 bytes


class MappedRows:
    """The rows of one file, each as the events that the sources make of it.

    The events of a row come with its number, lists before clicks. A row of which one event cannot be is
    refused as a whole, for a click without its list would teach something else.

    Args:
        path: the file; its name gives the format, as without a map.
        sources: those that are for it.
    """

    n_rows: int
    """Rows of the file read so far."""
    n_refused: int
    """Those of them that are refused."""

    def __init__(self, path: Path, sources: Sequence[Source]) -> None:
        self._path = path
        # `sorted` keeps the order of those that are alike.
        self._sources = sorted(sources, key=lambda source: _FIRST[source.mapping.type])
        self._begin()

    def _begin(self) -> None:
        self.n_rows = self.n_refused = self._n_passed_over = 0
        self._never = {source.place: NeverHeld(source.mapping) for source in self._sources}
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
            self.n_rows += 1
            if isinstance(value, str):
                self.n_refused += 1
                yield Row(number, b"", reason=value)
                continue
            place = f"{self._path.name[-_LONGEST_NAME:]}:{number + 1}"
            yield from self._mapped(number, Given(value, {"$row": place}, is_text))

    def findings(self) -> list[str]:
        """What was seen, in sentences; nothing where every source found what it names."""
        found = []
        if not self.n_rows:
            return [f"{self._path.name} is empty: it holds no row"]
        if self._n_passed_over:
            found.append(
                f"{self._n_passed_over:,} of {self.n_rows:,} rows are none of the map's events: "
                "no `where` holds for them"
            )
        for place, mapping in self._sources:
            if not self._held[place]:
                never = self._never[place]
                if never.n_rows:  # none where another source refused all rows before it was asked
                    found.append(
                        f"{place}, {mapping.label}: held for none of {never.n_rows:,} rows; {never.why()}"
                    )
            elif unseen := sorted(self._unseen[place]):
                found.append(f"{place}, {mapping.label}: nothing stands at {', '.join(unseen)} in any row")
        return found

    def _mapped(self, number: int, given: Given) -> list[Row]:
        rows = []
        for place, mapping in self._sources:
            try:
                bodies = event_bodies(mapping, given)
                rows += [Row(number, self._checked(mapping, given, body)) for body in bodies]
            except EventError as error:
                self.n_refused += 1
                self._saw(place, given)
                return [Row(number, b"", reason=f"{error}; by {place}, {mapping.label}")]
            if bodies:
                self._saw(place, given)
            elif not self._held[place]:
                self._never[place].passed(given)
        self._n_passed_over += not rows
        return rows

    def _saw(self, place: str, given: Given) -> None:
        self._held[place] += 1
        if unseen := self._unseen[place]:
            unseen.difference_update(
                [path for path in unseen if value_at(given, path) not in (NOTHING, None)]
            )

    @staticmethod
    def _checked(mapping: EventMapping, given: Given, body: dict[str, Any]) -> bytes:
        raw = _encode(body)
        decoded = decode_events(raw, ndjson=True)
        if decoded.rejected:
            reason = decoded.rejected[0].reason
            if "milliseconds expected" in reason and (far := far_time(mapping, given, reason.split(":")[0])):
                raise EventError(far)
            raise EventError(mapped_from(mapping, reason) + _advice(mapping, reason))
        return raw

    def _cells(self) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
        kind = format_of(self._path)
        if kind == "csv":
            yield from csv_cells(self._path, lambda _path, names: self._wanted(names))
        elif kind == "parquet":
            yield from enumerate(parquet_cells(self._path, self._wanted))
        else:
            rows = (
                (row.number, _object(row.body) if row.reason is None else row.reason, len(row.body))
                for row in json_rows(self._path)
            )
            head = Head(rows)
            head.check(self._path, self._sources)
            for number, value, _ in chain(head.rows, rows):
                yield number, value

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
                column = column_of(path, names)
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


def _object(body: bytes) -> Mapping[str, Any] | str:
    value = _decode(body)
    if isinstance(value, dict):
        return value
    return f"row: expected a JSON object, got {type(value).__name__}"


def _advice(mapping: EventMapping, reason: str) -> str:
    """What to write into the map."""
    if reason.startswith("items: expected distinct ids"):
        return "; keep the first, and take the others out of the list and of those beside it"
    name, _, rest = reason.partition(": ")
    path = mapping.fields.get(name)
    if rest.startswith("required, but missing") and isinstance(path, str) and path not in mapping.places:
        return f'; where = {{ "{path}" = "*" }} passes over rows without it'
    return ""
