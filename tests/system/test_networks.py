"""A network that learns in the learner's process and decides in a worker's, by the loop through HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from freshet.config import load_settings
from freshet.demo.client import ApiClient
from freshet.run import EmbeddedSystem
from stream.clock import WallClock
from tests.harness.kinds import FAVOURITE, POLICY, firsts, items_at, round_of_clicks
from tests.harness.live import wait_until

CLOCK = WallClock()


def has_torch(pid: int) -> bool:
    """Whether torch's library is in a process."""
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")


def test_what_a_kind_of_user_clicks_is_shown_to_it_by_a_worker_that_has_no_torch(tmp_path: Path) -> None:
    flags: dict[str, Any] = {"port": 0, "policy": POLICY, "policies": [{"kind": "neu_fast_cb"}]}
    flags |= {"join": {"window_ms": 300, "lateness_ms": 300}, "engine": {"tick_ms": 200}}
    chosen = load_settings(environ={}, flags=flags)
    asked = iter(range(0, 1_000_000, 40))
    with EmbeddedSystem(tmp_path, chosen, CLOCK) as system, ApiClient(system.host, system.port) as api:
        api.events(items_at(int(CLOCK.now_ms())))
        wait_until(lambda: len(api.recommend(user_id="nobody", k=6)["items"]) == 6)

        def shows_each_kind_its_own() -> bool:
            clicks = round_of_clicks(api.recommend, lambda: int(CLOCK.now_ms()), next(asked), 40)
            api.events(clicks)
            return all(
                firsts(api.recommend, kind, next(asked), 20)[FAVOURITE[kind]] > 12 for kind in FAVOURITE
            )

        wait_until(shows_each_kind_its_own, timeout_s=300)
        answer = api.recommend(user_id="new", k=3, context={"device": "phone", "hour": 9})
        assert answer["policy"] == "neu_fast_cb" and all(0 < i["propensity"] <= 1 for i in answer["items"])
        assert (has_torch(system.pid("learner")), has_torch(system.pid("worker-0"))) == (True, False)
