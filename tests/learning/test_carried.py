"""On Kafka a policy either has columns that rows carry, keeps nothing, or is refused by name at startup."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bandits import BetaThompson, LinUcb, Uniform
from learners import Part, PartSpec, RowBlock
from learners.part import Column, Columns
from learning.errors import SettingsError
from learning.parts import build_parts
from learning.rows.carried import require_carried, require_framed
from learning.settings import LearningSettings
from stream.frame import Frame


class Remembering(BetaThompson):
    """Learns, and does not say what of it replicas need."""

    spec = PartSpec()


class OfLists(Part):
    """Learns columns of items where whole lists are learned."""

    spec = PartSpec({"item": (Column("seen", "<i8"),)})

    def learn_lists(self, block: RowBlock) -> None:
        """Nothing here."""


class Weights(OfLists):
    """Of all."""

    spec = PartSpec({"shared": (Column("seen", "<i8"),)})


class OfBoth(OfLists):
    """Has its columns of items from where items are owned."""

    def learn_items(self, block: RowBlock, parcel: Mapping[str, Columns]) -> None:
        """Nothing here."""


class Alone(Part):
    """Keeps something and names nothing."""

    def snapshot(self) -> Frame:
        return {"n": 1}


def test_a_learner_whose_rows_could_not_travel_is_refused_by_name() -> None:
    require_carried(
        {}, {"weights": Weights(), "both": OfBoth(), **build_parts(LearningSettings()).learners()}
    )
    with pytest.raises(
        SettingsError, match=r"learner: mine cannot run on Kafka: it learns columns of users or"
    ):
        require_carried({}, {"weights": Weights(), "mine:of_lists": OfLists()})
    with pytest.raises(
        SettingsError, match=r"learner: alone cannot run on Kafka: its `spec` names no columns"
    ):
        require_carried({}, {"alone": Alone()})


def test_every_policy_of_ours_is_carried() -> None:
    require_carried({**build_parts(LearningSettings()).policies, "lin_ucb": LinUcb(4)})


def test_a_policy_that_keeps_what_no_column_names_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="policy: mine cannot run on Kafka"):
        require_carried({"uniform": Uniform(), "mine": Remembering()})
    with pytest.raises(SettingsError, match="policy: mine cannot be served"):
        require_framed({"mine": Remembering()}, {})


class ByItself(Remembering):
    """Writes its frames itself: embedded that is enough."""

    def changes(self) -> Frame:
        return self.snapshot()


def test_a_policy_with_frames_of_its_own_runs_embedded_alone() -> None:
    require_framed({"mine": ByItself()}, {})
    with pytest.raises(SettingsError, match="policy: mine cannot run on Kafka"):
        require_carried({"mine": ByItself()})
