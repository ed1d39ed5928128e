"""`accepted` is never said of what will surely be dropped."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from stream.clock import WallClock
from stream.folder import DataFolder
from stream.frame import pack

DAY = 86_400_000


def test_older_history_is_refused_with_the_watermark_though_nothing_is_learned_yet(
    run: Any, kit: Any, tmp_path: Path
) -> None:
    older = [kit.click("old", "i1", kit.t0 - DAY + n) for n in range(3)]
    with run(tmp_path / "data", learner=False) as system:
        assert system.send(kit.click("new", "i1", kit.t0), backfill=True)["accepted"] == 1
        answer = system.send(*older, kit.click("new", "i2", kit.t0 - 1), backfill=True)
    assert (answer["accepted"], [refused["index"] for refused in answer["rejected"]]) == (1, [0, 1, 2])
    assert "history is loaded up to 2023-11-14T22:13:20Z" in answer["rejected"][0]["reason"]


def test_a_restarted_worker_knows_what_history_it_has(run: Any, kit: Any, tmp_path: Path) -> None:
    with run(tmp_path / "data", learner=False) as system:
        system.send(kit.click("new", "i1", kit.t0), backfill=True)
    with run(tmp_path / "data", learner=False) as system:
        assert system.send(kit.click("old", "i1", kit.t0 - DAY), backfill=True)["accepted"] == 0


def test_what_the_learner_has_read_is_known_without_the_marks(run: Any, kit: Any, tmp_path: Path) -> None:
    with run(tmp_path / "data") as system:
        accepted_at = system.send(kit.click("new", "i1", kit.t0), backfill=True)["accepted_at"]
        kit.wait_absorbed(system, accepted_at)
    (tmp_path / "data" / "history.marks").unlink()
    with run(tmp_path / "data") as system:
        assert system.send(kit.click("old", "i1", kit.t0 - DAY), backfill=True)["accepted"] == 0


def test_an_hour_old_click_is_refused_live_on_the_wall_clock(run: Any, kit: Any, tmp_path: Path) -> None:
    settings = msgspec.structs.replace(kit.settings, clock="wall")
    with run(tmp_path / "data", settings) as system:
        now = int(system.service.clock.now_ms())
        answer = system.send(kit.click("u", "a", now - 3_600_000), kit.click("u", "a", now - 300_000))
    assert answer["accepted"] == 1 and answer["rejected"][0]["index"] == 0
    assert "feed --backfill" in answer["rejected"][0]["reason"]


def test_an_old_item_is_taken_live(run: Any, kit: Any, tmp_path: Path) -> None:
    settings = msgspec.structs.replace(kit.settings, clock="wall")
    with run(tmp_path / "data", settings, learner=False) as system:
        assert system.send(kit.item("a", kit.t0))["accepted"] == 1


def test_what_is_absorbed_ahead_of_the_clock_is_not_ready(run: Any, kit: Any, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.prepare(1)
    with closing(folder.commit_log()) as commits:
        ahead = int(WallClock().now_ms()) + 3_600_000
        commits.commit(1, [], pack({}), absorbed_at=ahead, watermark=ahead)
    with run(tmp_path / "data", learner=False) as system:
        answer = system.client.get("/readyz")
    assert answer.status_code == 503 and "ahead of the clock" in answer.json()["detail"]
