"""Runs of one log that many contracts look at: each is made once for the same settings, for reading only."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import msgspec
import numpy as np

from learning.parts import Parts
from learning.settings import LearningSettings
from learning.testing_chain import Chain
from learning.testing_engines import Embedded, chained, followed, pieces, renewed, scripted
from stream.events import LoggedEvent

__all__ = [
    "PAUSE_MS",
    "Cut",
    "follower",
    "learned",
    "log_of",
    "partitions",
    "partitions_follower",
    "replica",
]

PAUSE_MS = 240_000
"""Of the case "new owners": long enough for rows to be freed and used again."""
_N_EVENTS = 400
# A run is a megabyte or two; contracts with the same settings need these at most.
_RUNS = 64


class Cut(NamedTuple):
    """How a log comes to one machine.

    Attributes:
        seed: of where it is cut; 0: nowhere.
        case: "" or "new owners".
        most: events in a batch.
        keeps: as `kind` of `Embedded`.
        restarts: whether each batch begins in a new process.
        forgets: whether users are forgotten in it.
    """

    seed: int = 0
    case: str = ""
    most: int = 40
    keeps: str = ""
    restarts: bool = False
    forgets: bool = True


_WHOLE = Cut()


def _settings(key: bytes) -> LearningSettings:
    return msgspec.json.decode(key, type=LearningSettings)


def log_of(settings: LearningSettings, case: str = "", *, forgets: bool = True) -> list[LoggedEvent]:
    """The log of a case.

    Example:
        >>> len(log_of(LearningSettings())) < len(log_of(LearningSettings(), "new owners"))
        True
    """
    log = scripted(settings, n=_N_EVENTS, forgets=forgets)
    return renewed(log, PAUSE_MS) if case else log


@lru_cache(maxsize=_RUNS)
def learned(key: bytes, cut: Cut = _WHOLE) -> Embedded:
    """One machine that has learned the log.

    Args:
        key: the settings as JSON.
        cut: how it came.

    Example:
        >>> learned(msgspec.json.encode(LearningSettings())).parts.items.size > 0
        True
    """
    settings = _settings(key)
    log = log_of(settings, cut.case, forgets=cut.forgets)
    batches = pieces(log, np.random.default_rng(cut.seed), cut.most) if cut.seed else [log]
    return Embedded(settings, cut.keeps).learn(batches, restarts=cut.restarts)


@lru_cache(maxsize=_RUNS)
def replica(key: bytes, cut: Cut) -> Parts:
    """Who has followed the frames of `learned`."""
    return learned(key, cut).replica()


@lru_cache(maxsize=_RUNS)
def follower(key: bytes, cut: Cut, seed: int) -> Parts:
    """Who has read the rows of `learned`, shuffled by `seed`."""
    return followed(_settings(key), learned(key, cut).outputs, np.random.default_rng(seed))


@lru_cache(maxsize=_RUNS)
def partitions(key: bytes, n: int, *, in_order: bool = True) -> Chain:
    """`n` partitions that have learned it: an event at a time; or in batches, without forgets and each in new
    processes, which is in another order across partitions."""
    settings = _settings(key)
    if in_order:
        return chained(settings, n, ([event] for event in log_of(settings)))
    # A forget drops what its user's partition has not learned yet; how much that is depends on the order.
    batches = pieces(log_of(settings, forgets=False), np.random.default_rng(6), 90)
    return chained(settings, n, batches, restarts=True)


@lru_cache(maxsize=_RUNS)
def partitions_follower(key: bytes, n: int, seed: int, *, in_order: bool = True) -> Parts:
    """Who has read the rows of `partitions`, shuffled by `seed`."""
    outputs = partitions(key, n, in_order=in_order).outputs
    return followed(_settings(key), outputs, np.random.default_rng(seed))
