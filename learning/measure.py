"""What a measure is: a part that only looks. Kinds are the modules of `learning.measures`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from learners.part import Column, Columns, Part, PartSpec, Side
from stream.blocks import FeedbackBlock
from stream.frame import Frame

__all__ = ["Figure", "Labels", "Measure", "with_item_ids"]

Labels = tuple[str, ...]
"""One value for each of a measure's `labels`."""

Int32 = npt.NDArray[np.int32]

_LABELS = "labels"
_ROW = "labelled"  # the ragged dimension
_WIDTH = 320  # bytes of labels: a policy's name has 256 at most
_BETWEEN = "\x1f"
_ONE_ROW, _NO_ROW = np.zeros(1, np.int32), np.zeros(0, np.int32)


class Figure(NamedTuple):
    """One family of numbers, as Prometheus shows it: `freshet_<name>` with these labels."""

    name: str
    what: str
    labels: tuple[str, ...]
    values: Mapping[Labels, float]
    is_counter: bool = False
    """Whether it only ever grows. What falls with a correction is none: a fall is taken for a restart."""


class Measure(Part):
    """Sums by label: `sums` names them, `labels` what they are told apart by.

    It learns from the blocks of the joiner, with ids and policies by name, on Kafka where users are owned;
    and it reads what parts note, wherever these learn. Servers get the sums of all partitions as one, so a
    measure keeps what may be added up, and whoever reads it divides (`figures`). A measure of your own writes
    `learn` or `read`, and `figures`; the rest follows from `sums`.

    Grows with the labels, `most` at most; all beyond share one that is called "other". Labels end after 320
    bytes.

    Example:
        >>> from stream.blocks import ORGANIC, FeedbackBlock
        >>> class ByUser(Measure):
        ...     labels, sums = ("user",), ("organic",)
        ...     def learn(self, block: FeedbackBlock) -> None:
        ...         for user, _ in block.organic:
        ...             self.at(user)[0] += 1
        >>> here, there = ByUser(), ByUser()
        >>> here.learn(FeedbackBlock([], [("ann", "tea")], [ORGANIC], [0], [-1], [1.0], [True], [5]))
        >>> there.apply(here.changes())
        >>> there.of("ann"), [dict(figure.values) for figure in there.figures()]
        ({'organic': 1.0}, [{('ann',): 1.0}])
    """

    labels: ClassVar[tuple[str, ...]] = ()
    sums: ClassVar[tuple[str, ...]] = ()
    most: ClassVar[int] = 64

    def __init_subclass__(cls, **more: Any) -> None:
        """What replicas need follows from the sums."""
        super().__init_subclass__(**more)
        key = Column(_LABELS, "u1", (_ROW, _WIDTH), merge="key")
        sums = (Column(name, "f8", (_ROW,), merge="sum") for name in cls.sums)
        cls.spec = PartSpec({"shared": (key, *sums)})

    def __init__(self) -> None:
        self._sums: dict[Labels, list[float]] = {}
        self._is_touched = False

    # -- looking ---------------------------------------------------------------------------------------------

    def learn(self, block: FeedbackBlock) -> None:
        """Look at one block of the joiner. Where blocks end has no meaning."""

    def read(self, notes: Mapping[str, Columns]) -> None:
        """Look at what the parts that learn here note, `Part.notes()`, by part, at a tick; those that note
        nothing are left out. On Kafka it is the share of a partition."""

    def figures(self) -> Iterator[Figure]:
        """What is shown; here each sum as it is, under its name."""
        for place, name in enumerate(self.sums):
            values = {labels: sums[place] for labels, sums in self._sums.items()}
            yield Figure(name, f"Counted: {name.replace('_', ' ')}.", self.labels, values)

    def at(self, *labels: str) -> list[float]:
        """The sums of these labels, to be added to, in the order of `sums`."""
        self._is_touched = True
        found = self._sums.get(labels)
        if found is None:
            labels = _unpacked(_packed(labels), len(self.labels))  # as replicas have it
            found = self._sums.get(labels)
        if found is None:
            if len(self._sums) >= self.most:
                labels = ("other",) * len(labels)
            found = self._sums.setdefault(labels, [0.0] * len(self.sums))
        return found

    def clear(self) -> None:
        """Begin with no sums."""
        self._sums, self._is_touched = {}, True

    def of(self, *labels: str) -> dict[str, float]:
        """The sums of these labels by name; zeros where nothing was counted."""
        found = self._sums.get(labels, [0.0] * len(self.sums))
        return dict(zip(self.sums, found, strict=True))

    def by_labels(self) -> dict[Labels, dict[str, float]]:
        """All sums by name, by labels in their order."""
        return {labels: self.of(*labels) for labels in sorted(self._sums)}

    # -- replication -----------------------------------------------------------------------------------------

    def touched(self, side: Side) -> Int32:
        """See `learners.part.Part.touched`."""
        touched, self._is_touched = self._is_touched, False
        return _ONE_ROW if touched else _NO_ROW

    def export(self, side: Side, rows: Int32) -> Columns:
        """See `learners.part.Part.export`."""
        keys = sorted((_packed(labels), sums) for labels, sums in self._sums.items())
        names = b"".join([key for key, _ in keys])
        table = np.array([sums for _, sums in keys], np.float64).reshape(len(keys), len(self.sums))
        columns = {name: table[:, place].copy() for place, name in enumerate(self.sums)}
        return {_LABELS: np.frombuffer(names, np.uint8).reshape(len(keys), _WIDTH), **columns}

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """See `learners.part.Part.adopt`."""
        labels = [_unpacked(row.tobytes(), len(self.labels)) for row in columns[_LABELS]]
        table = np.stack([columns[name] for name in self.sums], axis=1).astype(np.float64)
        self._sums = dict(zip(labels, table.tolist(), strict=True))

    def upgraded(self, frame: Frame) -> Frame:
        """Sums that an older program did not have are zeros."""
        if "shared" not in frame:
            return frame
        n = len(frame["shared"][_LABELS])
        return {**frame, "shared": dict.fromkeys(self.sums, np.zeros(n)) | frame["shared"]}

    # -- state -----------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """All sums; nothing where there are none."""
        return self.export("shared", _ONE_ROW) if self._sums else {}

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self._sums, self._is_touched = {}, False
        if frame:
            self.adopt("shared", _ONE_ROW, self.upgraded({"shared": frame})["shared"])


def _packed(labels: Labels) -> bytes:
    return _BETWEEN.join(labels).encode(errors="replace")[:_WIDTH].ljust(_WIDTH, b"\0")


def _unpacked(key: bytes, n: int) -> Labels:
    found = key.rstrip(b"\0").decode(errors="replace").split(_BETWEEN, max(n - 1, 0)) if n else []
    return (*found, *[""] * (n - len(found)))


def with_item_ids(notes: Columns, names_of: Callable[[str, Int32], list[str | None]]) -> Columns:
    """Notes with ids in place of item rows; of an item that is gone it is empty.

    Example:
        >>> notes = {"alarms": np.array(2), "drifted_items": np.array([1, 0], np.int32)}
        >>> with_item_ids(notes, lambda side, rows: [["tea", None][row] for row in rows])["drifted_items"]
        array(['', 'tea'], dtype='<U3')
    """
    if not any(name.endswith("_items") for name in notes):
        return notes
    return {
        name: np.array([one or "" for one in names_of("item", note)], np.str_)
        if name.endswith("_items")
        else note
        for name, note in notes.items()
    }
