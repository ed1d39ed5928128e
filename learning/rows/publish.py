"""Changed rows of the parts as rows by id: what a shard writes into the compacted topics.

Row numbers are a shard's own business and are used again; ids are what others know. Each publisher therefore
remembers which id it has last seen in a row, and deletes that id when the row was freed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from learners import Part
from learning.parts import Parts
from learning.rows.codec import UserRow, encode_control, encode_rows
from learning.rows.publish_items import ItemRows
from learning.rows.publish_tools import PartCells, PublishedIds, owned_by, union_of
from stream.engine.shard import Output, outputs_of
from stream.frame import Frame

__all__ = ["ItemRows", "TrainedRows", "UserRows"]

Int32 = npt.NDArray[np.int32]


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
        self._owners = PublishedIds(parts.users)
        self._cells = PartCells(parts.learners(), "user", parts.names_of)

    def take(self) -> list[Output]:
        """What has changed since the last call."""
        parts, partition = self._parts, self._partition
        frame = parts.users.changes()
        gone = self._owners.take(frame)
        touched = self._cells.touched(frame["removed"], frame["new_rows"])
        rows, names = owned_by(parts.users, union_of(frame["new_rows"], touched))
        outputs = [Output("user-vectors", partition, None, name.encode()) for name in gone]
        values = encode_rows(UserRow, names, self._cells.of(rows))
        return outputs + outputs_of("user-vectors", partition, names, values)

    def snapshot(self) -> Frame:
        """What has been published and cannot be seen in the parts."""
        return self._owners.snapshot()

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; restore the parts first."""
        self._owners.restore(frame)
        self._cells.say_again(self._parts.unclaimed.given_back, self._parts.users.live)


class TrainedRows:
    """Rows of `control` of the parts that learn whole lists, each under its name and that of the step.

    Args:
        learners: those parts.
    """

    def __init__(self, learners: Mapping[str, Part]) -> None:
        self._learners = learners

    def take(self) -> list[Output]:
        """What has changed since the last call."""
        return [
            Output("control", 0, encode_control(name, state), f"{name}/train".encode())
            for name, part in self._learners.items()
            if (state := part.changes())
        ]
