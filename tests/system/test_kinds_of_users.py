"""`lin_ucb` served by the embedded system: what one kind of user clicks is shown to that kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from freshet.cli import app
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


def test_replay_says_what_it_would_have_earned_where_another_policy_decided(tmp_path: Path) -> None:
    data, config, report = tmp_path / "data", tmp_path / "freshet.toml", tmp_path / "report.json"
    config.write_text(
        '[policy]\nfeatures = ["device", "hour"]\nepsilon = 1.0\n[[policies]]\nkind = "uniform"\n'
        '[[policies]]\nkind = "lin_ucb"\n'
    )
    chosen = load_settings(config, environ={}, flags={"port": 0})
    with EmbeddedSystem(data, chosen, CLOCK) as system, ApiClient(system.host, system.port) as api:
        api.events(items_at(now()))
        wait_until(lambda: len(api.recommend(user_id="nobody", k=6)["items"]) == 6)
        for first in range(0, 400, 50):
            api.events(round_of_clicks(api.recommend, now, first, 50))
    flags = ["--config", str(config), "--policy", "lin_ucb", "--policy", "uniform", "--json", str(report)]
    assert CliRunner().invoke(app, ["replay", str(data), *flags]).exit_code == 0
    earned = {name: of["first"]["snips"] for name, of in json.loads(report.read_text())["policies"].items()}
    assert earned["lin_ucb"]["low"] > 0.5 > earned["uniform"]["high"]
