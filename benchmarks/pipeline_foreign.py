"""The learning path of the embedded engine where every list is somebody else's: each gets features.

As `pipeline_local`, but of 20,000 items, and a list of 20 comes as an impression without a decision: the
learner asks all scorers for its features at the moment when it is shown, and goes on from there. Between two
lists stand the clicks of earlier ones. One process, one thread, without the commits, which cost the same.
"""

from __future__ import annotations

import gc
from time import perf_counter, process_time
from typing import Any

import numpy as np

from freshet.config import load_settings
from learning.pipeline import Pipeline
from stream.codec import decode_learned, encode_events
from stream.events import Click, Impression, ItemEvent, LoggedEvent

__all__ = ["run"]

_N_ITEMS, _N_USERS, _SLATE = 20_000, 20_000, 20
_GAP_MS = 10
_WINDOW_MS, _LATENESS_MS = 2_000, 1_000
_A_RECORD = 128  # events
_WARM = 1_000  # lists


def _events(rng: np.random.Generator, n: int) -> list[LoggedEvent]:
    """Lists in order of time, and a click on each some moments later."""
    popularity = np.cumsum(1.0 / np.arange(1, _N_ITEMS + 1) ** 0.9)
    found: list[LoggedEvent] = []
    for at in range(n):
        ts, user = at * _GAP_MS, f"u{rng.integers(_N_USERS):06d}"
        ranks = np.unique(np.searchsorted(popularity, rng.random(3 * _SLATE) * popularity[-1]))
        items = [f"{rank:07d}" for rank in rng.permutation(ranks)[:_SLATE]]
        found.append(Impression(request_id=f"req-{at:012x}", user_id=user, ts=ts, items=items))
        item = items[int(rng.integers(len(items)))]
        clicked_at = ts + int(rng.integers(50, 1_500))
        found.append(Click(ts=clicked_at, user_id=user, item_id=item, request_id=f"req-{at:012x}"))
    return sorted(found, key=lambda event: event.ts)


def _measure(n: int) -> dict[str, Any]:
    flags = {"clock": "event", "join": {"window_ms": _WINDOW_MS, "lateness_ms": _LATENESS_MS}}
    pipeline = Pipeline(load_settings(environ={}, flags=flags), b"a key for the benchmark only")
    pipeline.on_events([ItemEvent(item_id=f"{item:07d}", ts=0) for item in range(_N_ITEMS)])
    events = _events(np.random.default_rng(0), _WARM + n)
    records = [encode_events(events[at : at + _A_RECORD]) for at in range(0, len(events), _A_RECORD)]
    warm = 2 * _WARM // _A_RECORD
    for body in records[:warm]:
        _take(pipeline, body)
    shown = pipeline.joiners[False].counters["shown"]
    steps = pipeline.parts.ranker.steps
    gc.collect()
    gc.freeze()
    gc.disable()
    seconds, began = process_time(), perf_counter()
    for body in records[warm:]:
        _take(pipeline, body)
    seconds, wall_s = process_time() - seconds, perf_counter() - began
    gc.enable()
    n_shown = _SLATE * (pipeline.joiners[False].counters["shown"] - shown)
    return {
        "value": n_shown / seconds,
        "unit": "shown items/s and core",
        "by_wall_clock": n_shown / wall_s,
        "shown": n_shown,
        "ranker_steps": pipeline.parts.ranker.steps - steps,
        "features": pipeline.parts.ranker.n_features,
    }


def _take(pipeline: Pipeline, body: bytes) -> None:
    events = decode_learned(body)
    pipeline.on_events(events)
    pipeline.on_tick(max(event.ts for event in events))


def run(quick: bool) -> list[dict[str, Any]]:
    """The figure."""
    return [{"name": "pipeline_foreign", **_measure(2_000 if quick else 20_000)}]
