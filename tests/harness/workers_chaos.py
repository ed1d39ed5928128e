"""Workers on Kafka that are killed, frozen, added and removed under load, and what they made of it."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stream.clock import WallClock
from stream.kafka import KafkaSettings
from tests.harness.sums import PublishedRows
from tests.harness.workers import Follower, Load, WorkerProcess

__all__ = ["WorkersChaos"]

Outcome = tuple[str, ...]

_ODDS = [0.4, 0.25, 0.15, 0.1, 0.1]
_RESTART_S = 120.0
_MOST = 3  # workers at once: each takes some seconds of a core to start


class WorkersChaos:
    """Workers that are killed, frozen past their session, thawed, added and removed under a steady load.

    Whatever befalls them befalls them at work: before each time, all partitions have been seen to go on.

    Args:
        settings: topics that are there.
        folder: for what the workers say.
        rng: draws what happens to whom.
        n_workers: how many there are at first.
        load, follower, start: other workers than ours, with their load and what counts their results; they
            have no rows.
    """

    SESSION_S = 3.0

    def __init__(
        self,
        settings: KafkaSettings,
        folder: Path,
        rng: np.random.Generator,
        n_workers: int,
        *,
        load: Load | None = None,
        follower: Follower | None = None,
        start: Callable[[KafkaSettings, Path], WorkerProcess] = WorkerProcess,
    ) -> None:
        self._settings, self._folder, self._rng = settings, folder, rng
        self._clock = WallClock()
        self._frozen: list[tuple[float, WorkerProcess]] = []
        self._n = 0
        self._start = start
        self.load = load or Load(settings, rng)
        self.rows = PublishedRows(settings) if follower is None else None
        self.follower = follower or Follower(settings)
        self.workers: list[WorkerProcess] = []
        self.happened: Counter[str] = Counter()
        self.unclean: list[str] = []
        for _ in range(n_workers):
            self.add()

    def add(self) -> None:
        """One worker more."""
        self._n += 1
        self.workers.append(self._start(self._settings, self._folder / f"worker-{self._n}.log"))

    def kill(self) -> None:
        """kill -9 one that is awake; it comes back at once."""
        victim = self._one()
        victim.kill()
        victim.revive()
        self.happened["kill"] += 1

    def freeze(self, seconds: float = 2.5 * SESSION_S) -> None:
        """SIGSTOP one until its session is over and others own what it had; SIGCONT comes by itself."""
        victim = self._one()
        victim.freeze()
        self._frozen.append((self._clock.monotonic_s() + seconds, victim))
        self.happened["freeze"] += 1

    def remove(self) -> None:
        """Stop one cleanly, for good, if another is left awake."""
        if len(self.workers) - len(self._frozen) > 1:
            victim = self._one()
            self.workers.remove(victim)
            self.happened["remove"] += 1
            self._take_leave(victim.stop(), victim)

    def remove_frozen(self) -> None:
        """Stop all that are frozen, for good: others own what they had, which is no failure."""
        for _, victim in self._frozen:
            self.workers.remove(victim)
            self.happened["remove"] += 1
            victim.ask_to_end()
            victim.thaw()
            self.go_on(2.0)  # more is delivered to it while it ends
            self._take_leave(victim.wait(), victim)
        self._frozen = []

    def _take_leave(self, code: int, victim: WorkerProcess) -> None:
        if code == 1 and victim.was_fenced():
            self.happened["ended by itself"] += 1  # before it heard of ours
        # One that has just been revived may not listen to signals yet, and dies of this one.
        elif code not in (0, -signal.SIGTERM):
            self.happened["unclean stop"] += 1
            self.unclean.append(f"exit code {code}, its last words:\n{victim.said()[-3_000:]}")

    def _one(self) -> WorkerProcess:
        awake = [worker for worker in self.workers if worker not in [frozen for _, frozen in self._frozen]]
        return awake[int(self._rng.integers(len(awake)))]

    def play(self, seconds: float, restart: Callable[[], None]) -> None:
        """Something happens every few seconds, at random, and now and then all partitions are seen to go on.

        Args:
            seconds: for how long.
            restart: kills the broker and starts it again; at random too, and every two minutes at least.
        """
        self.settle()
        restarted_s = self._clock.monotonic_s()
        end_s = restarted_s + seconds
        while (now_s := self._clock.monotonic_s()) < end_s:
            what = self._rng.choice(["kill", "freeze", "add", "remove", "restart"], p=_ODDS)
            n_awake = len(self.workers) - len(self._frozen)
            if what == "restart" or now_s - restarted_s > _RESTART_S:
                restart()
                restarted_s = now_s
            elif what == "kill" or (what == "freeze" and n_awake < 2):
                self.kill()
            elif what == "freeze":
                self.freeze()
            elif what == "add" and len(self.workers) < _MOST:
                self.add()
            elif what == "remove":
                self.remove()
            self.go_on(float(self._rng.uniform(1, 8)))
            if self._rng.random() < 0.4:
                self.settle()

    def go_on(self, seconds: float, requests: int = 8) -> None:
        """Send requests for a while; wake who has been frozen long enough, revive who has ended."""
        end_s = self._clock.monotonic_s() + seconds
        while self._clock.monotonic_s() < end_s:
            self.load.send(requests)
            self._look_after()
            self._look()

    def _look(self) -> None:
        self.follower.look(50)
        if self.rows is not None:
            self.rows.look(50)

    def settle(self, limit_s: float = 300.0) -> None:
        """Go on until everything sent up to now is shown: every partition has an owner that works.

        The limit leaves room for a first start, which compiles, on a busy machine.

        Raises:
            TimeoutError: that takes longer.
        """
        self.load.send(100)
        wanted = {outcome for outcome in self.load.expected if outcome[0] == "shown"}
        end_s = self._clock.monotonic_s() + limit_s
        while wanted := {outcome for outcome in wanted if outcome not in self.follower.found}:
            if self._clock.monotonic_s() > end_s:
                msg = f"{len(wanted)} slates were not joined in {limit_s:g} s\n{self.said()[-2_000:]}"
                raise TimeoutError(msg)
            self.go_on(0.1)

    def wake_all(self) -> None:
        """Go on until nobody is frozen."""
        while self._frozen:
            self.go_on(0.2, requests=1)

    def _look_after(self) -> None:
        now = self._clock.monotonic_s()
        for due, worker in [pair for pair in self._frozen if pair[0] <= now]:
            worker.thaw()
            self._frozen.remove((due, worker))
            self.happened["thaw"] += 1
        for worker in self.workers:
            if not worker.is_alive():
                self.happened["ended by itself"] += 1
                worker.revive()

    def finish(self, limit_s: float) -> Counter[Outcome]:
        """Wake everybody and wait for what is left, and for what comes twice; all that stands committed.

        Args:
            limit_s: how long nothing new may come while something is missing.
        """
        self.wake_all()
        end_s = self._clock.monotonic_s() + limit_s
        seen = 0
        while self._clock.monotonic_s() < end_s:
            self._look_after()
            self._look()
            if (now := self._n_seen()) != seen:
                seen, end_s = now, self._clock.monotonic_s() + limit_s
            elif not self._is_missing():  # looked at when nothing comes: it costs more than following
                break
        end_s = self._clock.monotonic_s() + 1.0
        while self._clock.monotonic_s() < end_s:
            self._look()
        return self.follower.found

    def _n_seen(self) -> int:
        return self.follower.found.total() + (0 if self.rows is None else self.rows.n_rows)

    def _is_missing(self) -> bool:
        """Whether outcomes or rows are not yet what they must become."""
        missing = bool(self.load.expected - self.follower.found)
        return missing or (self.rows is not None and bool(self.rows.differences(self.load.sums)))

    def wrong_rows(self) -> dict[tuple[str, str, str], tuple[float, float]]:
        """Where sums in rows are not what was sent: expected and found."""
        return {} if self.rows is None else self.rows.differences(self.load.sums)

    def report(self) -> dict[str, float]:
        """What happened to the workers and what they did about it, from their own words."""
        said = self.said()
        took = [float(found) for found in re.findall(r"took over .* in (\d+) ms", said)]
        filled = [int(found) for found in re.findall(r": (\d+) records had not been delivered", said)]
        return {
            **self.happened,
            "rebalances": len(re.findall(r"rebalanced: ", said)),
            "holes": len(filled),
            "filled": sum(filled),
            "takeovers": len(took),
            "takeover_p50_ms": float(np.median(took)) if took else 0.0,
            "takeover_max_ms": max(took, default=0.0),
            "events": self.load.n_events,
        }

    def close(self) -> None:
        """End every process."""
        for worker in [*self.workers, *(frozen for _, frozen in self._frozen)]:
            worker.kill()
        self.follower.close()
        if self.rows is not None:
            self.rows.close()
        self.load.close()

    def said(self) -> str:
        """All that the workers have said."""
        return "".join(
            path.read_text("utf-8", "replace") for path in sorted(self._folder.glob("worker-*.log"))
        )
