"""Counters never fall, and a policy's rates are those of the places that it picked itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families


def scraped(system: Any) -> tuple[dict[str, float], dict[str, float]]:
    """All counters and all gauges, by name and labels."""
    found: dict[str, dict[str, float]] = {"counter": {}, "gauge": {}}
    for family in text_string_to_metric_families(system.client.get("/metrics").text):
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                name = f"{sample.name}{sorted(sample.labels.items())}"
                found.setdefault(family.type, {})[name] = sample.value
    return found["counter"], found["gauge"]


def test_no_counter_falls_when_clicks_are_corrected_or_dislikes_come(
    run: Any, kit: Any, tmp_path: Path
) -> None:
    with run(tmp_path / "data") as system:
        system.settle(*[kit.item(f"i{n}") for n in range(9)])
        before: dict[str, float] = {}
        answer = system.ask("ann", k=3, policy="uniform")
        shown = [item["item_id"] for item in answer["items"]]
        steps = [(shown[0], 1.0), (shown[0], 0.0), (shown[1], -1.0), (shown[0], 1.0), (shown[1], 0.5)]
        for n, (item_id, value) in enumerate(steps):
            again = {"request_id": answer["request_id"], "value": value}
            system.settle(kit.click("ann", item_id, kit.t0 + 10 + n, **again))
            counters, gauges = scraped(system)
            fallen = {name: value for name, value in before.items() if counters.get(name, -1.0) < value}
            assert not fallen
            before = counters
    mine = "[('policy', 'uniform')]"
    assert gauges[f"freshet_policy_reward{mine}"] == 1.5
    found = [counters[f"freshet_policy_{name}_total{mine}"] for name in ("reward_gained", "reward_lost")]
    assert found == [3.5, 2.0]


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_the_click_rate_of_a_policy_is_that_of_its_own_places(
    run: Any, kit: Any, tmp_path: Path, epsilon: float
) -> None:
    policy = msgspec.structs.replace(kit.settings.policy, epsilon=epsilon)
    with run(tmp_path / "data", msgspec.structs.replace(kit.settings, policy=policy)) as system:
        system.ask("nobody", policy="uniform")  # nothing to show, and no slate
        system.settle(*[kit.item(f"i{n}") for n in range(9)])
        answer = system.ask("ann", k=4, policy="uniform", ts=kit.t0 + 5)
        clicked = {"request_id": answer["request_id"]}
        system.settle(kit.click("ann", answer["items"][2]["item_id"], kit.t0 + 10, **clicked))
        counters, gauges = scraped(system)
    mine = "[('policy', 'uniform')]"
    rate = gauges.get(f"freshet_policy_click_rate{mine}")
    assert rate == (0.25 if epsilon else None)
    assert gauges[f"freshet_policy_answer_click_rate{mine}"] == 0.25
    assert counters[f"freshet_policy_slates_total{mine}"] == 1
    assert counters[f"freshet_policy_empty_slates_total{mine}"] == 1


def test_what_a_part_notes_of_itself_is_shown_with_its_name(run: Any, kit: Any, tmp_path: Path) -> None:
    policies = ({"kind": "lin_ucb", "name": "of_the_hour"},)
    with run(tmp_path / "data", msgspec.structs.replace(kit.settings, policies=policies)) as system:
        system.settle(*[kit.item(f"i{n}") for n in range(9)])
        answer = system.ask("ann", k=3, ts=kit.t0 + 5)
        clicked = {"request_id": answer["request_id"]}
        system.settle(kit.click("ann", answer["items"][2]["item_id"], kit.t0 + 10, **clicked))
        system.settle(kit.item("later", kit.t0 + 600_000))
        _, gauges = scraped(system)
        figures = system.client.get("/v1/measures").json()["figures"]
    assert gauges["freshet_part_note[('note', 'arms'), ('part', 'of_the_hour')]"] == 3
    notes = next(figure["values"] for figure in figures if figure["name"] == "part_note")
    assert {"labels": {"part": "of_the_hour", "note": "arms"}, "value": 3.0} in notes
