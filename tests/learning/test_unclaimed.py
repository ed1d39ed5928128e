"""A part that is taken out of the settings comes back as it was, without the items that went meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bandits import BetaThompson
from bandits.testing import digest
from bandits.worlds import BernoulliWorld, play
from learning.parts import Parts, build_parts
from learning.settings import LearningSettings
from stream.frame import Frame, pack, unpack


def _parts(*policies: dict[str, Any], frame: Frame | None = None) -> Parts:
    parts = build_parts(LearningSettings(policies=policies))
    if frame is not None:
        parts.restore(unpack(pack(frame)))
    return parts


UNIFORM, THOMPSON = {"kind": "uniform"}, {"kind": "thompson"}


def _taught() -> Parts:
    parts = _parts(UNIFORM, THOMPSON)
    play(BernoulliWorld(6, seed=1), parts.policies["thompson"], 200, seed=1)
    return parts


def test_a_policy_that_was_out_goes_on_from_what_it_knew(caplog: pytest.LogCaptureFixture) -> None:
    taught = _taught()
    without = _parts(UNIFORM, frame=taught.snapshot())
    still_without = _parts(UNIFORM, frame=without.snapshot())
    assert caplog.messages == ["kept, for they are not configured now: thompson"] * 2
    again = _parts(THOMPSON, frame=still_without.snapshot())
    assert digest(again.policies["thompson"]) == digest(taught.policies["thompson"])
    assert "unclaimed" not in again.snapshot()


def test_what_it_knew_of_items_that_went_meanwhile_is_gone() -> None:
    taught = _taught()
    without = _parts(UNIFORM, frame=taught.snapshot())
    without.remove_items(np.array([2], np.int32))
    again = _parts(THOMPSON, frame=_parts(UNIFORM, frame=without.snapshot()).snapshot())
    taught.policies["thompson"].remove_items(np.array([2, 900], np.int32))
    assert digest(again.policies["thompson"]) == digest(taught.policies["thompson"])


def test_a_name_that_is_of_another_kind_now_is_another_policy() -> None:
    first = _parts({"kind": "thompson", "name": "a"})
    play(BernoulliWorld(6, seed=1), first.policies["a"], 200, seed=1)
    other = _parts({"kind": "diag_lin_ucb", "name": "a"}, frame=first.snapshot())
    back = _parts({"kind": "thompson", "name": "a"}, frame=other.snapshot())
    assert isinstance(back.policies["a"], BetaThompson)
    assert digest(back.policies["a"]) == digest(first.policies["a"])
