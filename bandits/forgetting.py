"""How a policy forgets: a half-life or a window in event time, for each arm; sums that do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from bandits.drift import DriftSettings
from bandits.errors import PolicyError
from bandits.ops.arrays import Bool, Float64, Int32, Int64, with_room
from bandits.ops.forgetting import count_fading, faded, fold, worth
from learners.part import Column, Columns
from learners.rows import RowBlock
from stream.frame import Frame

__all__ = ["Epochs", "FadingSums", "Forgetting", "ForgettingSettings", "SharedSums"]

_STEPS = 32
"""Steps of a half-life: within one, 2.2 %, nothing fades, so that what was computed of an arm may be kept."""

_LEAST_MS, _MOST_MS = 1_000, 10 * 365 * 86_400_000
_MOST_PARTS = 64


class ForgettingSettings(DriftSettings, frozen=True, forbid_unknown_fields=True):
    """What every policy that forgets may be told about it."""

    half_life_ms: Annotated[int, Meta(ge=0, le=_MOST_MS)] = 0
    """Event time after which an outcome counts half; 0 never forgets."""
    window_ms: Annotated[int, Meta(ge=0, le=_MOST_MS)] = 0
    """Only outcomes of so much event time count; 0 never forgets. It goes without a half-life."""
    window_parts: Annotated[int, Meta(ge=1, le=_MOST_PARTS)] = 8
    """Parts of the window: the oldest is dropped whole, and each is kept for every arm."""

    def forgetting(self) -> Forgetting | None:
        """What it comes to; None: nothing is forgotten.

        Raises:
            PolicyError: settings that do not go together.
        """
        if self.window_parts != ForgettingSettings().window_parts and not self.window_ms:
            msg = f"window_parts = {self.window_parts} does nothing without window_ms; leave it out"
            raise PolicyError(msg)
        if not (self.half_life_ms or self.window_ms):
            return None
        return Forgetting(self.half_life_ms, self.window_ms, self.window_parts)


_SETTINGS = "half_life_ms", "window_ms", "window_parts"


@dataclass(frozen=True, slots=True)
class Forgetting:
    """One way to forget, in whole steps of event time (`bandits.ops.forgetting`).

    Raises:
        PolicyError: both ways at once, or a time that is too short or too long.

    Example:
        >>> hour, day = Forgetting(half_life_ms=3_600_000), Forgetting(window_ms=86_400_000)
        >>> (hour.parts, hour.step_ms, round(hour.fading**32, 9)), (day.parts, day.step_ms, day.fading)
        ((1, 112500, 0.5), (8, 10800000, 0.0))
    """

    half_life_ms: int = 0
    window_ms: int = 0
    window_parts: int = 8

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.half_life_ms and self.window_ms:
            msg = (
                f"half_life_ms = {self.half_life_ms} and window_ms = {self.window_ms} both say how to "
                "forget; drop window_ms to let outcomes fade, or half_life_ms to drop them at an age"
            )
            raise PolicyError(msg)
        name = "window_ms" if self.window_ms else "half_life_ms"
        time = self.window_ms or self.half_life_ms
        if not _LEAST_MS <= time <= _MOST_MS:
            msg = f"{name} is from {_LEAST_MS} (a second) to {_MOST_MS} (ten years), 0 for none; got {time}"
            raise PolicyError(msg)
        if not 1 <= self.window_parts <= _MOST_PARTS:
            msg = f"window_parts is from 1 to {_MOST_PARTS}; got {self.window_parts}"
            raise PolicyError(msg)

    @property
    def parts(self) -> int:
        """Slots of each arm."""
        return self.window_parts if self.window_ms else 1

    @property
    def step_ms(self) -> int:
        """Event time that counts as one."""
        if self.window_ms:
            return -(-self.window_ms // self.window_parts)
        return self.half_life_ms // _STEPS

    @property
    def fading(self) -> float:
        """What a step leaves of a slot's sums; 0 in a window, whose slots end whole."""
        return 0.0 if self.window_ms else 2.0 ** -(self.step_ms / self.half_life_ms)

    @property
    def said(self) -> tuple[int, int, int]:
        """The three settings as rows and snapshots have them."""
        return self.half_life_ms, self.window_ms, self.parts

    @property
    def columns(self) -> tuple[Column, ...]:
        """What every row says beside its sums: under which settings, and of which steps they are."""
        return (
            Column("forgets", "i8", (3,), setting=True, expects=self.said, named=_SETTINGS),
            Column("epochs", "i8", (self.parts,)),
        )

    def epochs_of(self, block: RowBlock) -> Int64:
        """The step of each slate (S,) of a block."""
        return np.maximum(block.slate_ts, 0) // self.step_ms

    def export(self, rows: Int32) -> Columns:
        """The column of settings for `rows` (n,)."""
        return {"forgets": np.broadcast_to(np.array(self.said, np.int64), (rows.size, 3)).copy()}

    @staticmethod
    def require_alike(mine: Forgetting | None, frame: Frame) -> None:
        """That a snapshot was written by a policy that forgets in the same way.

        Raises:
            PolicyError: it was not.

        Example:
            >>> Forgetting.require_alike(None, {"forgets": [3_600_000, 0, 1]})
            Traceback (most recent call last):
            bandits.errors.PolicyError: what it learned was kept with half_life_ms = 3600000, and is to be \
read without forgetting; put that back, or let it start afresh under another `name`
        """
        stored, said = frame.get("forgets"), None if mine is None else list(mine.said)
        stored = None if stored is None else [int(value) for value in stored]
        if stored != said:
            msg = (
                f"what it learned was kept {_in_words(stored)}, and is to be read {_in_words(said)}; "
                "put that back, or let it start afresh under another `name`"
            )
            raise PolicyError(msg)


def _in_words(said: list[int] | None) -> str:
    if said is None:
        return "without forgetting"
    half_life_ms, window_ms, parts = said
    if half_life_ms:
        return f"with half_life_ms = {half_life_ms}"
    return f"with window_ms = {window_ms} and window_parts = {parts}"


class Epochs:
    """The steps of the slots of each row, (n, parts), and the newest of all: that is *now*.

    Now is part of what is replicated, so that whoever has the same rows believes the same; no clock is read.
    8 bytes a slot.

    Example:
        >>> epochs = Epochs(1)
        >>> epochs.ensure(3)
        >>> epochs.adopt(np.array([0, 2], np.int32), np.array([[7], [9]]))
        >>> epochs.clear(np.array([2], np.int32))
        >>> epochs.now
        7
    """

    def __init__(self, parts: int) -> None:
        self.of = np.zeros((0, parts), np.int64)
        self.now = 0

    def ensure(self, n: int) -> None:
        """Make room for rows 0..n - 1."""
        self.of = with_room(self.of, n)

    def seen(self, rows: Int32) -> None:
        """Rows have learned."""
        self.now = max(self.now, int(self.of[rows].max(initial=0)))

    def adopt(self, rows: Int32, epochs: Int64) -> None:
        """Take over those of `rows` (n,)."""
        before, newest = int(self.of[rows].max(initial=0)), int(epochs.max(initial=0))
        self.of[rows] = epochs
        # Whoever gets the rows of now alone knows nothing of what stood here. The pass over all is rare: time
        # goes on, so that what comes is mostly the newest.
        self.now = int(self.of.max(initial=0)) if newest < before == self.now else max(self.now, newest)

    def clear(self, rows: Int32) -> None:
        """Forget these rows."""
        self.adopt(rows, np.zeros((rows.size, self.of.shape[1]), np.int64))


class FadingSums:
    """Sums (n, parts, W) of each row that forget.

    Grows with the rows: 8 (W + 1) bytes a slot.

    Args:
        forgetting: how.
        width: W.

    Example:
        >>> sums = FadingSums(Forgetting(half_life_ms=32_000), 1)
        >>> columns = {"epochs": np.array([[0], [32]]), "sums": np.array([[[8.0]], [[8.0]]])}
        >>> sums.adopt(np.array([0, 1], np.int32), columns)
        >>> sums.at_now(np.array([0, 1, 7], np.int32)).ravel().round(9).tolist()
        [4.0, 8.0, 0.0]
    """

    def __init__(self, forgetting: Forgetting, width: int) -> None:
        self.forgetting = forgetting
        self.columns = (*forgetting.columns, Column("sums", "f8", (forgetting.parts, width)))
        self.epochs = Epochs(forgetting.parts)
        self.sums = np.zeros((0, forgetting.parts, width))

    def ensure(self, n: int) -> None:
        """Make room for rows 0..n - 1."""
        self.epochs.ensure(n)
        self.sums = with_room(self.sums, n)

    def at_now(self, rows: Int32) -> Float64:
        """What the sums of `rows` (n,) are worth now, (n, W); 0 for unknown ones, which take no memory."""
        epochs = self.epochs
        out: Float64 = faded(rows, epochs.of, self.sums, epochs.now, self.forgetting.fading)
        return out

    def count(self, block: RowBlock, gains: Float64, shown: Int64, mark: Bool) -> Int32:
        """Add impressions and rewards: W is 2; the rows touched. See `count_fading`."""
        epochs = self.epochs
        touched = count_fading(
            block.kind, block.slate, block.place, gains, block.start, block.items, block.decided,
            self.forgetting.epochs_of(block), self.forgetting.fading, shown, epochs.of, self.sums, mark,
        )  # fmt: skip
        epochs.seen(touched)
        return touched

    def clear(self, rows: Int32) -> None:
        """Forget these rows."""
        self.sums[rows] = 0.0
        self.epochs.clear(rows)

    def merge(self, other: FadingSums) -> Int32:
        """Add what another shard has learned; the rows that it has."""
        self.ensure(other.sums.shape[0])
        rows = np.flatnonzero(other.held()).astype(np.int32)
        for row in rows.tolist():
            there = other.epochs.of[row], other.sums[row]
            fold(self.epochs.of[row], self.sums[row], *there, self.forgetting.fading)
        self.epochs.seen(rows)
        return rows

    def held(self) -> Bool:
        """Whether each row (n,) holds anything."""
        return np.asarray(self.sums.any(axis=(1, 2)) | self.epochs.of.any(axis=1), np.bool_)

    def export(self, rows: Int32) -> Columns:
        """All that is kept of `rows` (n,)."""
        return {
            **self.forgetting.export(rows), "epochs": self.epochs.of[rows], "sums": self.sums[rows],
        }  # fmt: skip

    def adopt(self, rows: Int32, columns: Mapping[str, Any]) -> None:
        """Replace what is kept of `rows` (n,)."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        self.epochs.adopt(rows, columns["epochs"])
        self.sums[rows] = columns["sums"]


class SharedSums:
    """Sums (W,) that belong to no row and forget: a few slots, or what several owners say of theirs.

    Owners count steps alike, so that their slots are added by epoch; of a half-life there may be one from
    each owner. Whoever follows keeps them as they came, and folds them together before it learns.

    Example:
        >>> sums = SharedSums(Forgetting(half_life_ms=32_000), 1)
        >>> sums.adopt(np.array([0, 32]), np.array([[8.0], [8.0]]))
        >>> sums.at(64).round(9).tolist(), sums.newest
        ([6.0], 32)
    """

    def __init__(self, forgetting: Forgetting, width: int) -> None:
        self.forgetting = forgetting
        self._width = width
        self._epochs = np.zeros(forgetting.parts, np.int64)
        self._sums = np.zeros((forgetting.parts, width))
        self._are_slots = True

    @property
    def newest(self) -> int:
        """The last step that it holds anything of."""
        return int(self._epochs.max(initial=0))

    def slots(self) -> tuple[Int64, Float64]:
        """Epochs (parts,) and sums (parts, W) to learn into."""
        if not self._are_slots:
            came, added = self._epochs, self._sums
            SharedSums.__init__(self, self.forgetting, self._width)
            fold(self._epochs, self._sums, came, added, self.forgetting.fading)
        return self._epochs, self._sums

    def at(self, now: int) -> Float64:
        """What it is all worth at a step, (W,)."""
        total = np.zeros(self._width)
        # In the order of time, which is the same for owners and for those who follow.
        for epoch, sums in zip(*self.export(), strict=True):
            total += worth(now - int(epoch), self.forgetting.parts, self.forgetting.fading) * sums
        return total

    def export(self) -> tuple[Int64, Float64]:
        """Epochs (k,), ascending, and their sums (k, W)."""
        held = np.flatnonzero((self._epochs > 0) | self._sums.any(axis=1))
        held = held[np.argsort(self._epochs[held])]
        return self._epochs[held], self._sums[held]

    def adopt(self, epochs: Int64, sums: Float64) -> None:
        """Take over what one owner or several said, by epoch."""
        self._epochs, self._sums, self._are_slots = epochs.copy(), sums.copy(), False
