"""Changed rows of the parts as rows by id: what a shard writes into the compacted topics.

Row numbers are a shard's own business and are used again; ids are what others know. Each publisher therefore
remembers which id it has last seen in a row, and deletes that id when the row was freed.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt

from learning.parts import Parts
from learning.rows.codec import UserRow, encode_control, encode_row
from learning.rows.publish_items import ItemRows
from learning.rows.publish_tools import Kept, Owners, named_lists, owned_by, union_of, vectors_as_bytes
from stream.engine.shard import Output
from stream.frame import Frame

__all__ = ["ControlRows", "ItemRows", "UserRows"]

Int32 = npt.NDArray[np.int32]

_encode = msgspec.msgpack.Encoder().encode


class UserRows:
    """Rows of `user-vectors`: each user touched since the last call, whole, and a tombstone for each removed.

    Args:
        parts: of the shard that owns the users; its user table, history and user biases are read.
        partition: number of that shard.

    Example:
        >>> from learning.settings import LearningSettings
        >>> from learning.parts import build_parts
        >>> parts = build_parts(LearningSettings())
        >>> rows = UserRows(parts, 3)
        >>> _ = parts.users.rows(["ann"], ts=5)
        >>> [(output.topic, output.partition, output.key) for output in rows.take()], rows.take()
        ([('user-vectors', 3, b'ann')], [])
    """

    def __init__(self, parts: Parts, partition: int) -> None:
        self._parts, self._partition = parts, partition
        self._owners = Owners(parts.users)
        self._recent = Kept(self._histories)

    def take(self) -> list[Output]:
        """What has changed since the last call."""
        parts, partition = self._parts, self._partition
        frame, told = parts.users.changes(), parts.history.changes()
        gone = self._owners.take(frame)
        self._recent.drop(union_of(told["rows"], frame["removed"], frame["new_rows"]))
        rows = union_of(frame["new_rows"], frame["rows"], frame["count_rows"], told["rows"])
        rows, names = owned_by(parts.users, rows)
        outputs = [Output("user-vectors", partition, None, name.encode()) for name in gone]
        values = map(encode_row, self._rows(rows, names)) if rows.size else ()
        outputs += [
            Output("user-vectors", partition, value, name.encode())
            for name, value in zip(names, values, strict=True)
        ]
        return outputs

    def _rows(self, rows: Int32, names: list[str]) -> list[UserRow]:
        users = self._parts.users
        columns = zip(
            names,
            users.version[rows].tolist(),
            vectors_as_bytes(users, rows),
            self._parts.mf.user_bias(rows).tolist(),
            users.clicks[rows].tolist(),
            users.impressions[rows].tolist(),
            users.touched_at[rows].tolist(),
            self._recent.of(rows),
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
                recent=cast(Any, recent),
                recent_at=times,
            )
            for name, version, vector, bias, clicks, impressions, touched_at, (recent, times) in columns
        ]

    def _histories(self, rows: Int32) -> list[tuple[msgspec.Raw, bytes]]:
        """The items clicked, encoded, and when."""
        lengths, clicked, times = self._parts.history.lists(rows)
        named, here, lows, highs = named_lists(self._parts.items, clicked, lengths)
        stamps = times[here].astype("<i8", copy=False).tobytes()
        return [
            (msgspec.Raw(_encode(named[low:high])), stamps[8 * low : 8 * high])
            for low, high in zip(lows, highs, strict=True)
        ]

    def snapshot(self) -> Frame:
        """What has been published and cannot be seen in the parts."""
        return self._owners.snapshot()

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; restore the parts first."""
        self._owners.restore(frame)


class ControlRows:
    """Rows of `control`: the ranker and the centroids (by partition 0), and each partition's measures.

    Args:
        parts: of a shard that owns users.
        partition: number of that shard.

    Example:
        >>> from learning.settings import LearningSettings
        >>> from learning.parts import build_parts
        >>> parts = build_parts(LearningSettings())
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
