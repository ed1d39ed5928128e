"""Rows by id, from the compacted topics in any order, as frames for the parts of a serving worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from learners.part import Part
from learning.parts import build_parts
from learning.rows.codec import (
    ItemRow,
    PolicyRow,
    Progress,
    UserRow,
    decode_progress,
)
from learning.rows.follow_control import ControlFrames
from learning.rows.follow_items import ItemFrames
from learning.rows.follow_parts import FollowedParts, merged
from learning.rows.follow_policies import PolicyFrames
from learning.rows.follow_users import UserFrames
from learning.rows.marks import Marks
from learning.rows.row_reader import RowReader, side_columns
from learning.rows.shared import SharedFrames
from learning.settings import LearningSettings
from stream.accepted import read_times
from stream.errors import FrameError, NewerFrameError
from stream.frame import Frame

__all__ = ["FOLLOWED", "RowFollower"]

FOLLOWED = ("control", "catalogue", "item-vectors", "policy", "user-vectors")
"""The topics that a serving worker follows, without the installation's prefix."""

_MOST_TIMES = 8_192  # of what is gathered: a long tail at the start is measured by nobody
_OF_EVERY_ROW = {"vectors", "counts"}  # without these nothing else of an item or a user can be served
_WITH_PROGRESS = ("user-vectors", "item-vectors", "policy")
_Record = tuple[str, int, bytes, bytes | None]


class RowFollower:
    """Gathers records of `FOLLOWED` and gives them as one frame, in row numbers of its own.

    Records of one partition must come in order; partitions and topics may come as they like. What is gathered
    between two calls of `take` is folded by key, so a long tail costs one frame. A frame is applied part by
    part, in the order of `Parts.named()`.

    Memory: what it takes to know every id (about 400 bytes an item, 150 a user) and the catalogue once more.

    Args:
        settings: as the workers have them; `learn`, `policy` and `kafka.partitions` count.

    Example:
        >>> from learning.rows.codec import UserRow, encode_row
        >>> follower, parts = RowFollower(LearningSettings()), build_parts(LearningSettings())
        >>> row = UserRow(user_id="ann", parts={"counts": {"clicks": (2).to_bytes(8, "little")}})
        >>> follower.add("user-vectors", 0, b"ann", encode_row(row))
        >>> for name, changes in follower.take().items():
        ...     parts.named()[name].apply(changes)
        >>> parts.users.clicks[parts.users.row_of("ann")], follower.size
        (np.int64(2), 1)
    """

    def __init__(self, settings: LearningSettings) -> None:
        learn, shape = settings.learn, build_parts(settings)
        learners, deciders = shape.learners(), shape.policy_rows()
        spared = learners.keys() - _OF_EVERY_ROW
        of_users = RowReader(UserRow, side_columns(learners, "user"), spared)
        of_items = RowReader(ItemRow, side_columns(learners, "item"), spared)
        of_policies = RowReader(PolicyRow, side_columns(deciders, "item"), deciders)
        self._readers: dict[str, RowReader[Any]] = {
            "user-vectors": of_users,
            "item-vectors": of_items,
            "policy": of_policies,
        }
        self._items = ItemFrames(learn.embedding_dim, learn.max_items, of_items, of_policies)
        self._users = UserFrames(learn.embedding_dim, learn.max_users, of_users, self._items)
        self._naming_items = [name for name, part in learners.items() if _names_items(part)]
        self._policies = PolicyFrames(of_policies, shape.policy_keys(), self._items)
        shared = SharedFrames({**learners, **deciders, **shape.measures}, shape.policy_keys())
        self._control = ControlFrames(shape.ranker, shared)
        self._rows: dict[str, FollowedParts[Any]] = {
            "item-vectors": self._items.parts,
            "policy": self._policies.parts,
            "user-vectors": self._users.parts,
        }
        self._put: dict[str, Callable[[str, bytes | None], None]] = {
            "control": self._control.put,
            "catalogue": self._items.put_item,
        }
        self._n_partitions = settings.kafka.partitions
        self._accepted: dict[str, list[list[int]]] = {}
        self._progress: dict[str, dict[int, Progress]] = {topic: {} for topic in _WITH_PROGRESS}
        self.marks = Marks((0,) * self._n_partitions)
        """Wall clock, ms: every event acknowledged up to then is in the rows that `take` has given."""
        self.watermark = 0
        """Time of the events up to which all partitions of `user-vectors` have come, ms."""

    @property
    def size(self) -> int:
        """Users and items that have a row."""
        return len(self._users.numbering) + self._items.places.n_owned

    @property
    def refused(self) -> int:
        """Rows passed over: an id found all rows taken (more are followed than `max_users` or `max_items`
        allow), or a number is not finite; and those that were taken without a part (`misfits`)."""
        places = self._items.places
        full = self._users.numbering.refused + places.numbering.refused + places.refused
        full += sum(reader.n_misfits for reader in self._readers.values())
        return full + self._users.refused + self._items.refused + self._policies.refused

    @property
    def waiting(self) -> int:
        """Items of the catalogue that find no row: there are more of them than `max_items`."""
        return len(self._items.places.items.listed)

    @property
    def unknown(self) -> set[str]:
        """Parts that rows tell of and that are not configured here: their rows stay in the topics."""
        return self._control.shared.unknown.union(*(parts.unknown for parts in self._rows.values()))

    @property
    def misfits(self) -> dict[str, str]:
        """By part how the settings differ under which its newest rows were written: they are passed over."""
        found = dict(self._control.misfits)
        for reader in self._readers.values():
            found |= reader.misfits
        return found

    @property
    def history(self) -> dict[int, int]:
        """By partition of `events`, the watermark (ms) that history has there."""
        return self._control.history

    def add(self, topic: str, partition: int, key: bytes, value: bytes | None) -> None:
        """As `add_all`, one record.

        Raises:
            FrameError: it cannot be read, or its writer has other settings; the follower is as it was.
                NewerFrameError: a newer program wrote it.
        """
        for error in self.add_all([(topic, partition, key, value)]):
            raise error

    def add_all(self, records: Iterable[_Record]) -> list[FrameError]:
        """Take records: topic without prefix, partition, key, and value, of which None deletes the key.

        Gives what is wrong with those that cannot be read, or whose writer has other settings; the follower
        is as if they had not come.
        """
        errors: list[FrameError] = []
        came: dict[str, tuple[list[str], list[_Record]]] = {topic: ([], []) for topic in self._rows}
        for record in records:
            topic, partition, key, value = record
            try:
                if topic not in came:
                    self._put_one(topic, key, value)
                elif key:
                    names, rows = came[topic]
                    names.append(key.decode())
                    rows.append(record)
                elif value is not None:
                    self._advance_partition(topic, partition, decode_progress(value))
            except (FrameError, UnicodeDecodeError) as error:
                errors.append(_told(record, error))
        for topic, (names, rows) in came.items():
            if rows:
                wrong = self._rows[topic].put(names, [row[2] for row in rows], [row[3] for row in rows])
                errors += [_told(rows[n], error) for n, error in wrong.items()]
        return errors

    def _put_one(self, topic: str, key: bytes, value: bytes | None) -> None:
        if topic not in self._put:
            msg = f"expected one of the topics {', '.join(FOLLOWED)}"
            raise FrameError(msg)
        self._put[topic](key.decode(), value)

    def _advance_partition(self, topic: str, partition: int, row: Progress) -> None:
        kinds = {"user-vectors": {"users": row.clicks}, "item-vectors": {"items": row.items}}
        for kind, times in kinds.get(topic, {"policies": row.clicks}).items():
            found = self._accepted.setdefault(kind, [])
            found += [list(pair) for pair in read_times(times)]
            del found[:-_MOST_TIMES]
        self._progress[topic][partition] = row

    def take(self) -> Frame:
        """All that came since the last call, as changes by part; parts of which nothing came are left out."""
        gone = self._items.settle(self._policies.parts.pending)
        users, control = self._users.take(), self._control.take()
        policies, items = self._policies.take(), self._items.take()
        frame = merged(users, items, control, policies)
        if gone.size:  # before anything else these parts let go of them
            naming = {name: {"removed": {"item": gone}} for name in self._naming_items}
            frame = merged(naming, frame)
        self._advance()
        accepted, self._accepted = self._accepted, {}
        if any(accepted.values()):
            frame["accepted"] = accepted
        return frame

    @property
    def absorbed_at(self) -> int:
        """The mark of the users' partition that is farthest behind."""
        return self.marks.absorbed_at

    def _advance(self) -> None:
        users, items, policies = (self._reached(topic) for topic in _WITH_PROGRESS)
        # Workers of before say nothing in `policy`: there policies are as far as items.
        last = policies if self._progress["policy"] else items
        # They had the ranker with the users of partition 0.
        says = self._progress["user-vectors"].values()
        trains = len(says) == self._n_partitions and all(row.trains for row in says)
        trained = self._control.trained if trains else users[0]
        self.marks = Marks(tuple(users), min(items), min(last), trained)
        if all(users):
            self.watermark = min(progress.watermark for progress in self._progress["user-vectors"].values())

    def _reached(self, topic: str) -> list[int]:
        """What each partition says, 0 where it has said nothing."""
        found = self._progress[topic]
        return [found[p].absorbed_at if p in found else 0 for p in range(self._n_partitions)]

    # -- state -----------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """Row numbers and all that was followed up to the last `take`; with a snapshot of the parts, and the
        offsets up to there, a restart need not read everything."""
        misfits = {topic: dict(reader.misfits) for topic, reader in self._readers.items() if reader.misfits}
        return {
            **({"misfits": misfits} if misfits else {}),
            "users": self._users.snapshot(),
            "items": self._items.snapshot(),
            "control": self._control.snapshot(),
            "progress": {
                topic: [[p, row.absorbed_at, row.watermark, row.trains] for p, row in found.items()]
                for topic, found in self._progress.items()
            },
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; restore the parts from the snapshot taken with it."""
        self._users.restore(frame["users"])
        self._items.restore(frame["items"])
        self._policies.parts.clear()
        for topic, reader in self._readers.items():
            reader.misfits = frame.get("misfits", {}).get(topic, {})
        self._control.restore(frame["control"])
        self._progress = {topic: {} for topic in _WITH_PROGRESS} | {
            topic: {p: _progress_of(*row) for p, *row in found} for topic, found in frame["progress"].items()
        }
        self._advance()


def _told(record: _Record, error: Exception) -> FrameError:
    topic, partition, key, _ = record
    told = (NewerFrameError if isinstance(error, NewerFrameError) else FrameError)(
        f"{topic}/{partition}, key {key[:300]!r}: {error}"
    )
    told.__cause__ = error
    return told


def _progress_of(absorbed_at: int, watermark: int, trains: bool = False) -> Progress:
    return Progress(absorbed_at=absorbed_at, watermark=watermark, trains=trains)


def _names_items(part: Part) -> bool:
    return any(column.ref == "item" for columns in part.spec.sides.values() for column in columns)
