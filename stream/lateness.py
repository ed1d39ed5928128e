"""What JOIN would certainly count as late, found out before it is accepted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from stream.codec import Decoded, Rejection
from stream.events import Click, Decision, Event, Impression, LearnedDecision

__all__ = [
    "BEHAVIOUR",
    "EventTimeGate",
    "LateGate",
    "Passage",
    "WallGate",
    "at_utc",
    "is_late",
    "without_late",
]

BEHAVIOUR = (Impression, Click, Decision, LearnedDecision)
"""What can be late. An item or a forget is the newest word about its id, whenever it was said: it is never
late, and says nothing about how far history has come."""

_LATE = "ts: expected at least"


@dataclass(slots=True)
class Passage:
    """What became of a batch at the gate: reasons by place in it, and the newest `ts` by partition."""

    late: dict[int, str] = field(default_factory=dict)
    newest: dict[int, int] = field(default_factory=dict)


class LateGate(Protocol):
    """Holds events against a watermark at the time of acceptance."""

    def enter(self, events: Sequence[Event]) -> Passage:
        """Look at a batch, in order; `leave` must follow."""

    def leave(self, passage: Passage, *, stored: bool) -> None:
        """The batch, without what was late, is stored, or is not."""


class WallGate:
    """For the live stream on the wall clock: its watermark is the time of acceptance.

    Args:
        watermark: what it will be at least when an event that is accepted now is joined, ms.

    Example:
        >>> gate = WallGate(600_000, lambda: 1_700_000_900_000)
        >>> gate.enter([Click(ts=1_700_000_300_000, item_id="a"), Click(ts=5, item_id="a")]).late
        {1: 'ts: expected at least 1700000300000, at most 600000 ms old, got 5, which is too late to be \
learned live; history goes with "backfill": true (`freshet feed --backfill`)'}
    """

    def __init__(self, lateness_ms: int, watermark: Callable[[], float]) -> None:
        self._lateness_ms, self._watermark = lateness_ms, watermark

    def enter(self, events: Sequence[Event]) -> Passage:
        """Look at a batch."""
        horizon = int(self._watermark()) - self._lateness_ms
        return Passage(
            {
                place: self._reason(event.ts, horizon)
                for place, event in enumerate(events)
                if event.ts < horizon and isinstance(event, BEHAVIOUR)
            }
        )

    def leave(self, passage: Passage, *, stored: bool) -> None:
        """Nothing depends on it: the clock goes on by itself."""

    def _reason(self, ts: int, horizon: int) -> str:
        return (
            f"{_LATE} {horizon}, at most {self._lateness_ms} ms old, got {ts}, which is too "
            'late to be learned live; history goes with "backfill": true (`freshet feed --backfill`)'
        )


class EventTimeGate:
    """For history, and the live stream on the event clock: the watermark is the largest `ts` accepted so far.

    It knows what was learned (`known`), what it let through itself, and what is on its way into the log just
    now. What others let through at the same moment it cannot know: that is still counted by JOIN. Keeps a
    number a partition and one a batch on its way.

    Args:
        lateness_ms, tick_ms: as JOIN and the engine have them.
        history: whether it is that stream, for the reason given.
        known: the watermark of a partition as far as it is known from elsewhere, ms; -1 where none is.
        partition_of: whose watermark counts for an event.
        on_stored: told the newest `ts` by partition of a batch that was stored.

    Example:
        >>> gate = EventTimeGate(60_000, 1_000, history=True)
        >>> batch = [Click(ts=1_700_000_090_500, item_id="a"), Click(ts=1_700_000_029_000, item_id="a")]
        >>> passage = gate.enter(batch)
        >>> passage.late[1]
        'ts: expected at least 1700000030000, got 1700000029000; history is loaded up to \
2023-11-14T22:14:50Z, and what is more than 60000 ms older is learned no more: load older \
files first, or several with one command'
        >>> gate.leave(passage, stored=True)
        >>> list(gate.enter(batch[1:]).late)
        [0]
    """

    def __init__(
        self,
        lateness_ms: int,
        tick_ms: int,
        *,
        history: bool,
        known: Callable[[int], int] = lambda _partition: -1,
        partition_of: Callable[[Event], int] = lambda _event: 0,
        on_stored: Callable[[Mapping[int, int]], None] = lambda _newest: None,
    ) -> None:
        self._lateness_ms, self._tick_ms, self._history = lateness_ms, tick_ms, history
        self._known, self._partition_of, self._on_stored = known, partition_of, on_stored
        self._let_through: dict[int, int] = {}
        self._on_their_way: list[Passage] = []

    def enter(self, events: Sequence[Event]) -> Passage:
        """Look at a batch, in order."""
        passage, watermarks = Passage(), dict[int, int]()
        tick_ms, lateness_ms = self._tick_ms, self._lateness_ms
        for place, event in enumerate(events):
            ts, acts = event.ts, isinstance(event, BEHAVIOUR)
            if self._history and not acts:
                continue
            partition = self._partition_of(event)
            reached = watermarks.get(partition)
            if reached is None:
                reached = watermarks[partition] = self._newest(partition)
            if ts > reached:
                watermarks[partition] = passage.newest[partition] = ts
            elif acts and ts < reached // tick_ms * tick_ms - lateness_ms:
                passage.late[place] = self._reason(ts, reached)
        self._on_their_way.append(passage)
        return passage

    def _newest(self, partition: int) -> int:
        on_their_way = [passage.newest.get(partition, -1) for passage in self._on_their_way]
        return max(self._known(partition), self._let_through.get(partition, -1), *on_their_way)

    def leave(self, passage: Passage, *, stored: bool) -> None:
        """Remember what was let through, if it is there."""
        self._on_their_way = [other for other in self._on_their_way if other is not passage]
        if stored:
            for partition, ts in passage.newest.items():
                self._let_through[partition] = max(ts, self._let_through.get(partition, -1))
            self._on_stored(passage.newest)

    def _reason(self, ts: int, reached: int) -> str:
        watermark = reached // self._tick_ms * self._tick_ms
        wanted = f"{_LATE} {watermark - self._lateness_ms}, got {ts}"
        if not self._history:
            return f"{wanted}: more than {self._lateness_ms} ms behind {at_utc(watermark)}, the newest event"
        return (
            f"{wanted}; history is loaded up to {at_utc(watermark)}, and what is more than "
            f"{self._lateness_ms} ms older is learned no more: load older files first, or several with one "
            "command"
        )


def is_late(reason: str) -> bool:
    """Whether a reason, of whatever process of Freshet, is one of the gates of this module.

    Example:
        >>> is_late(EventTimeGate(0, 1, history=True)._reason(5, 7)), is_late("ts: required, but missing")
        (True, False)
    """
    return reason.startswith(_LATE)


def at_utc(ms: int) -> str:
    """A time as people write it.

    Example:
        >>> at_utc(1_700_000_000_000)
        '2023-11-14T22:13:20Z'
    """
    return datetime.fromtimestamp(ms / 1e3, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def without_late(decoded: Decoded, late: Mapping[int, str]) -> Decoded:
    """The batch with the events at `late` (places among the accepted ones) refused for the reasons given.

    Example:
        >>> batch = Decoded([Click(ts=1, item_id="a"), Click(ts=9, item_id="b")], [b"1", b"9"], [], [])
        >>> sifted = without_late(batch, {0: "ts: too old"})
        >>> sifted.raw, sifted.rejected
        ([b'9'], [Rejection(index=0, reason='ts: too old')])
    """
    if not late:
        return decoded
    gone = {refusal.index for refusal in decoded.rejected}
    places = [n for n in range(len(decoded.events) + len(gone)) if n not in gone]
    refused = list(zip(decoded.rejected, decoded.refused, strict=True))
    refused += [(Rejection(places[at], reason), decoded.raw[at]) for at, reason in late.items()]
    refused.sort(key=lambda pair: pair[0].index)
    return Decoded(
        [event for at, event in enumerate(decoded.events) if at not in late],
        [raw for at, raw in enumerate(decoded.raw) if at not in late],
        [refusal for refusal, _ in refused],
        [raw for _, raw in refused],
        decoded.backfill,
    )
