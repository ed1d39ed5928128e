"""How fresh rows are: what the histograms say is what a stopwatch beside them says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from stream.clock import WallClock
from stream.folder import DataFolder
from stream.log import Record
from tests.harness.live import wait_until
from tests.harness.stopwatch import Stopwatch

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


def test_a_stall_grows_and_is_measured_from_the_events_own_times(run: Any, kit: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with run(data) as system:
        system.settle(*(kit.item(f"i{n}") for n in range(5)))
        system.ask("ann", request_id="r1", k=5)
        before = Measured(system)
        assert [before.count(name) for name in NAMES] == [0, 0, 5]
    with run(data, learner=False) as system:
        click = kit.click("ann", "i1", kit.t0, request_id="r1")
        watch = Stopwatch()
        system.send(click, kit.item("new"))
        watch.begun()
        wait_until(lambda: min(Measured(system).waiting_s(name) for name in NAMES) > 1.0)
        waiting = watch.during(lambda: Measured(system))
        for name in NAMES:
            assert watch.least_s <= waiting.waiting_s(name) <= watch.most_s
        with kit.learning(DataFolder(data), kit.settings):
            wait_until(lambda: watch.sees(lambda: Measured(system).count(NAMES[0]) == 1))
            after = Measured(system)
        assert "i1" in str(system.client.get("/v1/users/ann").json())
    for name in NAMES:
        assert (after.count(name), after.waiting_s(name)) == (1, 0.0)
        assert watch.least_s <= after.sum_s(name) <= watch.most_s


def test_while_all_is_well_the_sums_are_those_of_a_stopwatch(system: Any, kit: Any) -> None:
    users = system.service.models.users
    before, watches = Measured(system), list[Stopwatch]()
    for n in range(20):
        watches.append(watch := Stopwatch())
        system.send(kit.click(f"stop{n}", "i3", kit.t0 + 9))
        watch.begun()
        known = before.count(NAMES[0]) + n + 1
        wait_until(lambda: watch.sees(lambda: Measured(system).count(NAMES[0]) == known))  # noqa: B023
        assert users.row_of(f"stop{n}") >= 0
    found_s = Measured(system).sum_s(NAMES[0]) - before.sum_s(NAMES[0])
    assert sum(watch.least_s for watch in watches) <= found_s <= sum(watch.most_s for watch in watches)
    assert found_s > 0


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
        watch = Stopwatch()
        at = int(CLOCK.now_ms()) - 3_000
        watch.begun()
        other.append([Record("events", body, at), Record("events", body, at, backfill=True)])
        wait_until(lambda: watch.sees(lambda: Measured(system).count(NAMES[0]) == 1))
        found_s = Measured(system).sum_s(NAMES[0]) - 3.0  # it says that it was accepted before
        assert watch.least_s <= found_s <= watch.most_s
        other.close()
