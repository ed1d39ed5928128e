"""Item blocks as frames: columns out, and back with their shapes and numbers checked.

Whatever comes back can be given to a kernel: an index that points beyond its list would write where it should
not, so that a block of somebody else's making is refused here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stream.blocks import CLICK, CLOSED, ORGANIC, SHOWN, TAKEN_BACK
from stream.columns import FAR_MS, are_finite, are_times
from stream.errors import FrameError
from stream.frame import Frame
from stream.item_blocks import ItemOutcomes, Ticked
from stream.parcels import ITEM, Parcel, parcel_frame, revive_parcel

__all__ = ["ITEM_KINDS", "ItemSegment", "item_frame", "revive_item_block"]

_MOST_POLICIES = 127  # numbered in 8 bits
_LARGEST_FEATURE = 1e6  # what learners.request_features clips to

ItemSegment = ItemOutcomes | Parcel | Ticked

# dtype and number of axes of each column, in the order of the fields behind `names`
_OUTCOMES = {
    "kind": ("|i1", 1), "ts": ("<i8", 1), "reward": ("<f8", 1), "first": ("|b1", 1), "decided": ("|b1", 1),
    "clusters": ("<i4", 2), "weights": ("<f4", 2), "start": ("<i4", 1), "items": ("<i4", 1),
}  # fmt: skip
# Columns that older programs neither wrote nor look for: left out where they say nothing. So a reader may be
# older than the writer, and the number of the layout stays.
_LATER = {
    "before": ("<f8", 1), "action": ("|i1", 1), "accepted": ("<i8", 1), "request": ("<f4", 2),
    "propensity": ("<f4", 1),
    "policy": ("|i1", 1), "shown_at": ("<i8", 1),
}  # fmt: skip
_SAMPLES = {
    "users": ("<f4", 2), "bias": ("<f4", 1), "user": ("<i4", 1), "item": ("<i4", 1), "label": ("<f4", 1),
    "weight": ("<f4", 1),
}  # fmt: skip
_PAIRS = {"item": ("<i4", 1), "other": ("<i4", 1), "ts": ("<i8", 1), "other_ts": ("<i8", 1)}
# Before there were parcels the factorisation, co-occurrence and centroids had segments of their own.
_BEFORE = {"samples": _SAMPLES, "pairs": _PAIRS}
_CENTROIDS, _COUNTERS = ("ids", "parents", "vectors", "counts", "spread"), ("version", "structure", "next_id")

ITEM_KINDS = ("item-outcomes", *_BEFORE, "centroids", "tick")
"""What ``kind`` such a frame may have."""


def item_frame(segment: ItemSegment) -> tuple[str, Frame]:
    """The kind of a block and its columns.

    Example:
        >>> item_frame(Ticked(2, 90, 80))
        ('tick', {'source': 2, 'ts': 90, 'watermark': 80})
    """
    if isinstance(segment, Ticked):
        tick = {"source": segment.source, "ts": segment.ts, "watermark": segment.watermark}
        # To older programs it is a tick that says nothing new.
        return "tick", tick | ({"rewinds": True} if segment.rewinds else {})
    if isinstance(segment, Parcel):
        # Under an old name with a newer number: a program that knows no parcels stops at it. Of a new name it
        # would make a dead letter, and what is in it would be lost.
        return "samples", {"version": 2, **parcel_frame(segment)}
    columns = {name: getattr(segment, name) for name in _OUTCOMES}
    frame: Frame = {"names": segment.names, "columns": columns}
    return "item-outcomes", frame | _later(segment, columns)


def _later(block: ItemOutcomes, columns: dict[str, Any]) -> Frame:
    """Add to `columns` those of `_LATER` that say something; returns what stands beside the columns."""
    says = {
        "before": block.before.any(), "action": block.action.any(), "accepted": block.accepted.any(),
        "request": block.layout,
        "propensity": not np.isnan(block.propensity).all(), "policy": (block.policy >= 0).any(),
        "shown_at": block.shown_at.any(),
    }  # fmt: skip
    columns |= {name: getattr(block, name) for name, is_said in says.items() if is_said}
    beside: Frame = {"layout": block.layout} if says["request"] else {}
    return beside | ({"policies": block.policies} if says["policy"] else {})


def revive_item_block(frame: Frame) -> ItemSegment:
    """Read back what `item_frame` gave.

    Raises:
        FrameError: a column is missing, has another type or shape, or points beyond its list.
    """
    kind = frame["kind"]
    if kind == "tick":
        source, ts, watermark = (_whole(frame, name) for name in ("source", "ts", "watermark"))
        return Ticked(source, ts, watermark, frame.get("rewinds") is True)
    if kind == "centroids":
        return revive_parcel(_centroids_before(frame))
    if kind == "samples" and frame["version"] >= 2:
        return revive_parcel(frame)
    names, stored = frame.get("names"), frame.get("columns")
    if not isinstance(stored, dict) or not isinstance(names, list) or not set(map(type, names)) <= {str}:
        msg = f"{kind}: names is to be a list of texts, and columns a map"
        raise FrameError(msg)
    shapes = _OUTCOMES if kind == "item-outcomes" else _BEFORE[kind]
    columns = {name: _column(kind, name, stored.get(name), *shape) for name, shape in shapes.items()}
    if kind != "item-outcomes":
        return revive_parcel(_parcel_before(kind, names, columns))
    block = ItemOutcomes(names, **columns)
    _revive_later(block, stored, frame)
    if not _is_outcomes(block):
        msg = f"{kind}: the columns do not fit each other, or point beyond the lists that they number"
        raise FrameError(msg)
    return block


def _parcel_before(kind: str, names: list[str], columns: dict[str, Any]) -> Frame:
    """What a program without parcels wrote, as the parcel that says the same."""
    if kind == "samples":
        users = {"vector": columns.pop("users"), "bias": columns.pop("bias")}
        tables = {"users": users, "samples": columns}
        refs = {"samples": {"user": "users", "item": ITEM}}
        return parcel_frame(Parcel("mf", names, tables, refs, {"samples": ("item",)}))
    times = columns["ts"]
    refs = {"pairs": {"item": ITEM, "other": ITEM}}
    to: dict[str, tuple[str, ...]] = {"pairs": ("item", "other")}
    return parcel_frame(
        Parcel("cooccurrence", names, {"pairs": columns}, refs, to, int(times.max(initial=0)))
    )


def _revive_later(block: ItemOutcomes, stored: Frame, frame: Frame) -> None:
    """Fill in what older programs did not write; a column without its list or its layout says nothing."""
    policies, layout = frame.get("policies", []), frame.get("layout", "")
    is_list = isinstance(policies, list) and len(policies) <= _MOST_POLICIES
    if not is_list or not set(map(type, policies)) <= {str} or not isinstance(layout, str):
        msg = f"item-outcomes: expected policies as at most {_MOST_POLICIES} names, and layout as a text"
        raise FrameError(msg)
    block.policies, block.layout = policies, layout
    for name, shape in _LATER.items():
        if name in stored and (name != "request" or layout):
            setattr(block, name, _column("item-outcomes", name, stored[name], *shape))


def _whole(frame: Frame, name: str, kind: str = "tick") -> int:
    value = frame.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > FAR_MS:
        msg = f"{kind}: {name} is to be a whole number of 62 bits, got {value!r:.60}"
        raise FrameError(msg)
    return value


def _centroids_before(frame: Frame) -> Frame:
    """What a program wrote whose centroids had a segment of their own, as the parcel that says the same."""
    centroids = frame.get("centroids")
    if not isinstance(centroids, dict) or not centroids.keys() >= {*_CENTROIDS, *_COUNTERS}:
        msg = f"centroids: expected a map with {', '.join((*_CENTROIDS, *_COUNTERS))}"
        raise FrameError(msg)
    counters = {name: np.array([_whole(centroids, name, "centroids")], np.int64) for name in _COUNTERS}
    tables = {"centroids": {name: centroids[name] for name in _CENTROIDS}, "counters": counters}
    return parcel_frame(Parcel("centroids", [], tables))


def _column(kind: str, name: str, column: object, dtype: str, axes: int) -> Any:
    if not isinstance(column, np.ndarray) or column.dtype.str != dtype or column.ndim != axes:
        came = f"{column.dtype.str}, {column.ndim}" if isinstance(column, np.ndarray) else type(column)
        msg = f"{kind}: expected {name} as an array of {dtype} with {axes} axes, got {came}"
        raise FrameError(msg)
    return column.copy()  # kernels are compiled apart for arrays that may not be written


def _points_into(column: Any, size: int) -> bool:
    return not column.size or (int(column.min()) >= 0 and int(column.max()) < size)


def _is_decided_on(block: ItemOutcomes) -> bool:
    """Whether features are within bounds, and propensities and policies are what they can be, or unknown."""
    chances, policy = block.propensity, block.policy
    if chances.size != block.items.size or ((chances < 0) | (chances > 1)).any():
        return False
    if block.layout and not (np.abs(block.request) <= _LARGEST_FEATURE).all():
        return False
    return not policy.size or (int(policy.min()) >= -1 and int(policy.max()) < len(block.policies))


def _is_outcomes(block: ItemOutcomes) -> bool:
    n, start, kind = len(block), block.start, block.kind
    columns = (
        block.ts, block.reward, block.before, block.action, block.accepted, block.first, block.decided,
        block.clusters, block.weights, block.request, block.policy, block.shown_at,
    )  # fmt: skip
    if any(len(column) != n for column in columns) or block.clusters.shape != block.weights.shape:
        return False
    if start.size != n + 1 or start[0] != 0 or start[-1] != block.items.size or (np.diff(start) < 0).any():
        return False
    is_one = (kind == CLICK) | (kind == ORGANIC)
    fits = (is_one | (kind == SHOWN) | (kind == CLOSED)).all() and (np.diff(start)[is_one] == 1).all()
    if not are_finite(block.reward, block.weights) or not are_times(block.ts, block.accepted, block.shown_at):
        return False
    if not _is_decided_on(block) or (block.action < TAKEN_BACK).any():
        return False
    return bool(fits) and bool((block.clusters >= -1).all()) and _points_into(block.items, len(block.names))
