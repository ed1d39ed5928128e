"""How fresh rows are: what the histograms say is what a stopwatch beside them says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.clock import WallClock
from stream.folder import DataFolder
from stream.log import Record
from tests.harness.live import wait_until

CLOCK = WallClock()
KINDS = ("users", "policies", "items")
NAMES = ("click_to_user_row", "click_to_policy_row", "item_to_retrievable")


class Measured:
    """What a worker's metrics say now."""

    def __init__(self, system: Any) -> None:
        lines = (line.rsplit(" ", 1) for line in system.client.get("/metrics").text.splitlines())
        self._values = {line[0]: line[1] for line in lines}

    def count(self, name: str) -> int:
        return int(float(self._values[f"freshet_{name}_seconds_count"]))

    def sum_s(self, name: str) -> float:
        return float(self._values[f"freshet_{name}_seconds_sum"])

    def waiting_s(self, name: str) -> float:
        return float(self._values[f"freshet_{name}_waiting_seconds"])


def within_ten_percent(stopwatch_s: float) -> Any:
    return pytest.approx(stopwatch_s, rel=0.1, abs=0.05)


def test_a_stall_grows_and_is_measured_from_the_events_own_times(run: Any, kit: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with run(data) as system:
        system.settle(*(kit.item(f"i{n}") for n in range(5)))
        system.ask("ann", request_id="r1", k=5)
        before = Measured(system)
        assert [before.count(name) for name in NAMES] == [0, 0, 5]
    with run(data, learner=False) as system:
        click = kit.click("ann", "i1", kit.t0, request_id="r1")
        began_s = CLOCK.now_ms() / 1e3
        system.send(click, kit.item("new"))
        wait_until(lambda: CLOCK.now_ms() / 1e3 > began_s + 1.0)
        waiting = Measured(system)
        for name in NAMES:
            assert waiting.waiting_s(name) == within_ten_percent(CLOCK.now_ms() / 1e3 - began_s)
        with kit.learning(DataFolder(data), kit.settings):
            wait_until(lambda: "i1" in str(system.client.get("/v1/users/ann").json()))
            took_s = CLOCK.now_ms() / 1e3 - began_s
            after = Measured(system)
    for name in NAMES:
        assert (after.count(name), after.waiting_s(name)) == (1, 0.0)
        assert after.sum_s(name) == within_ten_percent(took_s)


def test_while_all_is_well_the_sums_are_those_of_a_stopwatch(system: Any, kit: Any) -> None:
    users = system.service.models.users
    before, took_s = Measured(system), 0.0
    for n in range(20):
        began_ms = system.send(kit.click(f"stop{n}", "i3", kit.t0 + 9))["accepted_at"]
        wait_until(lambda name=f"stop{n}": users.row_of(name) >= 0)  # type: ignore[misc]
        took_s += (CLOCK.now_ms() - began_ms) / 1e3
    after = Measured(system)
    assert after.count(NAMES[0]) - before.count(NAMES[0]) == 20
    # The stopwatch reads the answer to the click before it looks at the row, and looks every 2 ms.
    assert 0 < after.sum_s(NAMES[0]) - before.sum_s(NAMES[0]) <= took_s + 0.02


def test_under_load_every_click_counts_once_and_none_is_slower_than_the_stopwatch(
    system: Any, kit: Any
) -> None:
    before, began_s, n_posts, n_each = Measured(system), CLOCK.now_ms() / 1e3, 12, 200
    bodies = (
        [kit.click(f"load{n}-{k}", f"i{k % 40}", kit.t0 + 9) for k in range(n_each)] for n in range(n_posts)
    )
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda events: system.send(*events), bodies))
    wait_until(lambda: Measured(system).count(NAMES[0]) == before.count(NAMES[0]) + n_posts * n_each)
    took_s = CLOCK.now_ms() / 1e3 - began_s
    mean_s = (Measured(system).sum_s(NAMES[0]) - before.sum_s(NAMES[0])) / (n_posts * n_each)
    assert 0 < mean_s <= took_s
    wait_until(lambda: Measured(system).waiting_s(NAMES[0]) == 0.0)


def test_what_another_worker_accepted_counts_here_as_well(run: Any, kit: Any, tmp_path: Path) -> None:
    two = msgspec.structs.replace(kit.settings, workers=2)
    with run(tmp_path / "data", two) as system:
        other = DataFolder(tmp_path / "data").writer("events-1")
        body = msgspec.json.encode([kit.click("ann", "a")])
        at = int(CLOCK.now_ms()) - 3_000
        other.append([Record("events", body, at), Record("events", body, at, backfill=True)])
        wait_until(lambda: Measured(system).count(NAMES[0]) == 1)
        assert Measured(system).sum_s(NAMES[0]) == within_ten_percent((CLOCK.now_ms() - at) / 1e3)
        other.close()
