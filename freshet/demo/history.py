"""History before the live part: sent by backfill as a team would, and scored before it is learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from freshet.config import Settings
from freshet.data import Ratings
from freshet.demo.client import ApiClient
from freshet.demo.play import Contest
from freshet.demo.world import K, World
from freshet.feeding import Row, Sender
from freshet.offline import StateRecommender
from learning.errors import StartError
from learning.parts import Parts
from learning.pipeline import Pipeline
from replay import drive
from replay.drive import Observer
from replay.source import LinesSource
from stream.blocks import ORGANIC, FeedbackBlock
from stream.clock import Clock

__all__ = ["Known", "feed_history", "score_history"]

_encode = msgspec.json.Encoder().encode
_KEY = b"a demo keeps forgets in memory"
_BATCH = 2_000
_LONGEST_WAIT_S = 600.0


class Known(NamedTuple):
    """What has learned the history here."""

    parts: Parts
    state: StateRecommender


def feed_history(
    log: Ratings, n: int, url: str, client: ApiClient, clock: Clock, on_rows: Callable[[int], None]
) -> float:
    """Send the first `n` ratings by backfill and wait until they are learned; ratings a second.

    `on_rows` hears of each batch how many ratings were in it.

    Raises:
        StartError: they are not learned in ten minutes.
    """
    started, world = clock.monotonic_s(), World(log)
    rows = (Row(index, _encode(event)) for index in range(n) for event in world.events(index))
    sender = Sender(url, clock, backfill=True)
    try:
        report = sender.send(
            rows, batch=_BATCH, on_progress=lambda sent: on_rows(len({row.number for row in sent}))
        )
    finally:
        sender.close()
    if report.rejected:
        msg = f"{report.rejected} rows of the history were refused, the first: {report.reasons[0].reason}"
        raise StartError(msg)
    while client.absorbed_at() < report.accepted_at:
        if clock.monotonic_s() > started + _LONGEST_WAIT_S:
            msg = f"the history is not learned in {_LONGEST_WAIT_S:.0f} s; look at the log of the learner"
            raise StartError(msg)
        clock.sleep_s(0.05)
    return n / (clock.monotonic_s() - started)


def score_history(
    world: World, n: int, settings: Settings, every: int, on_rating: Callable[[int], None]
) -> tuple[Contest, Known]:
    """Learn the first `n` ratings as the running Freshet does, and foretell one in `every` before it is
    learned; what was foretold, and what knows all of them afterwards.

    It runs the same steps with the same settings here, for whoever loads history is not asked about it.
    """
    pipeline = Pipeline(settings, _KEY)
    state = StateRecommender(
        pipeline.parts, settings.serve.sources, sources=settings.sources, seed=settings.learn.seed
    )
    scored = _Foretold(state, every)
    hits: dict[str, list[bool]] = {name: [] for name in world.baselines}

    def lines() -> Iterator[bytes]:
        for index in range(n):
            if index % every == 0:
                for name, hit in world.hits(index).items():
                    hits[name].append(hit)
            yield from map(_encode, world.events(index))
            world.learn(index)
            on_rating(index)

    source = LinesSource(lines())
    drive(pipeline, iter(source), join=settings.join, tick_ms=settings.engine.tick_ms, observers=[scored])
    ours = {name: np.array(each, np.int8) for name, each in hits.items()}
    times = np.asarray(world.log.ts_ms[:n:every], np.int64)
    contest = Contest({**ours, "freshet": np.array(scored.hits, np.int8)}, times)
    return contest, Known(pipeline.parts, state)


class _Foretold(Observer):
    """Whether one in `every` clicks was among the films that its user would have been offered.

    All that stands between is learned at once, so it is quicker than `replay.Prequential`, which looks at
    every click.
    """

    def __init__(self, state: StateRecommender, every: int) -> None:
        self._state, self._every, self._n = state, every, 0
        self.hits: list[bool] = []

    def needs_state(self, block: FeedbackBlock) -> bool:
        """Only where the next click is to be foretold."""
        return ORGANIC in block.kind and self._n % self._every == 0

    def observe(self, block: FeedbackBlock) -> None:
        """Foretell the click of one event."""
        for kind, ref, ts in zip(block.kind, block.ref, block.ts, strict=True):
            if kind == ORGANIC:
                user_id, item_id = block.organic[ref]
                if self._n % self._every == 0:
                    self.hits.append(item_id in self._state.recommend(user_id, K, ts))
                self._n += 1
