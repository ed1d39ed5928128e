"""Columns that all rows of a part share: a row of `control` for each share of them, and their sum again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bandits import PolicyError
from learners.errors import LearnerError
from learners.part import Column, Columns, Part, check_columns, with_arrays
from learning.rows.checks import SAME_SETTINGS
from learning.rows.codec import encode_control
from stream.columns import are_finite
from stream.engine.shard import Output
from stream.errors import FrameError
from stream.frame import Frame

__all__ = ["SharedFrames", "SharedRows", "merged_shares", "shared_key"]

_KEY = "part/"
_ONE_ROW = np.zeros(1, np.int32)


def shared_key(part: str, step: str, partition: int | str) -> str:
    """The key in `control` of the share that a shard has of a part's columns.

    Example:
        >>> shared_key("lin_ucb", "items", 2)
        'part/lin_ucb/items/2'
    """
    return f"{_KEY}{part}/{step}/{partition}"


class SharedRows:
    """What a shard publishes of shared columns: its share of those that are sums; of others only partition 0.

    Args:
        parts: by the name that they have in rows.
        step: what learns them, so that no key has two writers.
        partition: number of the shard.

    Example:
        >>> from bandits import LinUcb
        >>> policy = LinUcb(2)
        >>> rows = SharedRows({"lin_ucb": policy}, "items", 3)
        >>> rows.take()
        []
    """

    def __init__(self, parts: Mapping[str, Part], step: str, partition: int) -> None:
        self._parts = {name: part for name, part in parts.items() if "shared" in part.spec.sides}
        self._step, self._partition = step, partition

    def take(self) -> list[Output]:
        """Rows of the parts that have changed since the last call."""
        outputs = []
        for name, part in self._parts.items():
            if not part.touched("shared").size:
                continue
            mine = [c for c in part.spec.sides["shared"] if c.merge != "owner" or self._partition == 0]
            columns = part.export("shared", _ONE_ROW)
            state = {"part": name, "columns": {column.name: columns[column.name] for column in mine}}
            if not mine:
                continue
            key = shared_key(name, self._step, self._partition)
            outputs.append(Output("control", 0, encode_control("part", state), key.encode()))
        return outputs


class SharedFrames:
    """What a follower has of shared columns: every share by its key; grows with partitions and parts.

    Args:
        parts: by the name that they have in rows; they only say what fits.
        keys: their names in frames, where these differ.
    """

    def __init__(self, parts: Mapping[str, Part], keys: Mapping[str, str]) -> None:
        self._parts = {name: part for name, part in parts.items() if "shared" in part.spec.sides}
        self._columns = {name: part.spec.sides["shared"] for name, part in self._parts.items()}
        self._keys = keys
        self._shares: dict[str, tuple[str, Columns]] = {}
        self._changed: set[str] = set()
        self.unknown: set[str] = set()
        """Names of parts that rows have told of and that are not configured here."""
        self.misfits: dict[str, tuple[str, str]] = {}
        """By key of a share the part whose settings differ in it, and how; replaced, never changed."""

    def put(self, key: str, state: Frame) -> None:
        """Take note of the newest row of a share.

        Raises:
            FrameError: it does not fit the part, or holds what is no finite number.
        """
        name, came = str(state["part"]), state["columns"]
        if key != name and not key.startswith(f"{_KEY}{name}/"):
            msg = f"the row is of {name!r}; another program has written here"
            raise FrameError(msg)
        columns = self._columns.get(name)
        if columns is None:
            self.unknown.add(name)
            return
        if not came.keys() & {column.name for column in columns}:
            msg = f"{name}: expected {', '.join(column.name for column in columns)}, the row has none of them"
            raise FrameError(msg)
        self._shares[key] = name, self._checked(key, name, columns, came)
        self._changed.add(name)
        self._excuse(key)

    def _excuse(self, key: str) -> None:
        if key in self.misfits:
            self.misfits = {other: told for other, told in self.misfits.items() if other != key}

    def _checked(self, key: str, name: str, columns: tuple[Column, ...], came: Frame) -> Columns:
        """The share in a row: all sums, and all that has one owner or nothing of it.

        Of sums by key some may be missing: a program of before had less of them.
        """
        is_owner = any(column.merge == "owner" and column.name in came for column in columns)
        keyed = {column.ragged for column in columns if column.merge == "key"}
        not_here = {c.name for c in columns if c.merge == "sum" and c.ragged in keyed} - came.keys()
        mine = tuple(c for c in columns if (is_owner or c.merge != "owner") and c.name not in not_here)
        came = with_arrays(mine, came)
        try:
            check_columns(mine, 1, came, shared=True)
            if len(mine) == len(columns):
                self._parts[name].check_shared(came)
        except (LearnerError, PolicyError) as error:
            self.misfits = {**self.misfits, key: (name, f"{error}; {SAME_SETTINGS}")}
            msg = f"{name}: {error}; {SAME_SETTINGS}"
            raise FrameError(msg) from error
        found = {column.name: came[column.name] for column in mine}
        _check_keyed(name, mine, found)
        if not are_finite(*(array for array in found.values() if array.dtype.kind == "f")):
            msg = f"{name}: a shared column holds what is no finite number"
            raise FrameError(msg)
        return found

    def drop(self, key: str) -> None:
        """A share is gone."""
        name, _ = self._shares.pop(key, ("", {}))
        self._changed |= {name} & self._columns.keys()
        self._excuse(key)

    def take(self) -> Frame:
        """Changes of every part of which a share has come since the last call."""
        frame: Frame = {}
        for name in sorted(self._changed):
            shares = self._shares_of(name)
            merged = merged_shares(self._columns[name], shares)
            if all(array is not None for array in merged.values()):
                frame[self._keys.get(name, name)] = {"shared": {"rows": _ONE_ROW, **merged}}
        self._changed = set()
        return frame

    def _shares_of(self, name: str) -> list[Columns]:
        """In the order of their keys; a row under the name alone is of a program of before."""
        keys = sorted(self._shares, key=lambda key: (not key.startswith(_KEY), key))
        return [self._shares[key][1] for key in keys if self._shares[key][0] == name]

    def snapshot(self) -> Frame:
        """Every share."""
        return {key: {"part": name, "columns": columns} for key, (name, columns) in self._shares.items()}

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self._shares = {key: (share["part"], share["columns"]) for key, share in frame.items()}
        self._changed = set()


def merged_shares(columns: Sequence[Column], shares: Sequence[Columns]) -> dict[str, npt.NDArray[Any] | None]:
    """The columns of all shares as one: sums added, in the order of the shares so that every follower has the
    same bits, of others what the first says; None for what nobody has said.

    Example:
        >>> hours = Column("hour", "i4", ("hours",), merge="key")
        >>> clicks = Column("n", "i8", ("hours",), merge="sum")
        >>> shares = [{"hour": np.array([7, 9]), "n": np.array([1, 2])}]
        >>> shares += [{"hour": np.array([9]), "n": np.array([5])}]
        >>> {name: array.tolist() for name, array in merged_shares((hours, clicks), shares).items()}
        {'hour': [7, 9], 'n': [1, 7]}
    """
    keys = {column.ragged: column.name for column in columns if column.merge == "key"}
    merged: dict[str, npt.NDArray[Any] | None] = {}
    for column in columns:
        key = keys.get(column.ragged)
        if key is None:
            merged[column.name] = _merged(column, shares)
    for dimension, key in keys.items():
        mine = [column for column in columns if column.ragged == dimension]
        merged |= _merged_by(key, mine, [share for share in shares if key in share])
    return merged


def _merged(column: Column, shares: Sequence[Columns]) -> npt.NDArray[Any] | None:
    found = [share[column.name] for share in shares if column.name in share]
    if not found:
        return None
    if column.merge == "owner":
        return found[0]
    summed: npt.NDArray[Any] = np.sum(found, axis=0, dtype=found[0].dtype)
    return summed


def _merged_by(
    key: str, columns: Sequence[Column], shares: Sequence[Columns]
) -> dict[str, npt.NDArray[Any] | None]:
    """Tables as one: a row for each key, in their order; a share without a column adds nothing to it."""
    if not shares:
        return {column.name: None for column in columns}
    keys, at = np.unique(np.concatenate([share[key] for share in shares]), axis=0, return_inverse=True)
    ends = np.cumsum([len(share[key]) for share in shares])
    merged: dict[str, npt.NDArray[Any] | None] = {}
    for column in columns:
        rest: tuple[Any, ...] = column.shape[1:]
        total = np.zeros((len(keys), *rest), column.dtype)
        for share, rows in zip(shares, np.split(at.ravel(), ends[:-1]), strict=True):
            if column.name in share:
                np.add.at(total, rows, share[column.name])
        merged[column.name] = keys if column.name == key else total
    return merged


def _check_keyed(name: str, columns: Sequence[Column], came: Columns) -> None:
    """That the columns of a table are of one length.

    Raises:
        FrameError: they are not, or its key is not there.
    """
    for key in (column for column in columns if column.merge == "key"):
        lengths = {len(came[column.name]) for column in columns if column.ragged == key.ragged}
        if len(lengths) != 1:
            msg = f"{name}: columns of {key.ragged!r} differ in length: {sorted(lengths)}"
            raise FrameError(msg)
