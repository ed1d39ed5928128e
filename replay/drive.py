"""The live steps, fed from a log as fast as the machine allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from replay.source import Entry
from stream.blocks import FeedbackBlock, Segment
from stream.engine import ClockMode, Ticker
from stream.events import LoggedEvent, Tick
from stream.forget import ForgetBook
from stream.join import Joiner, JoinSettings
from stream.lateness import BEHAVIOUR
from stream.step import Step

__all__ = ["Driven", "Observer", "drive"]

_BATCH = 512
_DRAIN_EVERY = 65_536
_KEY = b"replays remember forgets in memory only"


class Observer:
    """Looks at outcomes before the step learns them; every method may be overridden, none does anything.

    The step's state may be read in `note` and `observe` only, and only where `asks` or `needs_state` said so;
    it then holds everything up to, and nothing from, the event or tick that this is about.
    """

    def asks(self, event: LoggedEvent) -> bool:
        """Whether `note` will read the step's state for this event."""
        return False

    def note(self, event: LoggedEvent, *, backfill: bool) -> None:
        """An event as it stands in the log, before its outcomes."""

    def needs_state(self, block: FeedbackBlock) -> bool:
        """Whether `observe` will read the step's state for this block."""
        return False

    def observe(self, block: FeedbackBlock) -> None:
        """Outcomes of one event or tick, in order, not learned yet."""

    def finish(self) -> None:
        """The log is over: outcomes of windows still open count as they stand."""


@dataclass(slots=True)
class Driven:
    """What went through: events, ticks, and the outcomes of JOIN by name (live and backfill together).

    Events are those of the log, not what `seen_items` adds. `kinds` counts them by class. `leap` is the
    longest way that one event moved time on, as the number of that event (from 1), the time before it and its
    own.
    """

    events: int = 0
    ticks: int = 0
    first_ts: int = 0
    last_ts: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    leap: tuple[int, int, int] = (0, 0, 0)


class _Stream:
    """One of the two streams, live and backfill, with its own watermark and joiner."""

    def __init__(self, join: JoinSettings, forgotten: ForgetBook, tick_ms: int) -> None:
        self.ticker = Ticker(tick_ms)
        self.joiner = Joiner(join, forgotten)


class _Drive:
    def __init__(
        self, step: Step, join: JoinSettings, tick_ms: int, mode: ClockMode, observers: Sequence[Observer]
    ) -> None:
        self._step, self._mode, self._observers = step, mode, observers
        forgotten = ForgetBook(_KEY)
        self._streams = {backfill: _Stream(join, forgotten, tick_ms) for backfill in (False, True)}
        self._batch: list[LoggedEvent] = []
        self._backfill = False
        self.done = Driven()

    def feed(self, entry: Entry) -> None:
        event, backfill = entry.event, entry.backfill
        if backfill is not self._backfill:
            self.flush()
            self._backfill = backfill
        stream = self._streams[backfill]
        by_event = backfill or self._mode == "event"
        if isinstance(event, Tick):
            # A wall clock's tick has no meaning where time is that of the events.
            if not by_event:
                self._tick(stream, stream.ticker.due(event.ts))
            return
        if not by_event or isinstance(event, BEHAVIOUR):
            self._tick(stream, stream.ticker.due(event.ts if by_event else entry.accepted_at))
        for observer in self._observers:
            if observer.asks(event):
                self.flush()
            observer.note(event, backfill=backfill)
        stream.joiner.on_event(event)
        self._show(stream.joiner.take())
        self._batch.append(event)
        if len(self._batch) >= _BATCH:
            self.flush()
        if not entry.made:
            self._count(event)

    def _count(self, event: LoggedEvent) -> None:
        done, ts, kind = self.done, event.ts, type(event).__name__
        if done.events and ts - done.last_ts > done.leap[2] - done.leap[1]:
            done.leap = (done.events + 1, done.last_ts, ts)
        done.first_ts = min(done.first_ts, ts) if done.events else ts
        done.last_ts = max(done.last_ts, ts)
        done.events += 1
        done.kinds[kind] = done.kinds.get(kind, 0) + 1
        if done.events % _DRAIN_EVERY == 0:
            self.flush()
            self._step.take()

    def _tick(self, stream: _Stream, ts: int | None) -> None:
        if ts is None:
            return
        stream.joiner.on_tick(ts)
        self._show(stream.joiner.take())
        self.flush()
        self._step.on_tick(ts, backfill=self._backfill)
        self.done.ticks += 1

    def _show(self, segments: list[Segment]) -> None:
        for segment in segments:
            if not isinstance(segment, FeedbackBlock):
                continue
            for observer in self._observers:
                if observer.needs_state(segment):
                    self.flush()
                observer.observe(segment)

    def flush(self) -> None:
        if self._batch:
            batch, self._batch = self._batch, []
            self._step.on_events(batch, backfill=self._backfill)

    def finish(self) -> Driven:
        self.flush()
        self._step.take()
        for observer in self._observers:
            observer.finish()
        counters = [stream.joiner.counters for stream in self._streams.values()]
        self.done.outcomes = {name: sum(c[name] for c in counters) for name in counters[0]}
        return self.done


def drive(
    step: Step,
    entries: Iterable[Entry],
    *,
    join: JoinSettings,
    tick_ms: int = 1_000,
    mode: ClockMode = "event",
    observers: Sequence[Observer] = (),
    progress: Callable[[int], None] | None = None,
) -> Driven:
    """Feed a log into `step`, with the ticks that the engine would have made.

    A joiner of its own, with the settings `join`, tells the observers the outcomes of each event just before
    the step learns them (predict, then learn); events that nobody needs the state for go in batches.

    Args:
        step: what to drive, fresh.
        entries: the log in order.
        join: the settings of the step's own joiner.
        tick_ms: time between ticks.
        mode: ``event``: time is the largest ts of what people did (an item may be described later); ``wall``:
            the time of acceptance, as a system on the wall clock lived through it. Backfill always goes by
            its events.
        observers: who looks on.
        progress: called with the number of events every thousand.

    Example:
        >>> from stream.events import Click
        >>> class Heard(Observer):
        ...     kinds: list[int] = []
        ...     def observe(self, block: FeedbackBlock) -> None:
        ...         self.kinds += block.kind
        >>> class Silent:
        ...     def on_events(self, events, *, backfill=False): pass
        ...     def on_tick(self, now_ms, *, backfill=False): pass
        ...     def take(self): return {}
        >>> log = [Entry(Click(ts=5, user_id="u", item_id="a"), 5)]
        >>> drive(Silent(), log, join=JoinSettings(), observers=[Heard()]).events, Heard.kinds
        (1, [3])
    """
    run = _Drive(step, join, tick_ms, mode, observers)
    for n, entry in enumerate(entries, 1):
        run.feed(entry)
        if progress is not None and n % 1_000 == 0:
            progress(n)
    return run.finish()
