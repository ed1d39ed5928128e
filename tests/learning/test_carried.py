"""What Kafka's rows cannot carry is refused by name, before anything starts."""

from __future__ import annotations

import pytest

from bandits import BetaThompson, LinUcb, Uniform
from bandits.arms import ArmCounts
from freshet.config import load_settings
from learning.errors import SettingsError
from learning.parts import build_parts
from learning.rows.carried import carrier_of, require_carried
from stream.frame import Frame

CARRIED = {"diag_lin_ucb", "uniform", "epsilon_greedy", "thompson"}


def test_every_policy_that_can_be_configured_is_carried() -> None:
    settings = load_settings(environ={}, flags={"policy": {"others": list(CARRIED)}})
    policies = build_parts(settings).policies
    assert set(policies) == CARRIED
    require_carried(policies)


def test_a_policy_that_no_row_carries_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="policy: lin_ucb cannot run on Kafka"):
        require_carried({"uniform": Uniform(), "lin_ucb": LinUcb(4)})


class Remembering(BetaThompson):
    """Counts like Thompson, and keeps one column more."""

    def snapshot(self) -> Frame:
        return {**super().snapshot(), "last_played": 0}


def test_a_policy_with_a_column_more_than_rows_have_is_not_carried() -> None:
    assert issubclass(Remembering, ArmCounts) and carrier_of(BetaThompson()) == "arms"
    assert carrier_of(Remembering()) is None
