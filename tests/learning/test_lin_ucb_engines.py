"""`lin_ucb` learns the same on the embedded engine and on partitions, and servers get the whole of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import pytest

from bandits import Context, LinUcb
from bandits.ops.arrays import Float64
from freshet.config import load_settings
from learning.parts import Parts, build_parts
from learning.pipeline import Pipeline
from learning.rows.codec import PROGRESS_KEY
from learning.rows.follow import RowFollower
from stream.events import Decision, ItemEvent, LoggedEvent, Tick
from stream.testing import drive
from tests.harness.chain import Chain, batches, logged_world

POLICIES: list[dict[str, Any]] = [
    {"kind": "lin_ucb", "max_arms": 1_000},
    {"kind": "lin_ucb", "name": "shared", "form": "shared", "attributes": ["genre", "price"]},
]
SETTINGS = load_settings(
    environ={},
    flags={
        "learn": {"embedding_dim": 8},
        "policy": {"features": ["device", "hour"], "feature_dim": 4},
        "policies": [{**one, "freeze_rows": 1_000_000} for one in POLICIES],
    },
)


def world(n: int) -> Iterator[LoggedEvent]:
    """A log whose requests have a context and whose items have attributes."""
    rng = np.random.default_rng(1)
    n_features = build_parts(SETTINGS).ranker.n_features
    for event in islice(logged_world(0, n_items=40, n_features=n_features), n):
        if isinstance(event, ItemEvent):
            attributes = {"genre": f"g{int(event.item_id[1:]) % 3}", "price": float(rng.integers(1, 90))}
            event = msgspec.structs.replace(event, attributes=attributes)
        elif isinstance(event, Decision):
            context = {"device": ("phone", "desk")[rng.integers(2)], "hour": float(rng.integers(24))}
            event = msgspec.structs.replace(event, context=context, policy="lin_ucb")
        yield event
    yield Tick(ts=event.ts + 1_000_000)


def scores(parts: Parts) -> Float64:
    """Of every item by id, for some requests, by each policy."""
    rows = parts.items.find([f"i{n}" for n in range(40)])
    nobody = (np.zeros(1, np.int32), np.ones(1, np.float32))
    asked = [{"device": device, "hour": hour} for device in ("phone", "desk", "tv") for hour in (3, 17)]
    contexts = [Context(*nobody, parts.request_features.of(one)) for one in asked]
    policies = [policy for policy in parts.policies.values() if isinstance(policy, LinUcb)]
    return np.stack([[policy.ucb(context, rows) for context in contexts] for policy in policies])


@pytest.fixture(scope="module")
def embedded() -> Parts:
    pipeline = Pipeline(SETTINGS, b"sixteen bytes or more")
    for batch in batches(world(3_000), 400):
        drive(pipeline, batch)
    return pipeline.parts


def followed(chain: Chain) -> Parts:
    """What a server has that has read every row."""
    follower, parts = RowFollower(SETTINGS), build_parts(SETTINGS)
    for (topic, key), value in chain.rows.items():
        if key != PROGRESS_KEY:
            follower.add(topic, 0, key, value)
    frame = follower.take()
    for name, part in parts.named().items():
        part.apply(frame.get(name, {}))
    return parts


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_a_server_on_kafka_scores_as_the_embedded_engine_does(embedded: Parts, n_partitions: int) -> None:
    chain = Chain(SETTINGS, n_partitions)
    for batch in batches(world(3_000), 250):
        chain.feed(batch)
    chain.settle()
    expected, served = scores(embedded), followed(chain)
    assert np.ptp(expected, axis=2).min() > 0.005
    assert np.allclose(scores(served), expected, rtol=1e-9, atol=1e-9)
    for name, policy in embedded.policies.items():
        other = served.policies[name]
        assert isinstance(policy, LinUcb) and isinstance(other, LinUcb)
        assert policy.version == other.version > 3_000
