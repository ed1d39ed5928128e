"""Rows of `item-vectors` and `policy` out of the parts of a shard that owns items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt

from bandits import DiagLinUcb
from bandits.arms import ArmCounts
from learning.parts import Parts
from learning.rows.carried import carrier_of
from learning.rows.codec import ItemRow, Neighbours, PolicyRow, Popular, encode_row
from learning.rows.publish_tools import Kept, Owners, named_lists, owned_by, union_of, vectors_as_bytes
from stream.engine.shard import Output
from stream.frame import Frame

__all__ = ["ItemRows"]

Int32 = npt.NDArray[np.int32]

_NO_ROWS = np.zeros(0, np.int32)

_encode = msgspec.msgpack.Encoder().encode


class ItemRows:
    """Rows of `item-vectors` and `policy`: each of the shard's own items that was touched since the last
    call, whole, and tombstones for those removed.

    Args:
        parts: of the shard that owns the items.
        partition: number of that shard.
        partition_of: the partition of an id; rows of ids of other partitions are not published.

    Example:
        >>> from learning.settings import LearningSettings
        >>> from learning.parts import build_parts
        >>> parts = build_parts(LearningSettings())
        >>> rows = ItemRows(parts, 0, lambda name: int(name == "foreign"))
        >>> _ = parts.items.rows(["tea", "foreign"], ts=5)
        >>> [(output.topic, output.key) for output in rows.take()]
        [('item-vectors', b'tea')]
    """

    def __init__(self, parts: Parts, partition: int, partition_of: Callable[[str], int]) -> None:
        self._parts, self._partition, self._partition_of = parts, partition, partition_of
        self._owners = Owners(parts.items)
        self._carriers = {name: carrier_of(policy) for name, policy in parts.policies.items()}
        self._popular, self._near = Kept(self._popularities), Kept(self._neighbours)
        self._references: tuple[list[int], int] = ([], 0)
        self._own = np.zeros(0, np.bool_)
        self._members: dict[int, Int32] = {}

    def take(self) -> list[Output]:
        """What has changed since the last call."""
        parts, partition = self._parts, self._partition
        frame = parts.items.changes()
        self._note(frame)
        gone = [name for name in self._owners.take(frame) if self._partition_of(name) == partition]
        changed = (parts.popularity.changes(), parts.cooccurrence.changes(), parts.catalogue.changes())
        others = [other["rows"] for other in changed if other]
        self._let_go(changed[0], changed[1], frame)
        rows = union_of(frame["new_rows"], frame["rows"], frame["count_rows"], *others)
        outputs = [
            Output(topic, partition, None, name.encode())
            for name in gone
            for topic in ("item-vectors", "policy")
        ]
        return outputs + self._items(*self._mine(rows)) + self._policies(frame["new_rows"])

    def _let_go(self, popularity: Frame, pairs: Frame, items: Frame) -> None:
        """What was encoded before is no longer so in rows that changed, nor anywhere on other references."""
        references = popularity["reference"].tolist(), pairs["reference"]
        if references != self._references:
            self._references = references
            self._popular.clear()
            self._near.clear()
        self._popular.drop(union_of(popularity["rows"], items["removed"], items["new_rows"]))
        self._near.drop(union_of(pairs["rows"], items["removed"], items["new_rows"]))

    def _note(self, frame: Frame) -> None:
        """Which of the new rows are the shard's own."""
        rows = frame["new_rows"]
        if rows.size and int(rows.max()) >= self._own.size:
            self._own = np.append(self._own, np.zeros(int(rows.max()) + 1, np.bool_))
        self._own[rows] = [self._partition_of(name) == self._partition for name in frame["new_ids"]]

    def _mine(self, rows: Int32) -> tuple[Int32, list[str]]:
        rows = rows[rows < self._own.size]
        return owned_by(self._parts.items, rows[self._own[rows]])

    # -- items -----------------------------------------------------------------------------------------------

    def _items(self, rows: Int32, names: list[str]) -> list[Output]:
        if not rows.size:
            return []
        items, catalogue = self._parts.items, self._parts.catalogue
        catalogue.ensure(int(rows.max()) + 1)
        entered = np.where(catalogue.known[rows], catalogue.entered_ms[rows], 0)
        columns = zip(
            names,
            items.version[rows].tolist(),
            vectors_as_bytes(items, rows),
            self._parts.mf.item_bias(rows).tolist(),
            items.clicks[rows].tolist(),
            items.impressions[rows].tolist(),
            items.touched_at[rows].tolist(),
            entered.tolist(),
            self._popular.of(rows),
            self._near.of(rows),
            strict=True,
        )
        made = [
            ItemRow(
                item_id=name,
                version=version,
                vector=vector,
                bias=bias,
                clicks=clicks,
                impressions=impressions,
                touched_at=touched_at,
                entered_at=entered_at,
                popularity=cast(Any, popular),
                neighbours=cast(Any, near),
            )
            for (
                name, version, vector, bias, clicks, impressions, touched_at, entered_at, popular, near,
            ) in columns
        ]  # fmt: skip
        return [
            Output("item-vectors", self._partition, encode_row(row), row.item_id.encode()) for row in made
        ]

    def _popularities(self, rows: Int32) -> list[msgspec.Raw]:
        frame = self._parts.popularity.columns(rows)
        half_lives, width = frame["half_lives_ms"], 8 * len(frame["half_lives_ms"])
        reference = frame["reference"].astype("<i8", copy=False).tobytes()
        weights = np.ascontiguousarray(frame["weights"].T, "<f8").tobytes()
        counts = zip(
            frame["clicks"].tolist(), frame["first_at"].tolist(), frame["last_at"].tolist(), strict=True
        )
        made = (
            Popular(
                half_lives_ms=half_lives,
                reference=reference,
                weights=weights[n * width : (n + 1) * width],
                clicks=clicks,
                first_at=first_at,
                last_at=last_at,
            )
            if clicks or disliked
            else None
            for n, ((clicks, first_at, last_at), disliked) in enumerate(
                zip(counts, frame["weights"].any(axis=0).tolist(), strict=True)
            )
        )
        return [msgspec.Raw(_encode(one)) for one in made]

    def _neighbours(self, rows: Int32) -> list[msgspec.Raw]:
        frame = self._parts.cooccurrence.columns(rows)
        ids, here, lows, highs = named_lists(self._parts.items, frame["neighbours"], frame["lengths"])
        weights = frame["weights"][here].astype("<f4", copy=False).tobytes()
        half_life, reference = frame["half_life_ms"], frame["reference"]
        made = (
            Neighbours(
                half_life_ms=half_life,
                reference=reference,
                degree=degree,
                ids=ids[low:high],
                weights=weights[4 * low : 4 * high],
            )
            if degree or low < high
            else None
            for low, high, degree in zip(lows, highs, frame["degree"].tolist(), strict=True)
        )
        return [msgspec.Raw(_encode(one)) for one in made]

    # -- policies --------------------------------------------------------------------------------------------

    def _policies(self, new: Int32) -> list[Output]:
        changed = [
            frame["rows"]
            for policy in self._parts.policies.values()
            if (frame := policy.changes()) and "rows" in frame
        ]
        rows, names = self._mine(union_of(*changed, self._moved(), new))
        if not rows.size:
            return []
        made = self._policy_rows(rows, names)
        is_new = np.isin(rows, new).tolist()
        # Of a new item there is nothing to say before it has an edge or was shown.
        return [
            Output("policy", self._partition, encode_row(row), row.item_id.encode())
            for row, fresh in zip(made, is_new, strict=True)
            if not fresh or row.serving or row.shown or row.clusters or row.arms
        ]

    def _moved(self) -> Int32:
        """Rows that have come into a cluster or left one since the last call."""
        frame = self._parts.graph.changes()
        if not frame:
            return _NO_ROWS
        moved = [self._members.pop(cluster, _NO_ROWS) for cluster in frame["gone"].tolist()]
        low = 0
        for cluster, n in zip(frame["clusters"].tolist(), frame["sizes"].tolist(), strict=True):
            members = frame["rows"][low : low + n]
            moved.append(np.setxor1d(self._members.get(cluster, _NO_ROWS), members))
            self._members[cluster] = members
            low += n
        return union_of(*moved)

    def _policy_rows(self, rows: Int32, names: list[str]) -> list[PolicyRow]:
        with_edges = (name for name, carrier in self._carriers.items() if carrier == "edges")
        policy = self._parts.policies.get(next(with_edges, ""))
        own = _Edges.none(rows.size) if policy is None else _Edges.of(cast(DiagLinUcb, policy), rows)
        counts, serving, affinities = self._parts.graph.held(rows)
        places = _cut(counts)
        served, fits = serving.astype("<i4").tobytes(), affinities.astype("<f4").tobytes()
        return [
            PolicyRow(
                item_id=name,
                shown=shown,
                clusters=own.clusters[4 * low : 4 * high],
                b=own.b[8 * low : 8 * high],
                d=own.d[8 * low : 8 * high],
                serving=served[4 * first : 4 * last],
                affinities=fits[4 * first : 4 * last],
                arms=arms,
            )
            for name, shown, (low, high), (first, last), arms in zip(
                names, own.shown, own.places, places, self._arms(rows), strict=True
            )
        ]

    def _arms(self, rows: Int32) -> list[dict[str, tuple[int, float]]]:
        arms: list[dict[str, tuple[int, float]]] = [{} for _ in range(rows.size)]
        for name, policy in self._parts.policies.items():
            if self._carriers[name] == "arms":
                shown, reward = cast(ArmCounts, policy).of(rows)
                for mine, n, r in zip(arms, shown.tolist(), reward.tolist(), strict=True):
                    if n:
                        mine[name] = (n, r)
        return arms

    # -- state -----------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """What has been published and cannot be seen in the parts."""
        clusters = sorted(self._members)
        return {
            "owners": self._owners.snapshot(),
            "own": self._own[: self._parts.items.size].copy(),
            "clusters": clusters,
            "members": [self._members[cluster] for cluster in clusters],
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; restore the parts first."""
        self._owners.restore(frame["owners"])
        self._own = frame["own"].copy()
        self._members = dict(zip(frame["clusters"], frame["members"], strict=True))


class _Edges:
    """What Diag-LinUCB knows of some rows: `shown`, `places` of their edges, and those as bytes."""

    __slots__ = ("b", "clusters", "d", "places", "shown")

    def __init__(self, shown: list[int], counts: Int32, clusters: bytes, b: bytes, d: bytes) -> None:
        self.shown, self.places = shown, _cut(counts)
        self.clusters, self.b, self.d = clusters, b, d

    @classmethod
    def of(cls, policy: DiagLinUcb, rows: Int32) -> _Edges:
        """That of a policy."""
        frame = policy.columns(rows)
        clusters = frame["clusters"].astype("<i4").tobytes()
        b, d = frame["b"].astype("<f8").tobytes(), frame["d"].astype("<f8").tobytes()
        return cls(frame["shown"].tolist(), frame["edges"], clusters, b, d)

    @classmethod
    def none(cls, n: int) -> _Edges:
        """Nothing of `n` rows."""
        return cls([0] * n, np.zeros(n, np.int32), b"", b"", b"")


def _cut(counts: Int32) -> list[tuple[int, int]]:
    """Where each of `counts` (n,) entries begins and ends."""
    ends = np.cumsum(counts)
    return list(zip((ends - counts).tolist(), ends.tolist(), strict=True))
