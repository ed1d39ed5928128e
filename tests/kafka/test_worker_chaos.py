"""Workers die, freeze, come and go under load: every event is joined exactly once, none is lost."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from freshet.testing_work import WorkersChaos
from stream.kafka import KafkaSettings
from stream.kafka.topics import create_topics
from stream.testing_kafka import JavaBroker, broker_jars

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

# Each kill costs some seconds of a session here; `make chaos` asks for a thousand over all its tests.
N_ROUNDS = max(1, int(os.environ.get("FRESHET_CHAOS_KILLS", "30")) // 30)


def play(chaos: WorkersChaos) -> None:
    """One round of everything that can happen to workers, at work."""
    chaos.settle()
    chaos.kill()
    chaos.go_on(2)
    chaos.freeze()
    chaos.add()
    chaos.settle()
    chaos.kill()
    chaos.settle()
    chaos.remove()


@pytest.mark.timeout(600 + 120 * N_ROUNDS)
def test_every_event_is_joined_exactly_once(topics: KafkaSettings, tmp_path: Path) -> None:
    create_topics(topics)
    chaos = WorkersChaos(topics, tmp_path, np.random.default_rng(N_ROUNDS), 2)
    try:
        for _ in range(N_ROUNDS):
            play(chaos)
        found, expected = chaos.finish(60), chaos.load.expected
        lost, doubled = expected - found, found - expected
        assert (sum(lost.values()), sum(doubled.values())) == (0, 0), (
            f"{chaos.happened}\n{chaos.said()[-4_000:]}"
        )
        assert chaos.wrong_rows() == {}, f"{chaos.happened}\n{chaos.said()[-4_000:]}"
        assert chaos.happened["kill"] >= 2 * N_ROUNDS and chaos.happened["unclean stop"] == 0
    finally:
        chaos.close()


@pytest.mark.skipif(N_ROUNDS < 2, reason="a broker of its own, half a minute: only in `make chaos`")
def test_a_broker_that_dies_and_comes_back_costs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = JavaBroker(folder, broker_jars())
    broker.start()
    settings = broker.settings(prefix="x-")
    create_topics(settings)
    chaos = WorkersChaos(settings, tmp_path, np.random.default_rng(1), 2)
    try:
        chaos.settle()
        broker.kill()
        broker.start()
        chaos.settle(120)
        assert chaos.finish(60) == chaos.load.expected
    finally:
        chaos.close()
        broker.kill()
