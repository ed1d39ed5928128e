"""The watchdog: names what takes too long, from a thread of its own."""

from __future__ import annotations

import threading

from stream.clock import ManualClock, WallClock
from stream.engine.watchdog import Watchdog


def test_what_ends_in_time_is_not_named() -> None:
    clock, said = ManualClock(), list[str]()
    watchdog = Watchdog(clock, 5.0, said.append)
    with watchdog.under_way("events/1: commit"):
        clock.advance_ms(5_000)
        watchdog.look()
    clock.advance_ms(60_000)
    watchdog.look()
    assert said == []


def test_every_partition_that_stands_still_is_named() -> None:
    clock, said = ManualClock(), list[str]()
    watchdog = Watchdog(clock, 5.0, said.append)
    with watchdog.under_way("events/1: commit"), watchdog.under_way("events/4: taking over"):
        clock.advance_ms(7_000)
        with watchdog.under_way("events/2: commit"):
            watchdog.look()
    (words,) = said
    assert "events/1: commit" in words and "events/4: taking over" in words and "events/2" not in words


def test_a_beat_must_come_again() -> None:
    clock, said = ManualClock(), list[str]()
    watchdog = Watchdog(clock, 5.0, said.append)
    for _ in range(3):
        watchdog.beat("looking after")
        clock.advance_ms(4_000)
        watchdog.look()
    clock.advance_ms(4_000)
    watchdog.look()
    assert said == ["looking after has made no progress for 8 s"]


def test_what_goes_on_may_take_as_long_as_it_takes() -> None:
    clock, said, done = ManualClock(), list[str](), list[int]()
    watchdog = Watchdog(clock, 5.0, said.append)
    with watchdog.under_way("events/1: taking over", lambda: len(done)):
        for _ in range(10):
            done.append(1)
            clock.advance_ms(4_000)
            watchdog.look()
        assert said == []
        clock.advance_ms(6_000)
        watchdog.look()
    assert said == ["events/1: taking over has made no progress for 6 s"]


def test_it_speaks_while_everything_else_stands_still() -> None:
    barked = threading.Event()
    watchdog = Watchdog(WallClock(), 0.0, lambda words: barked.set())
    watchdog.start()
    with watchdog.under_way("events/1: commit"):
        assert barked.wait(120)
    watchdog.stop()
