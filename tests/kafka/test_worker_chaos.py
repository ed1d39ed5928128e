"""Workers die, freeze, come and go under load: every event is joined and learned once, in every row too.

The short form runs in `make test`; `make chaos` plays for `FRESHET_CHAOS_MINUTES`, and the broker dies too.
"""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from stream.kafka import KafkaSettings
from stream.kafka.topics import create_topics
from tests.harness.broker import JavaBroker, broker_jars
from tests.harness.workers import WorkerProcess
from tests.harness.workers_chaos import WorkersChaos

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

MINUTES = float(os.environ.get("FRESHET_CHAOS_MINUTES", "0"))


def check(chaos: WorkersChaos) -> None:
    """Nothing is lost and nothing doubled."""
    found, expected = chaos.finish(120), chaos.load.expected
    lost, doubled = expected - found, found - expected
    what = f"{chaos.report()}\n{chaos.said()[-4_000:]}"
    assert (sum(lost.values()), sum(doubled.values())) == (0, 0), what
    assert chaos.wrong_rows() == {}, what
    assert chaos.unclean == [], "\n".join([*chaos.unclean, what])


def test_every_event_is_learned_exactly_once(topics: KafkaSettings, tmp_path: Path) -> None:
    create_topics(topics)
    chaos = WorkersChaos(topics, tmp_path, np.random.default_rng(1), 2)
    try:
        chaos.settle()
        chaos.kill()
        chaos.freeze()
        chaos.add()
        chaos.settle()
        chaos.remove()
        chaos.wake_all()
        chaos.freeze(math.inf)
        chaos.settle()
        chaos.remove_frozen()
        check(chaos)
        assert chaos.happened["kill"] == 1 and chaos.happened["freeze"] == 2
    finally:
        chaos.close()


@pytest.mark.skipif(not MINUTES, reason="a broker of its own, for minutes: only in `make chaos`")
@pytest.mark.timeout(0)
def test_minutes_of_chaos_with_a_broker_that_dies(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = JavaBroker(folder, broker_jars())
    broker.start()
    settings = broker.settings(prefix="x-")
    create_topics(settings)
    # While the broker is away events wait in their producer, and are no less in time for that.
    start = partial(WorkerProcess, more={"FRESHET_JOIN_LATENESS_MS": "60000"})
    chaos = WorkersChaos(settings, tmp_path, np.random.default_rng(int(MINUTES)), 2, start=start)

    def restart() -> None:
        broker.kill()
        broker.start()
        chaos.happened["broker restart"] += 1

    try:
        chaos.play(60 * MINUTES, restart)
        check(chaos)
        said = ", ".join(f"{what} {n:g}" for what, n in chaos.report().items())
        pytestconfig.get_terminal_writer().line(f"\n{said}")
    finally:
        chaos.close()
        broker.kill()
