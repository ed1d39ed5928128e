"""Files on their way: their rows in order, several as one sequence, and how far each has come."""

from __future__ import annotations

import heapq
import itertools
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Protocol

from freshet.feeding.map_file import FileMap
from freshet.feeding.order import InOrder, Timed
from freshet.feeding.readers import Row, count_rows, read_rows
from freshet.feeding.sender import Refused, resume_path
from stream.errors import EventError

__all__ = ["FedFile", "FedRows", "Feedable", "merged", "note_sent"]

_log = logging.getLogger(__name__)


class Feedable(Protocol):
    """Rows with a name."""

    name: str
    start: int
    broken: str

    @property
    def total(self) -> int | None:
        """How many rows there are, where that is known."""

    def rows(self) -> Iterator[Timed]:
        """The rows that are still to be sent."""

    def sent(self, count: int) -> None:
        """So many more are certainly on the other side."""

    def finish(self) -> list[str]:
        """All are; what was seen in them, in sentences."""

    def left_out(self) -> list[Refused]:
        """Rows that were not given, once all others were."""


class FedRows:
    """Rows that came along, to try things with."""

    def __init__(self, name: str, rows: Iterable[Row], total: int | None = None) -> None:
        self.name, self.start, self.total, self.broken = name, 0, total, ""
        self._rows = rows

    def rows(self) -> Iterator[Timed]:
        """All rows, by their own times."""
        for timed in InOrder().sort(self._rows):
            yield timed._replace(row=timed.row._replace(file=self.name))

    def sent(self, count: int) -> None:
        """Nothing is remembered."""

    def finish(self) -> list[str]:
        """That they are for trying things."""
        return ["it ends now, and history older than that is refused from now on: load your own elsewhere"]

    def left_out(self) -> list[Refused]:
        """None."""
        return []


class FedFile:
    """One file; what has been sent of it is remembered in a small file beside it.

    History is put in order (`InOrder`), which is the same at every run, so the memory is a number of rows.

    Args:
        history: whether it goes to that stream; else rows go as they stand, one after the other.
        restart: ignore where an earlier run stopped.
        file_map: what its rows are, where they are not events themselves.
    """

    def __init__(
        self,
        path: Path,
        default_type: str | None,
        *,
        history: bool,
        restart: bool,
        file_map: FileMap | None = None,
    ) -> None:
        self.name, self._path, self._default_type = str(path), path, default_type
        self._order = InOrder() if history else None
        self._memory = resume_path(path)
        stat = path.stat()
        self._mark: dict[str, int] = {"size": stat.st_size, "mtime": stat.st_mtime_ns}
        if history:
            self._mark["ordered"] = 1
        self._mapped = None if file_map is None else file_map.of(path)
        if file_map is not None:
            self._mark["map"] = file_map.digest
        # A pipe is read once.
        self._writes = path.is_file()
        self.start = self._resume_from() if self._writes and not restart else 0
        self._sent = self.start
        self.broken = ""
        """Why it could not be read to its end, and how far it was; what came before that is given."""

    @property
    def total(self) -> int | None:
        """How many rows there are, where the format says it."""
        try:
            return None if self._mapped is not None else count_rows(self._path)
        except EventError:
            return None  # reading the rows says what is wrong

    def rows(self) -> Iterator[Timed]:
        """The rows that are still to be sent, in the order in which they go."""
        if self._order is None:
            for row in self._read(self.start):
                yield Timed(0, row._replace(file=self.name))
            return
        ordered = self._order.sort(self._read(0))
        for timed in itertools.islice(ordered, self.start, None):
            yield timed._replace(row=timed.row._replace(file=self.name))

    def _read(self, skip: int) -> Iterator[Row]:
        try:
            if self._mapped is None:
                yield from read_rows(self._path, self._default_type, skip=skip)
            else:
                # One row of the file may be several here.
                yield from itertools.islice(read_rows(self._path, mapped=self._mapped), skip, None)
        except EventError as error:
            self.broken = str(error)

    def sent(self, count: int) -> None:
        """Remember that so many more are on the other side; where that cannot be kept, say so and go on."""
        self._sent += count
        if not self._writes:
            return
        try:
            self._memory.write_text(json.dumps({**self._mark, "next": self._sent}), "utf-8")
        except OSError as error:
            self._writes = False
            _log.warning(
                "%s cannot be written (%s): a run that is interrupted begins again", self._memory, error
            )

    def finish(self) -> list[str]:
        """All is sent: forget how far it came; what was seen in the file."""
        if self._writes and not self.broken:
            self._memory.unlink(missing_ok=True)
        seen = [] if self._order is None else self._order.findings()
        return seen if self._mapped is None else [*seen, *self._mapped.findings()]

    def left_out(self) -> list[Refused]:
        """Rows behind a jump at the end of the file."""
        jumped = [] if self._order is None else self._order.jumped
        return [Refused(row.number, "ts: far behind all other rows of the file", self.name) for row in jumped]

    def _resume_from(self) -> int:
        try:
            kept = json.loads(self._memory.read_text("utf-8"))
            return int(kept["next"]) if {key: kept[key] for key in self._mark} == self._mark else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0


def merged(sources: Sequence[Feedable]) -> Iterator[Row]:
    """The rows of all sources by their times; those of one source stay in its order.

    Example:
        >>> a = FedRows("a", [Row(0, b'{"ts": 5}'), Row(1, b'{"ts": 9}')])
        >>> b = FedRows("b", [Row(0, b'{"ts": 7}')])
        >>> [(row.file, row.number) for row in merged([a, b])]
        [('a', 0), ('b', 0), ('a', 1)]
    """
    for timed in heapq.merge(*(source.rows() for source in sources), key=attrgetter("ts")):
        yield timed.row


def note_sent(sources: Sequence[Feedable], rows: list[Row]) -> None:
    """Tell each source how many of these rows were its own."""
    counts = Counter(row.file for row in rows)
    for source in sources:
        if counts[source.name]:
            source.sent(counts[source.name])
