"""On Kafka a policy either has columns that rows carry, keeps nothing, or is refused by name at startup."""

from __future__ import annotations

import pytest

from bandits import BetaThompson, LinUcb, Uniform
from learners import PartSpec
from learning.errors import SettingsError
from learning.parts import build_parts
from learning.rows.carried import require_carried
from learning.settings import LearningSettings


class Remembering(BetaThompson):
    """Learns, and does not say what of it replicas need."""

    spec = PartSpec()


def test_every_policy_of_ours_is_carried() -> None:
    require_carried({**build_parts(LearningSettings()).policies, "lin_ucb": LinUcb(4)})


def test_a_policy_that_keeps_what_no_column_names_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="policy: mine cannot run on Kafka"):
        require_carried({"uniform": Uniform(), "mine": Remembering()})
