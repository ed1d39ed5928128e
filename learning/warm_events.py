"""A few made-up events of every kind, so that every kernel is compiled before it is needed."""

from __future__ import annotations

import numpy as np

from learners.ids import IdMap
from learning.choices import policy_names
from learning.settings import LearningSettings
from stream.events import FIRST_TS, Click, Decision, Forget, Impression, ItemEvent, LoggedEvent

__all__ = ["WARM_USERS", "look_up_many", "warm_events"]

WARM_USERS = ("known", "unknown")
"""A user of the events, and one that they do not know."""

_ITEMS = ("a", "b", "c", "d")
_HOUR_MS = 3_600_000


def warm_events(settings: LearningSettings, n_features: int) -> list[tuple[int, list[LoggedEvent]]]:
    """Events for throw-away parts, step by step, and the time (ms) after each step.

    Args:
        settings: name the policy that decided.
        n_features: what the ranker knows about a candidate.

    Example:
        >>> [len(events) for _, events in warm_events(LearningSettings(), 5)]
        [4, 2, 2, 1, 1]
    """
    features = np.ones((len(_ITEMS), n_features), "<f4").tobytes()
    # One step an hour, so that nothing is late and the windows of the step before it close.
    at = [FIRST_TS + hour * _HOUR_MS for hour in range(1, 6)]
    decision = Decision(
        request_id="r", ts=at[2], user_id="known", items=list(_ITEMS[:3]), propensities=[0.5] * 3,
        policy=policy_names(settings)[0], clusters=[0], weights=[1.0], features=features, others=[_ITEMS[3]],
    )  # fmt: skip
    steps: list[list[LoggedEvent]] = [
        [ItemEvent(item_id=item, ts=at[0]) for item in _ITEMS],
        [Click(ts=at[1], user_id="known", item_id=item) for item in _ITEMS[:2]],
        [decision, Click(ts=at[2], request_id="r", item_id="a", user_id="known")],
        [Impression(request_id="x", ts=at[3], user_id="other", items=["a", "b"])],
        [Forget(user_id="other", ts=at[4])],
    ]
    return list(zip(at, steps, strict=True))


def look_up_many() -> None:
    """Hundreds of ids at once take a way of their own, which a few events do not reach."""
    ids, names = IdMap(), [str(n) for n in range(64)]
    ids.put(names, np.arange(len(names), dtype=np.int32))
    ids.find(names)
    ids.drop(names)
