"""A scorer added to a running system: weights, snapshots, open slates and followers keep what is common."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from freshet.config import load_settings
from index import LiveIndex
from learners import Ask, Ranker
from learning.parts import Parts, build_parts
from learning.pipeline import Pipeline
from learning.rows.codec import decode_control, encode_control
from serving.decisions import Circumstances, DecisionMaker
from serving.item_index import ItemIndex
from serving.requests import RecommendRequest
from serving.settings import ServeSettings
from stream.events import Click, Decision, ItemEvent
from stream.frame import Frame, pack, unpack

T0 = 1_700_000_000_000
SETTINGS = load_settings(environ={}, flags={"learn": {"embedding_dim": 4}})


class Age:
    """One more scorer: how long ago the item entered, in seconds."""

    names, weights = ("age",), (0.125,)

    def __init__(self, parts: Parts) -> None:
        self._catalogue = parts.catalogue

    def features(self, ask: Ask, rows: Any) -> Any:
        age = (ask.now_ms - self._catalogue.entered_ms[rows]) / 1e3
        return age.astype(np.float32)[:, None]


def extended(parts: Parts) -> Parts:
    """With one more scorer in front, as after a restart with other settings."""
    parts.ranker = Ranker([Age(parts), *parts.ranker.scorers])
    return parts


def fresh(*, more: bool) -> Pipeline:
    pipeline = Pipeline(SETTINGS, b"sixteen bytes or more")
    if more:
        extended(pipeline.parts)
    return pipeline


def restarted(before: Pipeline, *, more: bool) -> Pipeline:
    after = fresh(more=more)
    after.restore(unpack(pack(before.snapshot())))
    return after


def decided(pipeline: Pipeline, n: int) -> Decision:
    parts = pipeline.parts
    index = ItemIndex(LiveIndex(4, 4_096, as_given=True), parts.items, parts.catalogue)
    index.rebuild()
    maker = DecisionMaker(parts, index, ServeSettings(), epsilon=0.0, seed=1)
    asked = RecommendRequest(user_id=f"u{n}", k=4)
    return maker.decide(asked, Circumstances(f"r{n}", T0 + 1_000 * n, 0, False, ""))


def click(pipeline: Pipeline, decision: Decision) -> None:
    items = (decision.items[2], decision.request_id)
    pipeline.on_events([Click(ts=decision.ts + 5, user_id="u", item_id=items[0], request_id=items[1])])


@pytest.fixture
def running() -> Pipeline:
    """Some clicks are learned; the decision r9 is shown and waits for its click."""
    pipeline = fresh(more=False)
    pipeline.on_events([ItemEvent(item_id=f"i{n}", ts=T0 - n) for n in range(9)])
    for n in range(6):
        decision = decided(pipeline, n)
        pipeline.on_events([decision])
        click(pipeline, decision)
    return pipeline


def of_all(pipeline: Pipeline) -> dict[str, float]:
    """The weights of the steady expert over all features: others depend on how many there are."""
    ranker = pipeline.parts.ranker
    return dict(zip(ranker.names, ranker.experts.columns["linear"].tolist(), strict=True))


def weights(pipeline: Pipeline) -> dict[str, float]:
    ranker = pipeline.parts.ranker
    return dict(zip(ranker.names, ranker.weights.tolist(), strict=True))


def test_a_restart_with_one_more_keeps_weights_and_learns_from_open_slates(running: Pipeline) -> None:
    waiting = decided(running, 9)
    running.on_events([waiting])
    after = restarted(running, more=True)
    assert weights(after) == {"age": 0.125, **weights(running)}
    click(after, waiting)
    click(running, waiting)
    assert of_all(after) == {"age": 0.125, **of_all(running)}
    newer = decided(after, 10)
    after.on_events([newer])
    click(after, newer)
    assert newer.feature_schema != waiting.feature_schema
    assert weights(after)["age"] != 0.125
    assert (after.parts.ranker.steps, after.parts.ranker.unread) == (8, 0)


def test_taken_away_again_the_rest_goes_on(running: Pipeline) -> None:
    more = restarted(running, more=True)
    waiting = decided(more, 9)
    more.on_events([waiting])
    fewer = restarted(more, more=False)
    click(fewer, waiting)
    assert list(weights(fewer)) == list(weights(running)) != list(weights(more))
    assert (fewer.parts.ranker.steps, fewer.parts.ranker.unread) == (7, 0)


def test_a_scorer_that_was_out_goes_on_from_its_weight(
    running: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    more = restarted(running, more=True)
    waiting = decided(more, 9)
    more.on_events([waiting])
    click(more, waiting)
    fewer = restarted(restarted(more, more=False), more=False)
    assert caplog.messages == ["kept, for no scorer has them now: weights of age"] * 2
    again = restarted(fewer, more=True)
    assert weights(again) == weights(more) and weights(again)["age"] != 0.125
    assert (
        again.parts.ranker.snapshot()["squares"].tolist() == more.parts.ranker.snapshot()["squares"].tolist()
    )
    assert "kept" not in again.parts.ranker.snapshot()


def test_a_list_that_the_learner_has_never_seen_is_counted(running: Pipeline) -> None:
    server = restarted(running, more=True)
    ahead = decided(server, 9)
    before = weights(running)
    running.on_events([ahead])
    click(running, ahead)
    assert weights(running) == before
    assert running.parts.ranker.unread == 1
    assert running.take()["ranker"]["unread"] == 1


@pytest.mark.parametrize("by_topic", [False, True])
def test_a_server_with_another_list_follows_what_is_common(running: Pipeline, by_topic: bool) -> None:
    def sent(frame: Frame) -> Frame:
        if by_topic:
            return decode_control(encode_control("ranker", frame))[1]
        return unpack(pack(frame))

    server = extended(build_parts(SETTINGS))
    server.ranker.apply(sent(running.take()["ranker"]))
    assert server.ranker.weights.tolist() == [0.125, *weights(running).values()]
    learner = restarted(running, more=True)
    old = build_parts(SETTINGS)
    old.ranker.apply(sent(learner.take()["ranker"]))
    assert old.ranker.weights.tolist() == [*weights(running).values()]
    assert old.ranker.schemas.strange([learner.parts.ranker.schemas.id, "?"]) == {
        learner.parts.ranker.schemas.id,
        "?",
    }
