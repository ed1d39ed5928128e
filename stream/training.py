"""What LEARN USERS hands to TRAIN: shown lists with the features of the decision, and what became of them.

All lists go to one partition, so that whole lists are learned in one order. A user stands there as a keyed
hash, which is enough to forget them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from stream.columns import are_finite, are_times
from stream.errors import FrameError
from stream.frame import MALFORMED, Frame
from stream.ops.kinds import CLICK, CLOSED, SHOWN

__all__ = [
    "HandedOver",
    "Sampled",
    "TrainingLists",
    "half_precision",
    "halves_of_lists",
    "hashed_user",
    "revive_training",
    "to_half",
    "training_frame",
]

Float32 = npt.NDArray[np.float32]
Float16 = npt.NDArray[np.float16]
Int32 = npt.NDArray[np.int32]
UInt64 = npt.NDArray[np.uint64]
Bool = npt.NDArray[np.bool_]

_NO_KEYS, _NO_FEATURES = np.zeros(0, "<u8"), np.zeros(0, "<f2")
_MOST_PLACES = 1_000_000  # of one list; without features nothing else bounds what a record asks for
_LARGEST = float(np.finfo(np.float16).max)
_COLUMNS = {
    "kind": "|i1", "ref": "<i4", "place": "<i4", "reward": "<f8", "first": "|b1", "ts": "<i8",
    "shown": "<i4", "others": "<i4", "sizes": "<i4", "features": "<f2",
}  # fmt: skip
_OF_OPERATIONS = ("kind", "ref", "place", "reward", "first", "ts")
_OF_LISTS = ("shown", "others", "sizes")
# Left out where all are 1, which is what a record without them means.
_RATES, _DECIDED = "rates", "decided"
_INPUTS = {"keys": "<u8", "request": "<f2"}  # there only where a part reads them
_MOST_FEATURES = 2_048  # of a request; settings allow fewer


@dataclass(slots=True, eq=False)
class TrainingLists:
    """Lists that count as shown, clicks on them and their ends: O operations in order, L shown lists.

    Operation columns: `kind` (SHOWN, CLICK, CLOSED), `ref` a number into `requests`, `place` in the list for
    CLICK, else -1, `reward`, `first` and `ts`, as in `stream.blocks.FeedbackBlock`.

    List columns, an entry for each SHOWN, in order: `users` (hashed), `schemas` the id of the list of
    features, `shown` and `others` how many candidates have features, and `sizes` how many numbers of
    `features` are theirs, row by row: those shown first. A list without features has size 0. `rates` says
    at which rate lists like this one were kept; 0 where a click brings it, for it may have been left out when
    it was shown. `decided` is false for lists of others, whose features whoever owns the user worked out; one
    without features has none that could be.

    Where something that learns them asks for it: `keys`, one for each shown item, list by list, and
    `request`, as many features for each list; `layout` tells them from features of other names.
    """

    requests: list[str]
    kind: npt.NDArray[np.int8]
    ref: Int32
    place: Int32
    reward: npt.NDArray[np.float64]
    first: Bool
    ts: npt.NDArray[np.int64]
    users: list[str]
    schemas: list[str]
    shown: Int32
    others: Int32
    sizes: Int32
    features: Float16
    rates: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    decided: Bool = field(default_factory=lambda: np.zeros(0, np.bool_))
    keys: UInt64 = field(default_factory=lambda: _NO_KEYS)
    request: Float16 = field(default_factory=lambda: _NO_FEATURES)
    layout: str = ""

    def __post_init__(self) -> None:
        """Without rates, nothing was left out; without more, a policy decided all."""
        if not self.rates.size:
            self.rates = np.ones(len(self.users), np.float32)
        if not self.decided.size:
            self.decided = np.ones(len(self.users), np.bool_)

    def __len__(self) -> int:
        """Number of operations."""
        return int(self.kind.size)


@dataclass(slots=True, eq=False)
class HandedOver:
    """State of parts, by name, that were learned elsewhere before; its writer publishes them no longer."""

    parts: Frame


@dataclass(slots=True)
class Sampled:
    """From here on lists go to TRAIN at this rate, unless they are clicked: those do in any case."""

    rate: float


class _Texts(msgspec.Struct):
    requests: list[str]
    users: list[str]
    schemas: list[str]
    layout: str = ""


def hashed_user(user_id: str, key: bytes) -> str:
    """A user in the topic: 32 hexadecimal digits of a keyed hash.

    Example:
        >>> hashed_user("ann", b"one key") == hashed_user("ann", b"another key")
        False
    """
    return blake2b(user_id.encode(), digest_size=16, key=key).hexdigest()


def to_half(numbers: npt.NDArray[np.float32]) -> Float16:
    """Numbers as they travel: float16; what is beyond its range becomes its largest number.

    Example:
        >>> to_half(np.array([0.1, -1e9], np.float32)).astype(float).round(6).tolist()
        [0.099976, -65504.0]
    """
    return np.clip(numbers, -_LARGEST, _LARGEST).astype("<f2")


def half_precision(features: Sequence[bytes]) -> tuple[Float16, Int32]:
    """Little-endian float32 of many lists as float16 behind each other, and how many numbers each list has.

    Numbers beyond float16 become its largest. Bytes that are no float32 count as no features.

    Example:
        >>> half_precision([np.array([0.5, 1e9], "<f4").tobytes(), b"", b"odd"])
        (array([5.00e-01, 6.55e+04], dtype=float16), array([2, 0, 0], dtype=int32))
    """
    whole = [one if len(one) % 4 == 0 else b"" for one in features]
    numbers = np.frombuffer(b"".join(whole), "<f4")
    sizes = np.fromiter(map(len, whole), np.int32, len(whole)) // 4
    return to_half(numbers), sizes.astype(np.int32)


def halves_of_lists(block: TrainingLists) -> tuple[TrainingLists, TrainingLists]:
    """The two halves of a block of two operations or more."""
    is_first = np.arange(len(block)) < (len(block) + 1) // 2
    return _taken(block, is_first), _taken(block, ~is_first)


def _taken(block: TrainingLists, mask: Bool) -> TrainingLists:
    lists = mask[block.kind == SHOWN]
    used, ref = np.unique(block.ref[mask], return_inverse=True)
    operations: dict[str, Any] = {name: getattr(block, name)[mask] for name in _OF_OPERATIONS}
    columns: dict[str, Any] = {name: getattr(block, name)[lists] for name in _OF_LISTS}
    at = np.flatnonzero(lists).tolist()
    return TrainingLists(
        **operations | {"ref": ref.astype(np.int32)},
        **columns,
        rates=block.rates[lists],
        decided=block.decided[lists],
        requests=[block.requests[n] for n in used.tolist()],
        users=[block.users[n] for n in at],
        schemas=[block.schemas[n] for n in at],
        features=block.features[np.repeat(lists, block.sizes)],
        keys=block.keys[np.repeat(lists, block.shown)] if block.keys.size else block.keys,
        request=block.request.reshape(lists.size, -1)[lists].ravel() if block.request.size else block.request,
        layout=block.layout,
    )


def training_frame(segment: TrainingLists | HandedOver | Sampled) -> Frame:
    """What `revive_training` reads."""
    if isinstance(segment, Sampled):
        return {"rate": segment.rate}
    if isinstance(segment, HandedOver):
        return {"parts": segment.parts}
    texts = {"requests": segment.requests, "users": segment.users, "schemas": segment.schemas}
    flags = {
        name: column for name in (_RATES, _DECIDED) if not ((column := getattr(segment, name)) == 1).all()
    }
    inputs = {name: column for name in _INPUTS if (column := getattr(segment, name)).size}
    layout = {"layout": segment.layout} if "request" in inputs else {}
    columns = {name: getattr(segment, name) for name in _COLUMNS}
    return {**texts, **layout, "columns": {**columns, **flags, **inputs}}


def revive_training(frame: Frame) -> TrainingLists | HandedOver | Sampled:
    """Read back what `training_frame` gave.

    Raises:
        FrameError: something is missing, has another type, or does not fit together.
    """
    if "parts" in frame:
        if not isinstance(frame["parts"], dict):
            msg = "handed-over: expected parts as a map by name"
            raise FrameError(msg)
        return HandedOver(frame["parts"])
    if "rate" in frame:
        return _revive_rate(frame["rate"])
    try:
        texts = msgspec.convert(frame, _Texts)
        columns: dict[str, Any] = {
            name: _column(name, frame["columns"][name], kind) for name, kind in _COLUMNS.items()
        }
        for name, dtype in {_RATES: "<f4", _DECIDED: "|b1", **_INPUTS}.items():
            if name in frame["columns"]:
                columns[name] = _column(name, frame["columns"][name], dtype)
    except MALFORMED as error:
        msg = f"training: something is missing or is something else: {error}"
        raise FrameError(msg) from error
    block = TrainingLists(**msgspec.structs.asdict(texts), **columns)
    if not _fits(block):
        msg = "training: the columns do not fit each other, or point beyond the lists that they number"
        raise FrameError(msg)
    return block


def _revive_rate(rate: object) -> Sampled:
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 < rate <= 1:
        msg = f"sampled: expected a rate above 0 and up to 1, got {rate!r:.40}"
        raise FrameError(msg)
    return Sampled(float(rate))


def _column(name: str, column: object, dtype: str) -> npt.NDArray[Any]:
    if not isinstance(column, np.ndarray) or column.dtype.str != dtype or column.ndim != 1:
        msg = f"{name}: expected an array of {dtype} with one axis, got {column!r:.60}"
        raise ValueError(msg)
    return column.copy()  # kernels are compiled apart for arrays that may not be written


def _fits(block: TrainingLists) -> bool:
    n, kind = len(block), block.kind
    n_lists = int((kind == SHOWN).sum())
    if any(len(getattr(block, name)) != n for name in _OF_OPERATIONS):
        return False
    if any(
        len(getattr(block, name)) != n_lists for name in (*_OF_LISTS, _RATES, _DECIDED, "users", "schemas")
    ):
        return False
    if not ((block.rates >= 0) & (block.rates <= 1)).all():
        return False
    known = (kind == SHOWN) | (kind == CLICK) | (kind == CLOSED)
    if not (known & (block.ref >= 0) & (block.ref < len(block.requests))).all():
        return False
    if not np.where(kind == CLICK, block.place >= 0, block.place == -1).all():
        return False
    if not are_finite(block.reward) or not are_times(block.ts):
        return False
    # In 64 bits: two counts of 32 may add up to more.
    rows, sizes = block.shown.astype(np.int64) + block.others, block.sizes.astype(np.int64)
    if (block.shown < 0).any() or (block.others < 0).any() or (rows > _MOST_PLACES).any():
        return False
    if (sizes < 0).any() or int(sizes.sum()) != block.features.size:
        return False
    return _inputs_fit(block, n_lists)


def _inputs_fit(block: TrainingLists, n_lists: int) -> bool:
    """A key for each shown item or none; the same number of finite features for each list, or none."""
    n_shown, n = int(block.shown.sum(dtype="i8")), block.request.size
    if block.keys.size not in (0, n_shown):
        return False
    return not n or (n <= n_lists * _MOST_FEATURES and n % n_lists == 0 and are_finite(block.request))
