"""Segments as bytes: what stands in `feedback`, `item-feedback`, `training` and `catalogue`.

Each is a frame (`stream.frame`) with the keys ``kind`` and ``version``; the page on topics describes the
columns for programs of others. What a client made up (contexts, attributes) travels as JSON inside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from stream.blocks import (
    CLICK,
    CLOSED,
    ORGANIC,
    SHOWN,
    TAKEN_BACK,
    FeedbackBlock,
    Forgotten,
    ItemsBlock,
    Segment,
    Slate,
)
from stream.columns import are_finite, are_times
from stream.errors import FrameError, NewerFrameError
from stream.events import ItemEvent
from stream.frame import FRAME_SCHEMA, MALFORMED, Frame, StoredArray, pack, unpack
from stream.item_codec import ITEM_KINDS, item_frame, revive_item_block
from stream.training import HandedOver, Sampled, TrainingLists, revive_training, training_frame

__all__ = ["SEGMENT_VERSION", "decode_item", "decode_segment", "encode_item", "encode_segment"]

SEGMENT_VERSION = 2
"""Number of the layout of these frames; a reader refuses newer ones."""

_OF_TRAINING = ("training", "handed-over", "sampled")
_LISTS = ("request_id", "user_id", "items", "propensities", "policy", "clusters", "weights", "features")
_MORE_LISTS = ("others", "explored", "placement")
_Cluster = Annotated[int, msgspec.Meta(ge=-1, lt=2**31)]
_Number = Annotated[float, msgspec.Meta(ge=-3e38, le=3e38)]  # what fits a float32; also no NaN
_Place = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
_At = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_COLUMNS = {"kind": np.int8, "ref": np.int32, "place": np.int32, "reward": np.float64, "ts": np.int64}
_LATER = {"before": np.float64, "accepted": np.int64, "action": np.int8}
"""Columns that older programs neither wrote nor look for; left out where they say nothing."""


class _StoredItem(msgspec.Struct, tag_field="kind", tag="item"):
    """A row of the catalogue."""

    schema: int
    version: int
    item: bytes


_stored = msgspec.msgpack.Decoder(_StoredItem)
_item_events = msgspec.json.Decoder(ItemEvent)


class _SlateColumns(msgspec.Struct):
    """The types of what slates hold; compiled code reads some of it without looking again."""

    request_id: list[str]
    user_id: list[str]
    items: list[list[str]]
    propensities: list[list[_Number | None] | None]
    policy: list[str]
    clusters: list[list[_Cluster]]
    weights: list[list[_Number]]
    features: list[bytes]
    context: list[bytes | None]
    others: list[list[str]]
    explored: list[list[_Place]]
    placement: list[str | None]
    rewards: list[list[tuple[_Place, _Number]]]


_NAMES = tuple(field.name for field in msgspec.structs.fields(_SlateColumns))


class _StoredSlates(_SlateColumns, kw_only=True):
    ts: StoredArray
    decided: StoredArray
    feature_schema: list[str] | None = None
    item_context: list[bytes] | None = None


class _StoredOutcomes(msgspec.Struct):
    """All of a record of outcomes: decoded as such it takes half the time that a frame of any kind takes."""

    schema: Literal[1]
    kind: Literal["outcomes"]
    version: int
    slates: _StoredSlates
    organic: list[tuple[str, str]]
    operations: dict[str, StoredArray]


_stored_outcomes = msgspec.msgpack.Decoder(_StoredOutcomes)
_HEAD = b"\xa6schema\x01\xa4kind\xa8outcomes"  # behind the first byte, which says how many keys there are


def encode_segment(segment: Segment) -> bytes:
    """One segment as the value of a record.

    Example:
        >>> block = FeedbackBlock(organic=[("ann", "a")], kind=[3], ref=[0], place=[-1], reward=[1.0],
        ...                       first=[True], ts=[5])
        >>> decode_segment(encode_segment(block)) == block
        True
    """
    if isinstance(segment, FeedbackBlock):
        return _frame("outcomes", _outcomes(segment))
    if isinstance(segment, ItemsBlock):
        items: Frame = {"items": [msgspec.json.encode(item) for item in segment.items]}
        return _frame("items", items | ({"accepted": segment.accepted} if any(segment.accepted) else {}))
    if isinstance(segment, Forgotten):
        return _frame("forget", {"user_id": segment.user_id, "ts": segment.ts})
    if isinstance(segment, TrainingLists):
        return _frame("training", training_frame(segment))
    if isinstance(segment, Sampled):
        return _frame("sampled", training_frame(segment))
    if isinstance(segment, HandedOver):
        return _frame("handed-over", training_frame(segment))
    return _frame(*item_frame(segment))


def decode_segment(value: bytes) -> Segment:
    """Read back what `encode_segment` wrote.

    The slates are new objects: of one that stands in several records, each has its own. `rewards` is there
    only for slates that close in this segment.

    Raises:
        FrameError: the bytes are no segment, are damaged, or do not fit together; NewerFrameError: a newer
            program wrote them.
    """
    outcomes = _outcomes_at_once(value)
    if outcomes is not None:
        return outcomes
    frame = _checked(value, ("outcomes", "items", "forget", *ITEM_KINDS, *_OF_TRAINING))
    if frame["kind"] in ITEM_KINDS:
        return revive_item_block(frame)
    if frame["kind"] in _OF_TRAINING:
        return revive_training(frame)
    try:
        if frame["kind"] == "outcomes":
            return _revive_outcomes(frame)
        if frame["kind"] == "items":
            return _revive_items(frame)
        return msgspec.convert({"user_id": frame["user_id"], "ts": frame["ts"]}, Forgotten, strict=True)
    except MALFORMED as error:
        msg = f"a segment of kind {frame['kind']!r} lacks something or holds something else: {error!r}"
        raise FrameError(msg) from error


def encode_item(item: ItemEvent) -> bytes:
    """An item as last sent, as the value of its row in `catalogue`.

    Example:
        >>> decode_item(encode_item(ItemEvent(item_id="a", ts=5, group="films"))).group
        'films'
    """
    return _frame("item", {"item": msgspec.json.encode(item)})


def decode_item(value: bytes) -> ItemEvent:
    """Read back what `encode_item` wrote.

    Raises:
        FrameError: the bytes are no item or are damaged; NewerFrameError: a newer program wrote them.
    """
    try:
        # A million of them are read when a serving worker starts: what is as it should be takes no frame.
        stored = _stored.decode(value)
        if stored.schema == FRAME_SCHEMA and stored.version <= SEGMENT_VERSION:
            return _item_events.decode(stored.item)
    except (UnicodeDecodeError, msgspec.DecodeError):
        pass  # the slow way tells what is wrong
    frame = _checked(value, ("item",))
    try:
        return _item_events.decode(frame["item"])
    except MALFORMED as error:
        msg = f"a row of the catalogue holds no item: {error}"
        raise FrameError(msg) from error


def _frame(kind: str, columns: Frame) -> bytes:
    return pack({"kind": kind, "version": 1, **columns})


def _checked(value: bytes, kinds: Sequence[str]) -> Frame:
    frame = unpack(value)
    kind, version = frame.get("kind"), frame.get("version")
    if not isinstance(kind, str) or kind not in kinds or not isinstance(version, int):
        msg = f"expected a frame of kind {' or '.join(kinds)}, got kind {kind!r}, version {version!r}"
        raise FrameError(msg)
    if version > SEGMENT_VERSION:
        msg = (
            f"{kind} of version {version}: this program reads 1 to {SEGMENT_VERSION}; "
            "use the program that wrote it"
        )
        raise NewerFrameError(msg)
    return frame


def _outcomes(block: FeedbackBlock) -> Frame:
    slates = block.slates
    # JOIN may be ahead of this block; only what is closed has its final rewards.
    closed = {ref for ref, kind in zip(block.ref, block.kind, strict=True) if kind == CLOSED}
    operations: Frame = {name: np.array(getattr(block, name), kind) for name, kind in _COLUMNS.items()}
    operations["first"] = np.array(block.first, np.uint8)
    for name, dtype in _LATER.items():
        if any(column := getattr(block, name)):
            operations[name] = np.array(column, dtype)
    stored: Frame = {name: [getattr(slate, name) for slate in slates] for name in _LISTS + _MORE_LISTS}
    # Likewise columns of slates that older programs do not know.
    if any(schemas := [slate.feature_schema for slate in slates]):
        stored["feature_schema"] = schemas
    if any(slate.item_context for slate in slates):
        shown = {ref for ref, kind in zip(block.ref, block.kind, strict=True) if kind == SHOWN}
        stored["item_context"] = [s.item_context if n in shown else b"" for n, s in enumerate(slates)]
    stored["ts"] = np.array([slate.ts for slate in slates], np.int64)
    stored["decided"] = np.array([slate.decided for slate in slates], np.uint8)
    stored["context"] = [slate.context for slate in slates]
    stored["rewards"] = [
        sorted(slate.rewards.items()) if ref in closed else [] for ref, slate in enumerate(slates)
    ]
    organic = [list(pair) for pair in block.organic]
    return {"slates": stored, "organic": organic, "operations": operations}


def _outcomes_at_once(value: bytes) -> FeedbackBlock | None:
    """A segment of outcomes; None for what is none, or is not right: what is wrong is said elsewhere."""
    if not value.startswith(_HEAD, 1):
        return None
    try:
        stored = _stored_outcomes.decode(value)
        if stored.version > SEGMENT_VERSION:
            return None
        columns = stored.slates
        times, ours = columns.ts.revive(), columns.decided.revive()
        slates = _slates_of(columns, times, ours, columns.feature_schema, columns.item_context)
        operations = {name: array.revive() for name, array in stored.operations.items()}
        return _block_of(slates, stored.organic, operations)
    except (FrameError, *MALFORMED):
        return None


def _revive_outcomes(frame: Frame) -> FeedbackBlock:
    stored = frame["slates"]
    named = {name: stored[name] for name in _NAMES}
    columns = msgspec.convert(named, _SlateColumns, builtin_types=(bytes,))  # else text passes as base64
    schemas = msgspec.convert(stored.get("feature_schema"), list[str] | None)
    known = msgspec.convert(stored.get("item_context"), list[bytes] | None, builtin_types=(bytes,))
    slates = _slates_of(columns, stored["ts"], stored["decided"], schemas, known)
    organic = msgspec.convert(frame["organic"], list[tuple[str, str]])
    return _block_of(slates, organic, frame["operations"])


def _block_of(slates: list[Slate], organic: list[tuple[str, str]], operations: Frame) -> FeedbackBlock:
    _check_operations(operations, slates, len(organic))
    columns: dict[str, list[Any]] = {name: operations[name].tolist() for name in _COLUMNS}
    return FeedbackBlock(
        slates=slates,
        organic=organic,
        first=(operations["first"] != 0).tolist(),
        **{name: operations[name].tolist() for name in _LATER if name in operations},
        **columns,
    )


def _revive_items(frame: Frame) -> ItemsBlock:
    items = [msgspec.json.decode(item, type=ItemEvent) for item in frame["items"]]
    accepted = msgspec.convert(frame.get("accepted", []), list[_At])
    if accepted and len(accepted) != len(items):
        msg = f"accepted: expected {len(items)} times, got {len(accepted)}"
        raise ValueError(msg)
    return ItemsBlock(items, accepted)


def _plain(columns: Frame, name: str, dtype: Any = None) -> Any:
    """A column with one axis and the type that it was written with."""
    return _one_axis(name, columns[name], dtype or _COLUMNS[name])


def _one_axis(name: str, column: Any, dtype: Any) -> Any:
    expected = np.dtype(dtype)
    if column.ndim != 1 or column.dtype != expected:
        msg = f"{name}: expected one axis of {expected}, got {column.ndim} of {column.dtype}"
        raise ValueError(msg)
    return column


def _check_operations(operations: Frame, slates: list[Slate], n_organic: int) -> None:
    """Refuse what points beyond a list: kernels would follow it; and what no reward or time can be."""
    kind, ref, place = (_plain(operations, name) for name in ("kind", "ref", "place"))
    _plain(operations, "first", np.uint8)
    if not are_finite(_plain(operations, "reward")) or not are_times(_plain(operations, "ts")):
        msg = "a reward is not finite, or a time lies beyond what milliseconds can say"
        raise ValueError(msg)
    sizes = np.append(np.fromiter((len(slate.items) for slate in slates), np.int64, len(slates)), 0)
    is_organic, is_click = kind == ORGANIC, kind == CLICK
    bound = np.where(is_organic, n_organic, len(slates))
    fits = (kind >= SHOWN) & (kind <= ORGANIC) & (ref >= 0) & (ref < bound)
    if fits.all():
        places = sizes[np.where(is_organic, -1, ref)]
        fits = np.where(is_click, (place >= 0) & (place < places), place == -1)
    beyond = any(max(slate.rewards) >= len(slate.items) for slate in slates if slate.rewards)
    later = [name for name in _LATER if name in operations]
    names = (*_COLUMNS, "first", *later)
    if "accepted" in later and not are_times(_plain(operations, "accepted", np.int64)):
        msg = "accepted: a time lies beyond what milliseconds can say"
        raise ValueError(msg)
    if "action" in later and (_plain(operations, "action", np.int8) < TAKEN_BACK).any():
        msg = "action: expected numbers of kinds, or -1"
        raise ValueError(msg)
    if beyond or not fits.all() or any(operations[name].shape != kind.shape for name in names):
        msg = "an operation names a slate, a pair or a place that is not there"
        raise ValueError(msg)


def _slates_of(
    columns: _SlateColumns, ts: Any, decided: Any, schemas: list[str] | None, contexts: list[bytes] | None
) -> list[Slate]:
    times = _one_axis("ts", ts, np.int64)
    if not are_times(times):
        msg = "a time lies beyond what milliseconds can say"
        raise ValueError(msg)
    ours = (_one_axis("decided", decided, np.uint8) != 0).tolist()
    lists = [""] * len(ours) if schemas is None else schemas
    known = [b""] * len(ours) if contexts is None else contexts
    values = zip(
        *(getattr(columns, name) for name in _NAMES), times.tolist(), ours, lists, known, strict=True
    )
    # Each by its name: to gather them in a map first would take three times as long.
    return [
        Slate(
            request_id=request_id, user_id=user_id, items=items, propensities=propensities, policy=policy,
            clusters=clusters, weights=weights, features=features, context=context, others=others,
            explored=explored, placement=placement, rewards=dict(rewards) if rewards else {}, ts=at,
            decided=own, feature_schema=schema, item_context=of_items,
        )
        for (
            request_id, user_id, items, propensities, policy, clusters, weights, features, context, others,
            explored, placement, rewards, at, own, schema, of_items,
        ) in values
    ]  # fmt: skip
