"""Changed rows of the parts as rows by id: what a shard writes into the compacted topics.

Row numbers are a shard's own business and are used again; ids are what others know. Each publisher therefore
remembers which id it has last seen in a row, and deletes that id when the row was freed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bandits import DiagLinUcb, Policy
from bandits.arms import ArmCounts
from freshet.parts import Parts
from freshet.shards.rows import (
    ItemRow,
    Neighbours,
    PolicyRow,
    Popular,
    UserRow,
    encode_control,
    encode_row,
)
from learners import EmbeddingTable
from stream.engine.shard import Output
from stream.frame import Frame

__all__ = ["ControlRows", "ItemRows", "UserRows"]

Int32 = npt.NDArray[np.int32]

_NO_ROWS = np.zeros(0, np.int32)


class _Owners:
    """The ids that were published, by row of a table.

    Memory: 8 bytes a row; the ids themselves are the table's.
    """

    def __init__(self, table: EmbeddingTable) -> None:
        self._table = table
        self._ids: list[str | None] = []

    def take(self, frame: Frame) -> list[str]:
        """Follow one `EmbeddingTable.changes()`: the ids that have left for good."""
        removed, new = frame["removed"].tolist(), frame["new_rows"].tolist()
        left = [self._ids[row] for row in removed if row < len(self._ids)]
        self._ids += [None] * (max(new, default=-1) + 1 - len(self._ids))
        for row in removed:
            if row < len(self._ids):
                self._ids[row] = None
        for row, name in zip(new, frame["new_ids"], strict=True):
            self._ids[row] = name
        return [name for name in left if name is not None and name not in self._table]

    def snapshot(self) -> Frame:
        """What the table itself does not know: rows whose published owner is not the one they have now."""
        now = self._table.ids_of(np.arange(len(self._ids), dtype=np.int32))
        pairs = zip(self._ids, now, strict=True)
        rows = [row for row, (published, owner) in enumerate(pairs) if published != owner]
        return {"size": len(self._ids), "rows": rows, "ids": [self._ids[row] for row in rows]}

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; restore the table first."""
        self._ids = self._table.ids_of(np.arange(frame["size"], dtype=np.int32))
        for row, name in zip(frame["rows"], frame["ids"], strict=True):
            self._ids[row] = name


class UserRows:
    """Rows of `user-vectors`: each user touched since the last call, whole, and a tombstone for each removed.

    Args:
        parts: of the shard that owns the users; its user table, history and user biases are read.
        partition: number of that shard.

    Example:
        >>> from freshet.config import Settings
        >>> from freshet.parts import build_parts
        >>> parts = build_parts(Settings())
        >>> rows = UserRows(parts, 3)
        >>> _ = parts.users.rows(["ann"], ts=5)
        >>> [(output.topic, output.partition, output.key) for output in rows.take()], rows.take()
        ([('user-vectors', 3, b'ann')], [])
    """

    def __init__(self, parts: Parts, partition: int) -> None:
        self._parts, self._partition = parts, partition
        self._owners = _Owners(parts.users)

    def take(self) -> list[Output]:
        """What has changed since the last call."""
        parts, partition = self._parts, self._partition
        frame, told = parts.users.changes(), parts.history.changes()
        gone = self._owners.take(frame)
        rows = _union(frame["new_rows"], frame["rows"], frame["count_rows"], told["rows"])
        rows, names = _owned(parts.users, rows)
        outputs = [Output("user-vectors", partition, None, name.encode()) for name in gone]
        values = map(encode_row, self._rows(rows, names)) if rows.size else ()
        outputs += [
            Output("user-vectors", partition, value, name.encode())
            for name, value in zip(names, values, strict=True)
        ]
        return outputs

    def _rows(self, rows: Int32, names: list[str]) -> list[UserRow]:
        users, items, history = self._parts.users, self._parts.items, self._parts.history
        lengths, clicked, times = history.lists(rows)
        named, here, lows, highs = _named(items, clicked, lengths)
        stamps = times[here].astype("<i8", copy=False).tobytes()
        columns = zip(
            names,
            users.version[rows].tolist(),
            _vectors(users, rows),
            self._parts.mf.user_bias(rows).tolist(),
            users.clicks[rows].tolist(),
            users.impressions[rows].tolist(),
            users.touched_at[rows].tolist(),
            lows,
            highs,
            strict=True,
        )
        return [
            UserRow(
                user_id=name,
                version=version,
                vector=vector,
                bias=bias,
                clicks=clicks,
                impressions=impressions,
                touched_at=touched_at,
                recent=named[low:high],
                recent_at=stamps[8 * low : 8 * high],
            )
            for name, version, vector, bias, clicks, impressions, touched_at, low, high in columns
        ]

    def snapshot(self) -> Frame:
        """What has been published and cannot be seen in the parts."""
        return self._owners.snapshot()

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; restore the parts first."""
        self._owners.restore(frame)


class ItemRows:
    """Rows of `item-vectors` and `policy`: each of the shard's own items that was touched since the last
    call, whole, and tombstones for those removed.

    Args:
        parts: of the shard that owns the items.
        partition: number of that shard.
        partition_of: the partition of an id; rows of ids of other partitions are not published.

    Example:
        >>> from freshet.config import Settings
        >>> from freshet.parts import build_parts
        >>> parts = build_parts(Settings())
        >>> rows = ItemRows(parts, 0, lambda name: int(name == "foreign"))
        >>> _ = parts.items.rows(["tea", "foreign"], ts=5)
        >>> [(output.topic, output.key) for output in rows.take()]
        [('item-vectors', b'tea')]
    """

    def __init__(self, parts: Parts, partition: int, partition_of: Callable[[str], int]) -> None:
        self._parts, self._partition, self._partition_of = parts, partition, partition_of
        self._owners = _Owners(parts.items)
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
        rows = _union(frame["new_rows"], frame["rows"], frame["count_rows"], *others)
        outputs = [
            Output(topic, partition, None, name.encode())
            for name in gone
            for topic in ("item-vectors", "policy")
        ]
        return outputs + self._items(*self._mine(rows)) + self._policies(frame["new_rows"])

    def _note(self, frame: Frame) -> None:
        """Which of the new rows are the shard's own."""
        rows = frame["new_rows"]
        if rows.size and int(rows.max()) >= self._own.size:
            self._own = np.append(self._own, np.zeros(int(rows.max()) + 1, np.bool_))
        self._own[rows] = [self._partition_of(name) == self._partition for name in frame["new_ids"]]

    def _mine(self, rows: Int32) -> tuple[Int32, list[str]]:
        return _owned(self._parts.items, rows[rows < self._own.size][self._own[rows[rows < self._own.size]]])

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
            _vectors(items, rows),
            self._parts.mf.item_bias(rows).tolist(),
            items.clicks[rows].tolist(),
            items.impressions[rows].tolist(),
            items.touched_at[rows].tolist(),
            entered.tolist(),
            self._popular(rows),
            self._neighbours(rows),
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
                popularity=popular,
                neighbours=near,
            )
            for (
                name, version, vector, bias, clicks, impressions, touched_at, entered_at, popular, near,
            ) in columns
        ]  # fmt: skip
        return [
            Output("item-vectors", self._partition, encode_row(row), row.item_id.encode()) for row in made
        ]

    def _popular(self, rows: Int32) -> list[Popular | None]:
        frame = self._parts.popularity.columns(rows)
        half_lives, width = frame["half_lives_ms"], 8 * len(frame["half_lives_ms"])
        reference = frame["reference"].astype("<i8", copy=False).tobytes()
        weights = np.ascontiguousarray(frame["weights"].T, "<f8").tobytes()
        counts = zip(
            frame["clicks"].tolist(), frame["first_at"].tolist(), frame["last_at"].tolist(), strict=True
        )
        return [
            Popular(
                half_lives_ms=half_lives,
                reference=reference,
                weights=weights[n * width : (n + 1) * width],
                clicks=clicks,
                first_at=first_at,
                last_at=last_at,
            )
            if clicks
            else None
            for n, (clicks, first_at, last_at) in enumerate(counts)
        ]

    def _neighbours(self, rows: Int32) -> list[Neighbours | None]:
        frame = self._parts.cooccurrence.columns(rows)
        ids, here, lows, highs = _named(self._parts.items, frame["neighbours"], frame["lengths"])
        weights = frame["weights"][here].astype("<f4", copy=False).tobytes()
        half_life, reference = frame["half_life_ms"], frame["reference"]
        return [
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
        ]

    # -- policies --------------------------------------------------------------------------------------------

    def _policies(self, new: Int32) -> list[Output]:
        changed = [
            frame["rows"]
            for policy in self._parts.policies.values()
            if (frame := policy.changes()) and "rows" in frame
        ]
        rows, names = self._mine(_union(*changed, self._moved(), new))
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
        return _union(*moved)

    def _policy_rows(self, rows: Int32, names: list[str]) -> list[PolicyRow]:
        edges = [_Edges.of(policy, rows) for policy in self._parts.policies.values()]
        own = next((one for one in edges if one is not None), _Edges.none(rows.size))
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
            if isinstance(policy, ArmCounts):
                shown, reward = policy.of(rows)
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


class ControlRows:
    """Rows of `control`: the ranker and the centroids (by partition 0), and each partition's measures.

    Args:
        parts: of a shard that owns users.
        partition: number of that shard.

    Example:
        >>> from freshet.config import Settings
        >>> from freshet.parts import build_parts
        >>> parts = build_parts(Settings())
        >>> parts.centroids.observe(np.ones((1, 64), np.float32))
        >>> [(output.partition, output.key) for output in ControlRows(parts, 0).take()]
        [(0, b'centroids')]
    """

    def __init__(self, parts: Parts, partition: int) -> None:
        self._parts, self._partition = parts, partition

    def take(self) -> list[Output]:
        """What has changed since the last call; the topic has one partition."""
        parts = self._parts
        rows = [(f"measures/{self._partition}", "measures", parts.measures.changes())]
        if self._partition == 0:
            rows += [
                ("ranker", "ranker", parts.ranker.changes()),
                ("centroids", "centroids", parts.centroids.changes()),
            ]
        return [
            Output("control", 0, encode_control(kind, state), key.encode())
            for key, kind, state in rows
            if state
        ]


class _Edges:
    """What Diag-LinUCB knows of some rows: `shown`, `places` of their edges, and those as bytes."""

    __slots__ = ("b", "clusters", "d", "places", "shown")

    def __init__(self, shown: list[int], counts: Int32, clusters: bytes, b: bytes, d: bytes) -> None:
        self.shown, self.places = shown, _cut(counts)
        self.clusters, self.b, self.d = clusters, b, d

    @classmethod
    def of(cls, policy: Policy, rows: Int32) -> _Edges | None:
        """That of a policy, None for another one."""
        if not isinstance(policy, DiagLinUcb):
            return None
        frame = policy.columns(rows)
        clusters = frame["clusters"].astype("<i4").tobytes()
        b, d = frame["b"].astype("<f8").tobytes(), frame["d"].astype("<f8").tobytes()
        return cls(frame["shown"].tolist(), frame["edges"], clusters, b, d)

    @classmethod
    def none(cls, n: int) -> _Edges:
        """Nothing of `n` rows."""
        return cls([0] * n, np.zeros(n, np.int32), b"", b"", b"")


def _union(*parts: Int32) -> Int32:
    return np.unique(np.concatenate([_NO_ROWS, *parts])).astype(np.int32)


def _owned(table: EmbeddingTable, rows: Int32) -> tuple[Int32, list[str]]:
    """The rows that somebody owns, and who."""
    names = table.ids_of(rows)
    if None in names:
        rows = rows[[name is not None for name in names]]
    return rows, [name for name in names if name is not None]


def _vectors(table: EmbeddingTable, rows: Int32) -> list[bytes]:
    data, width = table.data[rows].astype("<f4", copy=False).tobytes(), 4 * table.dim
    return [data[at : at + width] for at in range(0, len(data), width)]


def _named(
    table: EmbeddingTable, rows: Int32, lengths: Int32
) -> tuple[list[str], npt.NDArray[np.bool_], list[int], list[int]]:
    """The owners of `rows` in lists of `lengths` (n,), without those that have none: the ids, which of `rows`
    they are, and where each list begins and ends among them."""
    owners = table.ids_of(rows)
    here = np.array([name is not None for name in owners], np.bool_)
    n_before = np.concatenate([[0], np.cumsum(here)])
    ends = np.cumsum(lengths)
    lows, highs = n_before[ends - lengths].tolist(), n_before[ends].tolist()
    return [name for name in owners if name is not None], here, lows, highs


def _cut(counts: Int32) -> list[tuple[int, int]]:
    """Where each of `counts` (n,) entries begins and ends."""
    ends = np.cumsum(counts)
    return list(zip((ends - counts).tolist(), ends.tolist(), strict=True))
