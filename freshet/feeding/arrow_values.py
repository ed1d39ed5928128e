"""Arrow arrays as Python values, of every type and depth, without pandas.

Moments become `datetime` in UTC whatever their unit, cut to microseconds; what has no plain value (times of
day, durations) becomes text.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

__all__ = ["values_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = {"s": (1_000_000, 1), "ms": (1_000, 1), "us": (1, 1), "ns": (1, 1_000)}


def values_of(array: pa.Array) -> list[Any]:
    """One value for each row; None where there is none.

    Raises:
        pyarrow.ArrowException: of a type that has no values here.

    Example:
        >>> [moment] = values_of(pa.array([1_700_000_000_000_000_001], pa.timestamp("ns", "Europe/Oslo")))
        >>> moment.isoformat()
        '2023-11-14T22:13:20+00:00'
        >>> values_of(pa.array(["a", "b", "a"]).dictionary_encode())
        ['a', 'b', 'a']
    """
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        stored = values_of(array.storage)
        if kind.extension_name != "arrow.uuid":
            return stored
        return [None if one is None else UUID(bytes=one) for one in stored]
    if pt.is_temporal(kind):
        return _times(array)
    if pt.is_dictionary(kind):
        return values_of(array.dictionary_decode())
    if pt.is_string(kind) or pt.is_large_string(kind):
        return _texts(array)
    if pt.is_float16(kind):
        return values_of(array.cast(pa.float32()))
    if pt.is_nested(kind) and not pt.is_union(kind):
        return _nested(array)
    found: list[Any] = array.to_pylist()
    return found


def _times(array: pa.Array) -> list[Any]:
    kind = array.type
    if pt.is_date(kind):
        return _times(array.cast(pa.timestamp("ms" if pt.is_date64(kind) else "s")))
    if not pt.is_timestamp(kind):
        numbers = array.cast(pa.int32() if pt.is_time32(kind) else pa.int64()).to_pylist()
        return [None if n is None else f"{n} {kind.unit}" for n in numbers]
    times, over = _US[kind.unit]
    numbers = array.cast(pa.int64()).to_pylist()
    return [None if n is None else _moment(n * times // over) for n in numbers]


def _moment(us: int) -> datetime | str:
    try:
        return _EPOCH + timedelta(microseconds=us)
    except OverflowError:
        return f"{us} microseconds"  # beyond the year 9999


def _texts(array: pa.Array) -> list[Any]:
    try:
        found: list[Any] = array.to_pylist()
    except UnicodeDecodeError:
        # The type promises UTF-8 and nobody has looked; whoever takes a value says what is wrong with it.
        wide = pa.large_binary() if pt.is_large_string(array.type) else pa.binary()
        found = array.cast(wide).to_pylist()
    return found


def _nested(array: pa.Array) -> list[Any]:
    kind, valid = array.type, array.is_valid().to_pylist()
    if pt.is_struct(kind):
        names = [field.name for field in kind]
        columns = [values_of(column) for column in array.flatten()]
        rows = zip(*columns, strict=True) if columns else ((),) * len(array)
        return [
            dict(zip(names, row, strict=True)) if there else None
            for there, row in zip(valid, rows, strict=True)
        ]
    if pt.is_map(kind):
        keys, items = values_of(array.keys), values_of(array.items)
        spans = pairwise(array.offsets.to_pylist())
        return [
            dict(zip(keys[a:b], items[a:b], strict=True)) if there else None
            for there, (a, b) in zip(valid, spans, strict=True)
        ]
    flat = values_of(array.flatten())
    sizes = [size or 0 for size in pc.list_value_length(array).to_pylist()]
    ends = pairwise(accumulate(sizes, initial=0))
    return [flat[a:b] if there else None for there, (a, b) in zip(valid, ends, strict=True)]
