"""Data folders with many items, made by the engine itself, for benchmarks of starting and of memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from freshet.config import Settings, load_settings
from freshet.run.learner import build_engine
from stream.codec import encode_events
from stream.events import Click, Decision, ItemEvent, LoggedEvent
from stream.folder import DataFolder
from stream.log import Record

__all__ = ["add_slates", "fill_folder", "settings_for"]

_SLATE = 20
_BUNDLE = 500


def settings_for(port: int = 0) -> Settings:
    """Everything as it is by default, on the event clock and a free port."""
    return load_settings(environ={}, flags={"clock": "event", "port": port})


def _items(n_items: int) -> Iterator[LoggedEvent]:
    for n in range(n_items):
        yield ItemEvent(item_id=f"item-{n:07d}", ts=1, group=f"g{n % 20}", attributes={"title": f"Item {n}"})


def _slates(n_items: int, n_slates: int, first: int) -> Iterator[LoggedEvent]:
    """Decided slates that show every item in turn, a click each, and two organic clicks of the same user."""
    rng = np.random.default_rng(first)
    for n in range(first, first + n_slates):
        shown = [f"item-{(n * _SLATE + place) % n_items:07d}" for place in range(_SLATE)]
        ts, user = 1_000 + 2 * n, f"user-{n % 50_000}"
        yield Decision(
            request_id=f"r{n}", ts=ts, user_id=user, items=shown, propensities=[0.5] * _SLATE,
            policy="diag_lin_ucb", clusters=rng.choice(64, 4, replace=False).tolist(), weights=[0.25] * 4,
        )  # fmt: skip
        yield Click(request_id=f"r{n}", item_id=shown[n % _SLATE], ts=ts + 1)
        yield Click(user_id=user, item_id=shown[(n + 7) % _SLATE], ts=ts + 1)


def _bundles(events: Iterator[LoggedEvent]) -> Iterator[Record]:
    bundle: list[LoggedEvent] = []
    for event in events:
        bundle.append(event)
        if len(bundle) == _BUNDLE:
            yield Record("events", encode_events(bundle), 1)
            bundle = []
    if bundle:
        yield Record("events", encode_events(bundle), 1)


def fill_folder(path: Path, n_items: int) -> None:
    """A data folder with a snapshot that holds `n_items`, each shown once."""
    with closing(DataFolder(path)) as folder:
        folder.prepare(1)
        _learn(
            folder, itertools.chain(_items(n_items), _slates(n_items, -(-n_items // _SLATE), 0)), ends=True
        )


def add_slates(path: Path, n_items: int, n_slates: int) -> None:
    """Slates that are committed behind the snapshot; as after a power failure, nothing is closed with one."""
    with closing(DataFolder(path)) as folder:
        _learn(folder, _slates(n_items, n_slates, n_items), ends=False)


def _learn(folder: DataFolder, events: Iterator[LoggedEvent], *, ends: bool) -> None:
    writer = folder.writer("events-0")
    engine = build_engine(folder, folder.commit_log(), folder.readers(), settings_for())
    engine.recover()
    writer.append(list(_bundles(events)))
    while engine.run_once():
        continue
    if ends:
        engine.snapshot()
    writer.close()
