"""Faust delivers, shards decide: the group, the assignment and the life of a worker on Kafka.

Faust owns the group, the assignment and the delivery, and nothing else. It drops records around rebalances,
so its offsets mean nothing here: each owned partition is a `stream.engine.shard.Shard` with a position of its
own. What its `take` yields is acknowledged even if the body raised; therefore an exception anywhere ends the
process, with its reason, and whoever owns the partition next takes it up where it was committed.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stream.clock import Clock
from stream.engine.faust_fetching import FetchingApp, since_of
from stream.engine.shard import Shard, SourceRecord
from stream.engine.stopping import done_or_stopped
from stream.engine.watchdog import Watchdog
from stream.engine.worker_settings import WorkerSettings
from stream.errors import FencedError, FreshetError, LogError

__all__ = ["FaustEngine"]

_log = logging.getLogger(__name__)

_LOOK_S = 0.25
_MOST_WAITING = 2  # times the records taken at once: a partition that has more holds up the others
_BUSY_S = 0.5
_START_S = 5.0  # that Faust gets for its start after the process was asked to end


@dataclass(slots=True, eq=False)
class _Owned:
    """A partition of ours; whoever uses the shard holds the lock, after it was opened."""

    shard: Shard
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    opening: asyncio.Task[None] | None = None
    waiting: list[SourceRecord] = field(default_factory=list)
    handing: asyncio.Task[None] | None = None
    emitting: asyncio.Task[None] | None = None
    pacing: asyncio.Task[None] | None = None


class FaustEngine:
    """Runs the shards of the partitions that the group assigns to this process.

    Args:
        brokers: ``HOST:PORT`` of some brokers.
        group: the consumer group; workers of one group share the partitions.
        topic: the source, with its prefix.
        make_shard: a shard for a partition, not yet opened.
        clock: for the watchdog and the ticks.
        end: ends the process, saying why; nothing more may be done after it.
        settings: how to take part in the group.
        credentials: Faust's, where brokers ask for them.
        tick: writes a tick of a time (ms) into a partition of the source; None on the event clock.
        tick_ms: time between ticks.

    Example:
        See `tests/kafka/test_worker.py`.
    """

    def __init__(
        self,
        brokers: Sequence[str],
        group: str,
        topic: str,
        make_shard: Callable[[int], Shard],
        *,
        clock: Clock,
        end: Callable[[str], None],
        settings: WorkerSettings | None = None,
        credentials: Any = None,
        tick: Callable[[int, int], Awaitable[None]] | None = None,
        tick_ms: int = 1_000,
    ) -> None:
        self._topic = topic
        self._make_shard = make_shard
        self._clock = clock
        self._end = end
        self._settings = settings or WorkerSettings()
        self._tick, self._tick_ms = tick, tick_ms
        self._owned: dict[int, _Owned] = {}
        self._delivered_s = -math.inf
        self._stop = asyncio.Event()
        self.has_ended = False
        """Whether `run` has ended all: Faust cannot be stopped while it starts, then the process must end."""
        self._watchdog = Watchdog(clock, self._settings.stall_s, self._bark)
        self._app = self._make_app(brokers, group, credentials)

    def _make_app(self, brokers: Sequence[str], group: str, credentials: Any) -> Any:
        settings = self._settings
        app: Any = FetchingApp(
            group,
            broker=[f"kafka://{broker}" for broker in brokers],
            broker_credentials=credentials,
            broker_session_timeout=settings.session_s,
            broker_heartbeat_interval=min(settings.heartbeat_s, settings.session_s / 3),
            broker_max_poll_records=settings.take_records,
            consumer_auto_offset_reset="earliest",
            # Raw, and decoded by the step: a value that Faust cannot decode kills the agent in silence.
            key_serializer="raw",
            value_serializer="raw",
            store="memory://",
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
        )
        source = app.topic(self._topic, key_serializer="raw", value_serializer="raw")

        async def deliver(stream: Any) -> None:
            async for events in stream.take_events(settings.take_records, within=settings.take_s):
                await self._deliver(events)

        app.agent(source, name=f"{group}-deliver")(deliver)
        app.on_partitions_assigned.connect(self._on_assigned)
        app.on_partitions_revoked.connect(self._on_revoked)
        return app

    @property
    def shards(self) -> dict[int, Shard]:
        """The open shards, by partition."""
        return {
            partition: owned.shard
            for partition, owned in sorted(self._owned.items())
            if owned.opening is not None and owned.opening.done()
        }

    def keep_pace(self) -> None:
        """Let the shards go on that wait for others, or that others wait for; returns at once."""
        for partition, shard in self.shards.items():
            owned = self._owned[partition]
            if owned.pacing is None and shard.wants_pace:
                owned.pacing = asyncio.create_task(self._keep_pace(partition, owned))

    async def _keep_pace(self, partition: int, owned: _Owned) -> None:
        await self._act(partition, "keeping pace", lambda shard: shard.keep_pace())
        owned.pacing = None
        self._emit_when_due(partition, owned)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then close every shard with a snapshot.

        Raises:
            LogError: Faust could not start.
        """
        self._stop = stop
        self._watchdog.start()
        tasks = [asyncio.create_task(self._look_after())]
        if self._tick is not None:
            tasks.append(asyncio.create_task(self._write_ticks(self._tick)))
        try:
            has_started = await self._start_faust(stop)
            if has_started:
                crashed = asyncio.ensure_future(self._app.wait_until_stopped())
                await done_or_stopped(crashed, stop)
                if not stop.is_set():
                    self._fail("Faust", self._app.crash_reason or LogError("it stopped by itself"))
                crashed.cancel()
            await self._let_go(list(self._owned), save=True)
            if has_started:
                await self._stop_faust()
            self.has_ended = has_started
        finally:
            self._watchdog.stop()
            for task in tasks:
                task.cancel()

    async def _start_faust(self, stop: asyncio.Event) -> bool:
        """Whether it has started. While no broker answers it tries again for ever, and cannot be stopped."""
        starting = asyncio.ensure_future(self._app.start())
        await done_or_stopped(starting, stop)
        if not starting.done():
            await asyncio.wait((starting,), timeout=_START_S)  # it leaves its group in order where it can
        if starting.done():
            await starting
            return True
        _log.warning("%s: Faust had not started yet when it was to end", self._topic)
        starting.cancel()
        return False

    async def _stop_faust(self) -> None:
        """What Faust cannot end in order ends with the process: all that counts is committed by now."""
        try:
            await self._app.stop()
        except Exception as error:  # noqa: BLE001  # it is no failure of ours
            _log.warning("%s: Faust could not end in order: %r", self._topic, error)
        except asyncio.CancelledError:
            # As `stop_consumer` says, its consumers pass on that their fetches were cancelled.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise

    # Assignment

    async def _on_assigned(self, _app: Any, *args: Any, **_: Any) -> None:
        (assigned,) = args
        mine = {tp.partition for tp in assigned if tp.topic == self._topic}
        _log.info("rebalanced: %d partitions of %s are ours", len(mine), self._topic)
        await self._let_go([partition for partition in self._owned if partition not in mine], save=False)
        if self._stop.is_set():
            return  # we leave the group, and they go to others
        for partition in sorted(mine):
            if partition not in self._owned:
                owned = self._owned[partition] = _Owned(self._make_shard(partition))
                owned.opening = asyncio.create_task(self._open(partition, owned))

    async def _open(self, partition: int, owned: _Owned) -> None:
        # A task of its own: a long restore must not hold up the rebalance of the whole group.
        name = f"{self._topic}/{partition}: taking over"
        try:
            with self._watchdog.under_way(name, _progress(owned.shard)):
                async with owned.lock:
                    await owned.shard.open()
        except Exception as error:  # noqa: BLE001  # whatever it is, the process ends with it
            if self._owned.get(partition) is owned:
                del self._owned[partition]  # should the process live on, nobody may use what is not open
            self._fail(name, error)
            await owned.shard.close()
            return
        figures = owned.shard.figures
        _log.info(
            "took over %s/%d at %d in %.0f ms, %d records run again",
            self._topic, partition, owned.shard.position, figures.takeover_ms, figures.run_again,
        )  # fmt: skip

    async def _on_revoked(self, _app: Any, *args: Any, **_: Any) -> None:
        (revoked,) = args
        await self._let_go([tp.partition for tp in revoked if tp.topic == self._topic], save=False)

    async def _let_go(self, partitions: Iterable[int], *, save: bool) -> None:
        """Close these shards, after what they are doing is committed; what comes later is not ours."""
        gone = [(p, owned) for p in partitions if (owned := self._owned.pop(p, None)) is not None]

        async def close(partition: int, owned: _Owned) -> None:
            name = f"{self._topic}/{partition}: letting go"
            try:
                with self._watchdog.under_way(name):
                    if owned.opening is not None:
                        await owned.opening
                    async with owned.lock:
                        await owned.shard.close(save=save)
            except Exception as error:  # noqa: BLE001  # whatever it is, the process ends with it
                self._fail(name, error)

        await asyncio.gather(*(close(partition, owned) for partition, owned in gone))

    # Delivery and time

    async def _deliver(self, events: Sequence[Any]) -> None:
        """What Faust delivered, each partition's to its shard; none waits for the commit of another."""
        for event in events:
            owned = self._owned.get(event.message.partition)
            if owned is not None:
                owned.waiting.append(_record(event.message))
        full = []
        for partition, owned in list(self._owned.items()):
            if owned.waiting and owned.handing is None:
                owned.handing = asyncio.create_task(self._hand(partition, owned))
            if len(owned.waiting) >= _MOST_WAITING * self._settings.take_records and owned.handing:
                full.append(owned.handing)
        if full:
            await asyncio.wait(full)

    async def _hand(self, partition: int, owned: _Owned) -> None:
        """Give a shard all that waits for it, together, and what has come meanwhile."""
        while owned.waiting and self._owned.get(partition) is owned:
            await self._act(partition, "delivery", lambda shard: shard.deliver(_taken(owned.waiting)))
            self._delivered_s = self._clock.monotonic_s()
            self._emit_when_due(partition, owned)
        owned.handing = None

    def _emit_when_due(self, partition: int, owned: _Owned) -> None:
        if owned.emitting is None and owned.shard.due_in_s() is not None:
            owned.emitting = asyncio.create_task(self._emit(partition, owned))

    async def _emit(self, partition: int, owned: _Owned) -> None:
        """Commit what has gathered once it is due, though nothing more is delivered."""
        while self._owned.get(partition) is owned and (due_s := owned.shard.due_in_s()) is not None:
            await asyncio.sleep(due_s)
            await self._act(partition, "commit", lambda shard: shard.emit())
        owned.emitting = None

    async def _act(self, partition: int, what: str, act: Callable[[Shard], Awaitable[None]]) -> None:
        """Do something with a shard that is ours; of another partition's it is not our business any more."""
        owned = self._owned.get(partition)
        if owned is None or owned.opening is None:
            return
        name = f"{self._topic}/{partition}: {what}"
        try:
            await asyncio.shield(owned.opening)
            async with owned.lock:
                if self._owned.get(partition) is owned:
                    filled = owned.shard.figures.filled
                    with self._watchdog.under_way(name, _progress(owned.shard)):
                        await act(owned.shard)
                    if more := owned.shard.figures.filled - filled:
                        _log.info("%s: %d records had not been delivered, and were read", name, more)
        except Exception as error:  # noqa: BLE001  # whatever it is, the process ends with it
            self._fail(name, error)

    async def _look_after(self) -> None:
        """Let every shard look at its tail, commit and save; one that is busy has no need of it."""
        name = f"{self._topic}: looking after its partitions"
        under_way: set[asyncio.Task[None]] = set()
        while True:
            self._watchdog.beat(name)
            for partition in self.shards:
                if not self._owned[partition].lock.locked():
                    # Not waited for: one partition that fills a large hole must not hold up the others.
                    task = asyncio.create_task(self._act(partition, "idle", self._idle))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
            await asyncio.sleep(_LOOK_S)

    async def _idle(self, shard: Shard) -> None:
        is_delivering = any(owned.handing is not None for owned in self._owned.values())
        await shard.idle(is_busy=is_delivering or self._clock.monotonic_s() - self._delivered_s < _BUSY_S)

    async def _write_ticks(self, tick: Callable[[int, int], Awaitable[None]]) -> None:
        """Let time pass in our partitions: a tick at every multiple of its distance."""
        while True:
            ts = int(self._clock.now_ms()) // self._tick_ms * self._tick_ms
            try:
                await asyncio.gather(*(tick(partition, ts) for partition in self.shards))
            except FreshetError as error:
                self._fail(f"{self._topic}: writing a tick", error)
            await asyncio.sleep((ts + self._tick_ms - self._clock.now_ms()) / 1e3)

    # The end

    def _bark(self, late: str) -> None:
        self._end(f"standing still: {late}, the limit is {self._settings.stall_s:g} s")

    def _fail(self, what: str, error: BaseException) -> None:
        if self._stop.is_set() and isinstance(error, FencedError):
            return  # another worker was quicker than our goodbye, and has lost nothing by it
        if isinstance(error, FreshetError):
            self._end(f"{what}: {error}")
        else:
            _log.error("%s failed", what, exc_info=error)
            self._end(f"{what}: {error!r}")


def _progress(shard: Shard) -> Callable[[], object]:
    """What changes as long as a shard goes on, however long that takes."""
    figures = shard.figures
    return lambda: (figures.run_again, figures.records, figures.commits)


def _taken(waiting: list[SourceRecord]) -> list[SourceRecord]:
    """All of a list, which is empty then."""
    taken = waiting[:]
    waiting.clear()
    return taken


def _record(message: Any) -> SourceRecord:
    headers = message.headers or ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    # Faust turns milliseconds into seconds; the side reader does not.
    at = round(1e3 * (message.timestamp or 0))
    return SourceRecord(
        message.offset, message.value or b"", message.key, at, tuple(pairs), since_of(message)
    )
