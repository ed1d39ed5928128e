"""A folder that is restarted with one more scorer: weights and open slates keep what is common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from learning.choices import chosen_scorers
from learning.settings import LearningSettings
from stream.codec import decode_logged
from stream.events import Decision
from stream.folder import DataFolder

MORE = (
    {"kind": "together", "name": "near", "items": 2},
    *({"kind": one.name} for one in chosen_scorers(LearningSettings())),
)


def weights(system: Any) -> dict[str, float]:
    ranker = system.service.models.ranker
    return dict(zip(ranker.names, ranker.weights.tolist(), strict=True))


def logged(path: Path, request_id: str) -> Decision:
    (decision,) = decode_logged(DataFolder(path).readers()["events-0"].find_decision(request_id) or b"")
    assert isinstance(decision, Decision)
    return decision


def asked_and_clicked(system: Any, kit: Any, n: int) -> None:
    first = system.ask(f"u{n}", k=4, ts=kit.t0 + n, request_id=f"r{n}")["items"][1]["item_id"]
    system.settle(kit.click(f"u{n}", first, kit.t0 + n + 1, request_id=f"r{n}"))


def test_weights_and_open_slates_survive_one_more_scorer(run: Any, kit: Any, tmp_path: Path) -> None:
    path = tmp_path / "data"
    with run(path, kit.settings) as system:
        system.settle(*[kit.item(f"i{n}", kit.t0 - n) for n in range(12)])
        for n in range(5):
            asked_and_clicked(system, kit, n)
        waiting = system.ask("late", k=4, ts=kit.t0 + 50, request_id="open")["items"][2]["item_id"]
        before = weights(system)
    with run(path, msgspec.structs.replace(kit.settings, scorers=MORE)) as system:
        assert weights(system) == {"near.together": 0.5, **before}
        system.settle(kit.click("late", waiting, kit.t0 + 60, request_id="open"))
        after = weights(system)
        # Its own weight has not moved; how much of that is served goes by the shares of the experts.
        assert 0.0 < after["near.together"] <= 0.5 and after["popular_0"] != before["popular_0"]
        asked_and_clicked(system, kit, 9)
        assert weights(system)["popular_0"] != after["popular_0"]
        assert "freshet_ranker_clicks_unread 0.0" in system.client.get("/metrics").text
    old, new = logged(path, "open"), logged(path, "r9")
    assert old.feature_schema != new.feature_schema
    widths = [len(d.features) // 4 // (len(d.items) + len(d.others)) for d in (old, new)]
    assert widths == [len(before), len(before) + 1]
