"""Run by `test_plugin.py` where the plugins are installed: a whole system, decided and measured by them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from freshet.config import load_settings
from freshet.demo.client import ApiClient
from freshet.run import EmbeddedSystem
from stream.clock import WallClock

POLICIES = [{"kind": "boltzmann", "name": "warm", "temperature": 0.05}, {"kind": "uniform"}]
MEASURES = [{"kind": "policy_counts"}, {"kind": "clicks_by_place", "name": "mine", "places": 3}]


def absorb(api: ApiClient, events: list[dict[str, Any]]) -> None:
    """Send events, and wait until they are learned by asking what nobody is shown."""
    accepted_at = api.events(events)["accepted_at"]
    while api.recommend(user_id="nobody", k=1, activate="explicit", after=accepted_at)["stale"]:
        pass


def main(folder: Path) -> None:
    """Show a slate, click its first item, and print both answers and what the plugin measured."""
    clock = WallClock()
    flags = {"port": 0, "policy": {"epsilon": 1.0}, "policies": POLICIES, "measures": MEASURES}
    settings = load_settings(environ={}, flags=flags)
    with EmbeddedSystem(folder, settings, clock) as system, ApiClient(system.host, system.port) as api:
        items = [{"type": "item", "item_id": f"i{n}", "ts": int(clock.now_ms())} for n in range(8)]
        absorb(api, items)
        first = api.recommend(user_id="ann", k=4)
        click = {"type": "click", "user_id": "ann", "item_id": first["items"][0]["item_id"]}
        click |= {"ts": int(clock.now_ms()), "request_id": first["request_id"]}
        absorb(api, [click])
        second = api.recommend(user_id="bob", k=4)
        shown = [line for line in api.text("/metrics").splitlines() if line.startswith("freshet_mine")]
    print(json.dumps([first, second, shown]))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
