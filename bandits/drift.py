"""Arms whose rewards have changed: detectors of drift, one an item, and what they have been fed.

The detectors are those of river. It is imported when the first arm gets one: it takes a second and 110 MB,
and a process that only serves never pays them.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self, cast

import msgspec
import numpy as np
from msgspec import Meta

from bandits.errors import PolicyError
from bandits.ops.arrays import Float32, Int32
from bandits.ops.drift import closed_places
from learners.part import Columns, Part, Side
from learners.rows import RowBlock
from learners.world import World
from stream.frame import Frame

__all__ = ["DriftSettings", "DriftWatch", "Watched"]

_log = logging.getLogger(__name__)

_MOST = 2_048  # values an arm: with ADWIN's own 2 kB that is 4 kB, 0.4 GB for 100,000 arms
_MOST_MEANS = 256  # KSWIN looks no further back than 60, and a second of river's time feeds it 2,000 again
_GROUP = 32  # rewards are mostly 0 or 1: of single ones the Kolmogorov-Smirnov test can tell nothing
_KSWIN_WINDOW, _KSWIN_LAST = 60, 20
_NOTED = 32  # alarms that people are told the items of
_IDLE_MS = 24 * 3_600_000
_DETECTORS = ("adwin", "page_hinkley", "kswin")
_NO_ROWS = np.zeros(0, np.int32)


class DriftSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which detector watches each arm, and how easily it gives an alarm."""

    detector: Literal["", "adwin", "page_hinkley", "kswin"] = ""
    """Who watches the reward of each item and has it learned afresh when that has changed: a detector of
    river; empty for none."""
    detect_after: Annotated[int, Meta(ge=0, le=1_000_000)] = 200
    """Impressions of an item, picked by a policy and with their windows closed, before it is watched."""
    max_detectors: Annotated[int, Meta(ge=1, le=100_000)] = 100_000
    """Items that are watched at once; others wait until one of them is gone or was not picked for a day."""
    adwin_delta: Annotated[float, Meta(gt=0, le=0.5)] = 0.002
    """Of `adwin`: the significance of a change; less gives fewer false alarms, and later ones."""
    page_hinkley_delta: Annotated[float, Meta(ge=0, le=1)] = 0.005
    """Of `page_hinkley`: a change of the mean reward that is none, as a share of [join] cap."""
    page_hinkley_threshold: Annotated[float, Meta(gt=0, le=1_000_000)] = 50.0
    """Of `page_hinkley`: impressions times change, as a share of [join] cap, that give an alarm."""
    kswin_alpha: Annotated[float, Meta(gt=0, le=0.5)] = 0.001
    """Of `kswin`: the significance of a change between the means of 32 impressions each."""

    def learns_with(self) -> tuple[str, ...]:
        """The modules that are imported when items are first watched, so that they are asked for before."""
        return ("river",) if self.detector else ()

    def refuse_unused(self) -> None:
        """That no setting is given of a detector that is not chosen: who wrote it believes that it works.

        Raises:
            PolicyError: one is; a value that is the default says nothing.

        Example:
            >>> DriftSettings(detector="kswin", adwin_delta=0.01).refuse_unused()
            Traceback (most recent call last):
            bandits.errors.PolicyError: adwin_delta = 0.01 does nothing with detector = "kswin"; write \
detector = "adwin", or leave it out
        """
        for field in msgspec.structs.fields(DriftSettings):
            value, owner = getattr(self, field.name), field.name.rpartition("_")[0]
            if field.name == "detector" or value == field.default or self.detector == owner:
                continue
            if owner in _DETECTORS or not self.detector:
                meant = owner if owner in _DETECTORS else "adwin"
                without = f'with detector = "{self.detector}"' if self.detector else "without a detector"
                msg = (
                    f'{field.name} = {value} does nothing {without}; write detector = "{meant}", or leave it '
                    "out"
                )
                raise PolicyError(msg)


class _Detector(Protocol):
    """What we use of a detector of river."""

    def update(self, x: float) -> Any: ...

    @property
    def drift_detected(self) -> bool: ...


class _Arm:
    """One item that is watched: its detector, None until it is fed again, and the values fed to that."""

    __slots__ = ("detector", "last_ms", "n_waiting", "sum_waiting", "values")

    def __init__(self, last_ms: int) -> None:
        self.detector: _Detector | None = None
        self.values: bytearray | array[float] = bytearray()
        self.last_ms = last_ms
        self.sum_waiting, self.n_waiting = 0.0, 0

    def append(self, value: float) -> None:
        """Keep one value: a byte while all are 0 or 1, else 4 bytes each."""
        if isinstance(self.values, bytearray):
            if value == 0.0 or value == 1.0:
                self.values.append(int(value))
                return
            self.values = array("f", list(self.values))  # of bytes it would read their pattern
        self.values.append(value)


class DriftWatch:
    """Watches the reward of each item at places that a policy picked, in order, when windows close.

    Places of the ranker are left out: what it shows, and to whom, changes with all that it learns, and so
    would the mean reward there, though the item is as good as before. A reward is fed as a share of `cap`,
    in -1..1. An item is watched from its impression number `detect_after` on. After an alarm it is as new:
    what was learned of it goes, and as many impressions pass before it is watched again.

    *State* are the values fed to an arm's detector, never the detector: after a restart it is fed again when
    its arm is. At 2,048 the newest 1,024 are fed to a fresh detector, and the rest goes, so that it is the
    same detector whenever a restart comes and wherever blocks are cut; what it sees in them is an alarm.
    KSWIN sees means of 32 and keeps at most 256 of them; its random numbers begin alike for every arm, since
    rows have other numbers elsewhere.

    Grows with the items, 4 bytes each, and 100 more for each that ever gave an alarm. An arm that is watched
    takes 2 to 4 kB where rewards are 0 or 1, else up to 10 kB; at most `max_detectors` are.

    Example:
        >>> watch = DriftWatch(DriftSettings(detector="adwin", detect_after=10))
        >>> [block for block, drifted in watch.pieces(RowBlock.empty())], watch.notes()["drift_alarms"].item()
        ([], 0)
    """

    def __init__(self, settings: DriftSettings, *, cap: float = 1.0, n_partitions: int = 1) -> None:
        self.settings = settings
        self._cap = cap
        self._most_arms = -(-settings.max_detectors // n_partitions)
        self._group = _GROUP if settings.detector == "kswin" else 1
        self._most = _MOST_MEANS if settings.detector == "kswin" else _MOST
        self._make: Callable[[], _Detector] | None = None
        self._clear()

    def _clear(self) -> None:
        self._seen = array("i")
        self._arms: dict[int, _Arm] = {}
        self._idlest_ms = 0  # no arm was fed last before this
        self._alarmed: dict[int, tuple[int, int]] = {}
        self._n_alarms, self._n_unwatched = 0, 0

    # --- feeding ---

    def pieces(self, block: RowBlock) -> Iterator[tuple[RowBlock, Int32]]:
        """The block, cut behind each operation that gave alarms, with the rows that are to be forgotten
        before the next piece is learned."""
        low = 0
        for operation, drifted in self._feed(block).items():
            yield block.operations(low, operation + 1), np.array(drifted, np.int32)
            low = operation + 1
        if low < len(block):
            yield block.operations(low, len(block)) if low else block, _NO_ROWS

    def _feed(self, block: RowBlock) -> dict[int, list[int]]:
        """Feed what closes in a block, in order; rows that gave an alarm, by operation."""
        operations, rows, rewards = closed_places(
            block.kind, block.slate, block.start, block.items, block.decided, block.explored, block.rewards
        )
        if not rows.size:
            return {}
        self._ensure(int(rows.max()) + 1)
        values = np.clip(rewards / np.float32(self._cap), -1.0, 1.0).astype(np.float32)
        numbers = values.astype(np.int8).tolist() if _are_bits(values) else values.tolist()
        alarms: dict[int, list[int]] = {}
        arms, group, most = self._arms, self._group, self._most
        times = block.ts[operations].tolist()
        for operation, row, value, ts in zip(operations.tolist(), rows.tolist(), numbers, times, strict=True):
            arm = arms.get(row)
            if arm is None:
                arm = self._arm_for(row, ts)
                if arm is None:
                    continue
            if ts > arm.last_ms:
                arm.last_ms = ts
            if group > 1:
                arm.sum_waiting += value
                arm.n_waiting += 1
                if arm.n_waiting < group:
                    continue
                # As it is kept, so that it is fed alike after a restart.
                value = float(np.float32(arm.sum_waiting / group))
                arm.sum_waiting, arm.n_waiting = 0.0, 0
            detector = arm.detector
            if detector is None:
                detector = self._fed_again(arm)
            detector.update(value)
            arm.append(value)
            if detector.drift_detected or (len(arm.values) >= most and self._renewed(arm)):
                self._alarm(row, ts)
                alarms.setdefault(operation, []).append(row)
        return alarms

    def _arm_for(self, row: int, ts: int) -> _Arm | None:
        """Count an impression of an arm that is not watched; after `detect_after` it is, if there is room."""
        if self._seen[row] < self.settings.detect_after:
            self._seen[row] += 1
            return None
        if len(self._arms) >= self._most_arms:
            self._release_idle(ts)
        if len(self._arms) >= self._most_arms:
            self._n_unwatched += 1
            return None
        self._idlest_ms = min(self._idlest_ms, ts)
        arm = self._arms[row] = _Arm(ts)
        return arm

    def _release_idle(self, now_ms: int) -> None:
        """Watch no longer what was not picked for a day."""
        if now_ms - self._idlest_ms < _IDLE_MS:  # most often: nobody is looked at
            return
        for row in [row for row, arm in self._arms.items() if now_ms - arm.last_ms >= _IDLE_MS]:
            del self._arms[row]
        self._idlest_ms = min((arm.last_ms for arm in self._arms.values()), default=now_ms)

    def _renewed(self, arm: _Arm) -> bool:
        """Go on with the newest half of an arm's values and a fresh detector; whether that gives an alarm,
        for it looks at other places than the old one did, and may see a flip first."""
        arm.values = arm.values[self._most // 2 :]
        detector = arm.detector = self._fresh()
        for value in arm.values:
            detector.update(value)
            if detector.drift_detected:
                return True
        return False

    def _fed_again(self, arm: _Arm) -> _Detector:
        """After a restart: a detector that has been fed all values of an arm. It gave no alarm at any of
        them; if it does so now, it has other settings, or river is another release, and it goes on."""
        detector = arm.detector = self._fresh()
        update = detector.update
        for value in arm.values:
            update(value)
        return detector

    def _fresh(self) -> _Detector:
        if self._make is None:
            self._make = _maker(self.settings)
        return self._make()

    def _alarm(self, row: int, ts: int) -> None:
        del self._arms[row]
        self._seen[row] = 0
        self._n_alarms += 1
        self._alarmed[row] = self._alarmed.pop(row, (0, 0))[0] + 1, ts  # the newest stands last

    def _ensure(self, n: int) -> None:
        if n > len(self._seen):
            self._seen.extend([0] * (max(n, len(self._seen) * 5 // 4) - len(self._seen)))

    def remove(self, rows: Int32) -> None:
        """These rows may be given to other items."""
        for row in rows.tolist():
            if 0 <= row < len(self._seen):
                self._seen[row] = 0
            self._arms.pop(row, None)
            self._alarmed.pop(row, None)

    # --- telling ---

    def notes(self) -> Columns:
        """Alarms so far, items that are watched, impressions of items for which there was no room, and the
        items that gave the last alarms, with how many each and when."""
        newest = list(islice(reversed(self._alarmed.items()), _NOTED))
        return {
            "drifted_items": np.array([row for row, _ in newest], np.int32),
            "drifted_items_alarms": np.array([n for _, (n, _) in newest], np.int64),
            "drifted_items_ms": np.array([ts for _, (_, ts) in newest], np.int64),
            "drift_alarms": np.array(self._n_alarms),
            "drift_watched": np.array(len(self._arms)),
            "drift_unwatched": np.array(self._n_unwatched),
        }

    # --- state ---

    def snapshot(self) -> Frame:
        """Impressions and values by row, and alarms."""
        rows = sorted(self._arms)
        arms = [self._arms[row] for row in rows]
        values = [np.array(arm.values, np.float32) for arm in arms]
        binary = [_are_bits(one) for one in values]
        bits = [one for one, is_binary in zip(values, binary, strict=True) if is_binary]
        floats = [one for one, is_binary in zip(values, binary, strict=True) if not is_binary]
        seen = np.array(self._seen, np.int32)
        counted, alarmed = np.flatnonzero(seen).astype(np.int32), list(self._alarmed)
        return {
            "detector": self.settings.detector,
            "seen_rows": counted,
            "seen": seen[counted],
            "rows": np.array(rows, np.int32),
            "last_ms": np.array([arm.last_ms for arm in arms], np.int64),
            "sum_waiting": np.array([arm.sum_waiting for arm in arms], np.float64),
            "n_waiting": np.array([arm.n_waiting for arm in arms], np.int32),
            "n": np.array([one.size for one in values], np.int32),
            "is_binary": np.array(binary, np.bool_),
            "bits": np.packbits(_joined(bits).astype(np.bool_)),
            "floats": _joined(floats),
            "alarmed_rows": np.array(alarmed, np.int32),
            "alarmed": np.array([self._alarmed[row] for row in alarmed], np.int64).reshape(-1, 2),
            "alarms": self._n_alarms,
            "unwatched": self._n_unwatched,
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; values that were kept for another detector go."""
        self._clear()
        if not frame:
            return
        self._ensure(int(frame["seen_rows"].max(initial=-1)) + 1)
        for row, n in zip(frame["seen_rows"].tolist(), frame["seen"].tolist(), strict=True):
            self._seen[row] = n
        self._alarmed = {
            row: (n, ts)
            for row, (n, ts) in zip(frame["alarmed_rows"].tolist(), frame["alarmed"].tolist(), strict=True)
        }
        self._n_alarms, self._n_unwatched = int(frame["alarms"]), int(frame["unwatched"])
        if frame["detector"] != self.settings.detector:
            return
        for row, arm in _arms_of(frame):
            self._arms[row] = arm


class Watched(Part, ABC):
    """What policies over items share: with a `watch`, an arm whose reward has changed is learned afresh."""

    name: ClassVar[str]
    watch: DriftWatch | None = None
    _said_as = ""

    def watched_by(self, settings: DriftSettings, world: World) -> Self:
        """The same policy, whose items are watched if the settings name a detector.

        Raises:
            PolicyError: a setting of another detector is given.
        """
        settings.refuse_unused()
        self._said_as = world.name
        if settings.detector:
            self.watch = DriftWatch(settings, cap=world.cap, n_partitions=world.n_partitions)
        return self

    @abstractmethod
    def learn(self, rows: RowBlock) -> Int32:
        """Learn outcomes in order; returns the item rows touched, ascending."""

    @abstractmethod
    def remove_items(self, rows: Int32) -> None:
        """Forget what was learned of these rows; they may be given to other items."""

    def learn_items(self, block: RowBlock, parcel: Mapping[str, Columns]) -> None:
        """Learn a block where its items are owned; what has drifted is forgotten where the alarm stands."""
        if self.watch is None:
            self.learn(block)
            return
        for piece, drifted in self.watch.pieces(block):
            self.learn(piece)
            if drifted.size:
                self.remove_items(drifted)

    def remove(self, side: Side, rows: Int32) -> None:
        """Forget items; users are nothing to a policy."""
        if side == "item":
            self.remove_items(rows)
            if self.watch is not None:
                self.watch.remove(rows)

    def notes(self) -> Columns:
        """Alarms and what is watched; nothing without a detector."""
        return {} if self.watch is None else self.watch.notes()

    def drift_frame(self) -> Frame:
        """What the watch adds to a snapshot."""
        return {} if self.watch is None else {"drift": self.watch.snapshot()}

    def restore_drift(self, frame: Frame) -> None:
        """Take over the watch's part of a snapshot, if there is one; a changed detector is said."""
        kept = frame.get("drift", {})
        now = "" if self.watch is None else self.watch.settings.detector
        if kept and kept["detector"] != now:
            goes_on = (
                f"{now} watches its items from now on, with nothing seen yet"
                if now
                else "none is watched now"
            )
            _log.warning(
                "%s: the snapshot's items were watched by %s; %s. What was learned stays",
                self._said_as or self.name, kept["detector"], goes_on,
            )  # fmt: skip
        if self.watch is not None:
            self.watch.restore(kept)


def _arms_of(frame: Frame) -> Iterator[tuple[int, _Arm]]:
    """The arms of a snapshot, by row."""
    n, is_binary = frame["n"], frame["is_binary"]
    bits = np.unpackbits(frame["bits"], count=int(n[is_binary].sum())).tobytes()
    at = {True: 0, False: 0}
    columns = (
        frame[name].tolist() for name in ("rows", "last_ms", "sum_waiting", "n_waiting", "n", "is_binary")
    )
    for row, last_ms, total, n_waiting, size, binary in zip(*columns, strict=True):
        arm, low = _Arm(last_ms), at[binary]
        at[binary] += size
        if binary:
            arm.values = bytearray(bits[low : low + size])
        else:
            arm.values = array("f", frame["floats"][low : low + size].tobytes())
        arm.sum_waiting, arm.n_waiting = total, n_waiting
        yield row, arm


def _are_bits(values: Float32) -> bool:
    return bool(((values == 0.0) | (values == 1.0)).all())


def _joined(values: list[Float32]) -> Float32:
    return np.concatenate(values) if values else np.zeros(0, np.float32)


def _maker(settings: DriftSettings) -> Callable[[], _Detector]:
    from river import drift

    if settings.detector == "adwin":
        made: Any = partial(drift.ADWIN, delta=settings.adwin_delta)
    elif settings.detector == "page_hinkley":
        made = partial(
            drift.PageHinkley, delta=settings.page_hinkley_delta, threshold=settings.page_hinkley_threshold
        )
    else:
        made = partial(
            drift.KSWIN, alpha=settings.kswin_alpha, window_size=_KSWIN_WINDOW, stat_size=_KSWIN_LAST, seed=0
        )
    return cast(Callable[[], _Detector], made)
