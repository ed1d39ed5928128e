"""`lin_ucb` served by the embedded system: what one kind of user clicks is shown to that kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from freshet.config import Settings, load_settings
from freshet.demo.client import ApiClient
from freshet.run import EmbeddedSystem
from stream.clock import WallClock
from tests.harness.kinds import FAVOURITE, POLICY, firsts, items_at, round_of_clicks
from tests.harness.live import wait_until

CLOCK = WallClock()


def settings(**lin_ucb: Any) -> Settings:
    flags = {"port": 0, "policy": POLICY, "policies": [{"kind": "lin_ucb", **lin_ucb}]}
    return load_settings(environ={}, flags=flags)


def now() -> int:
    return int(CLOCK.now_ms())


def test_a_click_by_one_kind_of_user_changes_what_that_kind_is_shown_and_not_the_other(
    tmp_path: Path,
) -> None:
    chosen = settings()
    with EmbeddedSystem(tmp_path, chosen, CLOCK) as system, ApiClient(system.host, system.port) as api:

        def absorbed(events: list[dict[str, Any]]) -> None:
            at = api.events(events)["accepted_at"]
            wait_until(lambda: not api.recommend(user_id="nobody", k=1, after=at)["stale"])

        absorbed(items_at(now()))
        before = firsts(api.recommend, "phone", 0, 40)
        assert before[FAVOURITE["phone"]] < 25
        for first in range(100, 400, 20):
            absorbed(round_of_clicks(api.recommend, now, first, 20))
        phone, desk = firsts(api.recommend, "phone", 1_000, 40), firsts(api.recommend, "desk", 2_000, 40)
    assert phone[FAVOURITE["phone"]] > 30 > 10 > phone[FAVOURITE["desk"]]
    assert desk[FAVOURITE["desk"]] > 30 > 10 > desk[FAVOURITE["phone"]]
    with EmbeddedSystem(tmp_path, chosen, CLOCK) as system, ApiClient(system.host, system.port) as api:
        assert firsts(api.recommend, "phone", 3_000, 40)[FAVOURITE["phone"]] > 30
