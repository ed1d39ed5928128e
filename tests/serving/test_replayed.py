"""What was decided live, asked again of the log: the same policy gives the same probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from freshet.offline import StateRecommender
from learning.pipeline import Pipeline
from learning.settings import PolicySettings
from replay import LoggedTarget, OffPolicy, PolicyTarget, drive, open_folder


def _live(system: Any, kit: Any, n: int) -> None:
    """Requests of many lengths, some of which show fewer items than were decided; each is learned at once."""
    system.settle(*[kit.item(f"i{item}", kit.t0) for item in range(60)])
    for turn in range(n):
        ts, user_id = kit.t0 + 1_000 * turn, f"u{turn % 4}"
        explicit = {"activate": "explicit"} if turn % 3 == 0 else {}
        looking = {"context": {"item_id": f"i{turn}"}} if turn % 5 == 0 else {}
        answer = system.ask(user_id, k=(40, 3, 8)[turn % 3], ts=ts, **explicit, **looking)
        shown, request_id = [each["item_id"] for each in answer["items"][:3]], answer["request_id"]
        events = [kit.click(user_id, shown[turn % 3], ts + 9, request_id=request_id)]
        if explicit:
            impression = {"type": "impression", "request_id": request_id, "user_id": user_id, "ts": ts + 5}
            events.insert(0, {**impression, "items": shown})
        system.settle(*events)


@pytest.mark.parametrize("name", ["uniform", "thompson", "epsilon_greedy"])
def test_a_live_policy_replayed_on_its_own_log_has_a_weight_of_one_everywhere(
    run: Any, kit: Any, tmp_path: Path, name: Any
) -> None:
    decides = PolicySettings(name=name, others=(), epsilon=1.0)
    settings = msgspec.structs.replace(kit.settings, policy=decides)
    with run(tmp_path / "data", settings) as system:
        _live(system, kit, 30)
    pipeline = Pipeline(settings, b"sixteen bytes or more")
    state, policy = StateRecommender(pipeline.parts, settings.serve.sources), pipeline.parts.policies[name]
    target = PolicyTarget(name, policy, pipeline.parts.items.find, candidates=state.candidates(policy))
    gathered = OffPolicy([LoggedTarget(), target])
    with open_folder(tmp_path / "data") as log:
        drive(pipeline, log, join=settings.join, observers=[gathered])
    rounds = gathered.rounds(name)
    assert (rounds.size, gathered.left_out) == (30, {})
    np.testing.assert_allclose(rounds.weights(), 1.0, rtol=1e-6)
