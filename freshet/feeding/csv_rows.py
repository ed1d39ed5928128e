"""Rows of CSV files: one bad row costs that row, whatever is wrong with it."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from freshet.feeding.opening import MAX_ROW_BYTES, Row, opened
from stream.errors import EventError
from stream.fields import FIELDS, convert

__all__ = ["csv_cells", "csv_rows"]

Check = Callable[[Path, list[str]], object]


def csv_rows(path: Path, default_type: str | None) -> Iterator[Row]:
    """Every row but empty lines. All cells are text, converted by the field of their column; only the empty
    cell is a missing one.

    Raises:
        EventError: the first line names no columns, or one twice.
    """
    for number, names, cells in _table(path, _check_fields):
        if isinstance(cells, str):
            yield Row(number, b"", reason=cells)
        else:
            yield _row(number, names, cells, default_type)


def csv_cells(path: Path, check: Check) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Every row but empty lines as it stands, by the names of the first line, without its empty cells; or why
    it cannot be read. `check` hears the names first.

    Raises:
        EventError: the first line names no columns, or what `check` raises.
    """
    for number, names, cells in _table(path, check):
        if isinstance(cells, str):
            yield number, cells
        elif (reason := _unreadable(names, cells)) is not None:
            yield number, reason
        else:
            yield number, {name: cell for name, cell in zip(names, cells, strict=True) if cell and name}


def _table(path: Path, check: Check) -> Iterator[tuple[int, list[str], list[str] | str]]:
    with opened(path) as file:
        text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
        lines = _Lines(text)
        header = next(_records(lines, None), None)
        names = _names(path, header, check)
        for number, cells in enumerate(_records(lines, len(names))):
            yield number, names, cells
        text.detach()


def _names(path: Path, header: list[str] | str | None, check: Check) -> list[str]:
    if header is None:
        msg = f"{path} cannot be read: expected a first line with the names of columns, got nothing"
        raise EventError(msg)
    if isinstance(header, str):
        msg = f"{path} cannot be read: expected a first line with the names of columns, got {header}"
        raise EventError(msg)
    names = [name.strip() for name in header]
    check(path, names)
    return names


def _check_fields(path: Path, names: list[str]) -> None:
    twice = [name for name in names if name in FIELDS and names.count(name) > 1]
    if twice:
        msg = f"{path} cannot be read: expected each column once, got {twice[0]} twice"
        raise EventError(msg)
    if not any(name in FIELDS for name in names):
        msg = (
            f"{path} cannot be read: expected a first line with names of fields, such as ts and item_id, "
            f"separated by commas; got {ascii(','.join(names))[:80]}; names of your own: --map FILE"
        )
        raise EventError(msg)


def _row(number: int, names: list[str], cells: list[str], default_type: str | None) -> Row:
    event: dict[str, object] = {}
    try:
        for name, cell in zip(names, cells, strict=True):
            if cell and name:
                event[name] = convert(name, cell)
        if default_type is not None:
            event.setdefault("type", default_type)
        return Row(number, msgspec.json.encode(event))
    except EventError as error:
        return Row(number, b"", reason=_unreadable(names, cells) or str(error))
    except UnicodeEncodeError:
        return Row(number, b"", reason=_unreadable(names, cells))


def _unreadable(names: list[str], cells: list[str]) -> str | None:
    for name, cell in zip(names, cells, strict=True):
        if not cell.isascii():
            try:
                cell.encode()
            except UnicodeEncodeError:
                came = cell.encode("utf-8", "surrogateescape")[:60]
                return f"{name}: expected UTF-8, got {came!r}; save the file as UTF-8"
    return None


class _Lines:
    """Lines, the last ones of which can be given back; a line that is too long is cut.

    `taken` holds what was read since it was emptied, at most a line more than `MAX_ROW_BYTES`.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self.taken: list[str] = []
        self._size = 0
        self.is_cut = False

    def begin(self) -> None:
        self.taken, self._size, self.is_cut = [], 0, False

    def give_back(self, keep: int) -> None:
        self._again.extendleft(reversed(self.taken[keep:]))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._text.readline(MAX_ROW_BYTES)
        if not line:
            raise StopIteration
        self.taken.append(line)
        self._size += len(line)
        if self._size > MAX_ROW_BYTES or len(line) == MAX_ROW_BYTES:
            self._pass_over(line)
        return line

    def _pass_over(self, line: str) -> None:
        while len(line) == MAX_ROW_BYTES and not line.endswith(("\n", "\r")):
            line = self._text.readline(MAX_ROW_BYTES)
        self.is_cut = True
        raise csv.Error


def _records(lines: _Lines, n_cells: int | None) -> Iterator[list[str] | str]:
    """Cells of each record, or why there are none; without `n_cells` any number is right.

    A quote that is not closed takes the lines behind it into its cell. So where a record of several lines is
    wrong, only its first line is, and the others are read again.
    """
    csv.field_size_limit(MAX_ROW_BYTES)
    reader = csv.reader(lines, strict=True)
    while True:
        lines.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lines.give_back(1)
            said = "a quote that is not closed" if "end of data" in str(error) else str(error)
            if lines.is_cut:
                said = "a longer one, or a quote that is not closed"
            reader = csv.reader(lines, strict=True)
            yield f"row: expected cells of CSV in at most {MAX_ROW_BYTES} bytes, got {said}"
            continue
        if not cells:
            continue
        if n_cells is None or len(cells) == n_cells:
            yield cells
            continue
        if len(lines.taken) > 1 and _fits(lines.taken[1], n_cells):
            lines.give_back(1)
        yield f"row: expected {n_cells} cells, as many as names in the first line, got {len(cells)}"


def _fits(line: str, n_cells: int) -> bool:
    try:
        return len(next(csv.reader([line], strict=True))) == n_cells
    except (csv.Error, StopIteration):
        return False
