"""The embedded pipeline, run once in small, so that every kernel is compiled before it is needed."""

from __future__ import annotations

from learning.pipeline import Pipeline
from learning.settings import LearningSettings
from learning.warm_events import look_up_many, warm_events
from stream.frame import Frame

__all__ = ["warm_frames"]


def warm_frames(settings: LearningSettings, *, trains: bool = True) -> list[Frame]:
    """What a learner makes of a few events of every kind: one frame a commit. Workers do not train for that,
    for what trains a network is neither needed there nor loaded."""
    pipeline = Pipeline(settings, b"only for warming up", trains=trains)
    look_up_many()
    frames = []
    for now_ms, events in warm_events(settings, pipeline.parts.ranker.n_features):
        pipeline.on_events(events)
        pipeline.on_tick(now_ms)
        frames.append(pipeline.take())
    return frames
