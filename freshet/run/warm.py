"""A few made-up events through throw-away parts, so that every kernel is compiled before it is needed."""

from __future__ import annotations

import numpy as np

from freshet.config import Settings
from freshet.pipeline import Pipeline
from learners.ids import IdMap
from stream.events import Click, Decision, Forget, Impression, ItemEvent, LoggedEvent
from stream.frame import Frame

__all__ = ["WARM_USERS", "warm_frames"]

WARM_USERS = ("known", "unknown")
"""A user that the frames know, and one that they do not."""

_ITEMS = ("a", "b", "c", "d")
_HOUR_MS = 3_600_000


def warm_frames(settings: Settings) -> list[Frame]:
    """What a learner makes of a few events of every kind: one frame a commit."""
    pipeline = Pipeline(settings, b"only for warming up")
    n_features = pipeline.parts.ranker.n_features
    features = np.ones((len(_ITEMS), n_features), "<f4").tobytes()
    # One step an hour, so that nothing is late and the windows of the step before it close.
    at = [hour * _HOUR_MS for hour in range(1, 6)]
    decision = Decision(
        request_id="r", ts=at[2], user_id="known", items=list(_ITEMS[:3]), propensities=[0.5] * 3,
        policy=settings.policy.name, clusters=[0], weights=[1.0], features=features, others=[_ITEMS[3]],
    )  # fmt: skip
    steps: list[list[LoggedEvent]] = [
        [ItemEvent(item_id=item, ts=at[0]) for item in _ITEMS],
        [Click(ts=at[1], user_id="known", item_id=item) for item in _ITEMS[:2]],
        [decision, Click(ts=at[2], request_id="r", item_id="a", user_id="known")],
        [Impression(request_id="x", ts=at[3], user_id="other", items=["a", "b"])],
        [Forget(user_id="other", ts=at[4])],
    ]
    _look_up_many()
    frames = []
    for now_ms, events in zip(at, steps, strict=True):
        pipeline.on_events(events)
        pipeline.on_tick(now_ms)
        frames.append(pipeline.take())
    return frames


def _look_up_many() -> None:
    """Hundreds of ids at once take a way of their own, which a few events do not reach."""
    ids, names = IdMap(), [str(n) for n in range(64)]
    ids.put(names, np.arange(len(names), dtype=np.int32))
    ids.find(names)
    ids.drop(names)
