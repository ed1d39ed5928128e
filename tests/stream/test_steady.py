"""Time that goes on as it did when the wall clock leaps."""

from __future__ import annotations

import pytest

from stream.steady import ADOPT_MS, SteadyTime

HOUR = 3_600_000.0
T0 = 1_700_000_000_000.0


class Clocks:
    """A wall clock with an error, and the one that counts since boot."""

    def __init__(self) -> None:
        self.boot_ms, self.error_ms, self.time = 0.0, 0.0, SteadyTime()
        self.read()

    def read(self) -> float:
        """The trusted time, in ms since the beginning."""
        return self.time.read(T0 + self.boot_ms + self.error_ms, self.boot_ms) - T0

    def run(self, ms: float, every_ms: float = 100.0) -> float:
        """Let time pass, with a look at the clocks each tenth of a second; the trusted time."""
        for _ in range(int(ms / every_ms)):
            self.boot_ms += every_ms
            self.read()
        return self.read()


@pytest.mark.parametrize("hours", [1, 24 * 365, -1, -24 * 365])
def test_a_clock_that_is_wrong_for_ten_seconds_moves_no_time(hours: int) -> None:
    clocks = Clocks()
    clocks.run(5_000)
    clocks.error_ms = hours * HOUR
    assert clocks.run(10_000) == 15_000.0 and clocks.time.leap_ms == hours * HOUR
    assert "has leapt" in clocks.time.trouble
    clocks.error_ms = 0.0
    assert clocks.run(1_000) == 16_000.0 and clocks.time.trouble == ""


def test_a_leap_forward_that_stays_is_the_right_time() -> None:
    clocks = Clocks()
    clocks.error_ms = HOUR
    assert clocks.run(ADOPT_MS - 1_000) < HOUR
    assert clocks.run(2_000) == HOUR + ADOPT_MS + 1_000 and clocks.time.leap_ms == 0


def test_time_never_goes_back_and_a_small_step_back_is_caught_up_with() -> None:
    clocks = Clocks()
    clocks.run(30_000)
    clocks.error_ms = -10_000.0
    before, seen = clocks.read(), []
    for _ in range(250):
        clocks.boot_ms += 100
        seen.append(clocks.read())
    assert all(later > earlier for earlier, later in zip([before, *seen], seen, strict=False))
    assert seen[-1] == clocks.boot_ms - 10_000 and clocks.time.leap_ms == 0


def test_a_leap_back_that_stays_leaves_nobody_knowing_the_time() -> None:
    clocks = Clocks()
    clocks.error_ms = -HOUR
    clocks.run(30_000)
    assert not clocks.time.lost
    clocks.run(60_000)
    assert clocks.time.lost and clocks.read() == 90_000.0


def test_a_machine_that_slept_has_no_leap() -> None:
    clocks = Clocks()
    clocks.boot_ms += 12 * HOUR  # the clock since boot counts sleep
    assert clocks.read() == 12 * HOUR and clocks.time.leap_ms == 0


def test_a_process_that_starts_in_a_leap_believes_its_parent() -> None:
    child = SteadyTime(offset_ms=T0)
    assert child.read(T0 + 5_000 + HOUR, 5_000) == T0 + 5_000 and child.leap_ms == HOUR
