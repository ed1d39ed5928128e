"""Numbers of a client reach what all share only within bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from freshet.config import Settings
from learning.pipeline import Pipeline
from stream.events import Click, Decision, ItemEvent

N = 100


def cosines(pipeline: Pipeline) -> Any:
    """Median cosine of all pairs of ordinary items."""
    vectors = pipeline.parts.items.data[:N].astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    return np.median((vectors @ vectors.T)[np.triu_indices(N, 1)])


@pytest.mark.parametrize("length", [1.0, 1e6, 1e15])
def test_a_long_vector_that_is_clicked_often_does_not_make_all_items_alike(length: float) -> None:
    pipeline, draw = Pipeline(Settings(), b"sixteen bytes or more"), np.random.default_rng(3)
    pipeline.on_events([ItemEvent(item_id=f"i{n}", ts=0) for n in range(N)])
    pipeline.on_events([ItemEvent(item_id="evil", ts=1, vector=[length / 8 * (-1) ** k for k in range(64)])])
    for n in range(600):
        item = "evil" if n % 6 == 0 else f"i{draw.integers(N)}"
        pipeline.on_events([Click(ts=10 + n, user_id=f"u{draw.integers(50)}", item_id=item)])
    assert abs(cosines(pipeline)) < 0.05
    assert np.linalg.norm(pipeline.parts.items.vectors(["evil"])) < 2.0


def test_a_short_vector_is_taken_as_it_is() -> None:
    pipeline, own = Pipeline(Settings(), b"sixteen bytes or more"), [0.1] * 64
    pipeline.on_events([ItemEvent(item_id="a", ts=1, vector=own)])
    assert pipeline.parts.items.vectors(["a"])[0].tolist() == np.array(own, np.float32).tolist()


def test_one_value_does_not_outweigh_a_hundred_clicks() -> None:
    pipeline = Pipeline(Settings(), b"sixteen bytes or more")
    pipeline.on_events([ItemEvent(item_id="a", ts=0)])
    for n in range(101):
        slate = Decision(
            request_id=f"r{n}", ts=1 + n, user_id=f"u{n}", items=["a"], propensities=[0.5],
            policy="diag_lin_ucb", clusters=[0], weights=[1.0],
        )  # fmt: skip
        value = -1e15 if n == 50 else 1.0
        pipeline.on_events([slate, Click(ts=2 + n, request_id=f"r{n}", item_id="a", value=value)])
    assert pipeline.parts.measures["policy_counts"].of("diag_lin_ucb")["reward"] == 99.0
