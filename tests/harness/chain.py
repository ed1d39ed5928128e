"""A long log for all steps in memory, and its batches; the steps are `learning.testing_chain`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from learning.testing_chain import Chain
from stream.events import Click, Decision, ItemEvent, LoggedEvent, Tick

__all__ = ["Chain", "batches", "logged_world"]


def logged_world(
    seed: int,
    *,
    n_users: int = 2_000,
    n_items: int = 200,
    n_clusters: int = 8,
    n_features: int = 0,
    tick_ms: int = 1_000,
) -> Iterator[LoggedEvent]:
    """An endless log: items, decisions with the contexts they used, clicks on them, organic clicks, ticks.

    Users take turns, so that what one of them does lies far apart in the log; whatever the number of
    partitions, it is learned in the same order.

    Example:
        >>> from itertools import islice
        >>> [type(event).__name__ for event in islice(logged_world(0, n_items=1), 3)]
        ['ItemEvent', 'Decision', 'Click']
    """
    rng = np.random.default_rng(seed)
    items = [f"i{n}" for n in range(n_items)]
    number, now = 0, 1_700_000_001_000
    yield from (ItemEvent(item_id=name, ts=now, group=f"g{n % 5}") for n, name in enumerate(items))
    turns = rng.permutation(n_users)
    popular = rng.dirichlet(np.full(n_items, 0.5)) * 0.7 + 0.3 / n_items
    while True:
        user, now = f"u{turns[number % n_users]}", now + 20
        size = min(10, n_items)
        shown = [items[n] for n in rng.choice(n_items, size, replace=False, p=popular)]
        clusters = rng.choice(n_clusters, 3, replace=False).tolist()
        features = rng.random((size, n_features)).astype("<f4").tobytes()
        yield Decision(
            request_id=f"r{number}", ts=now, user_id=user, items=shown, propensities=[0.5] * size,
            policy="diag_lin_ucb", clusters=clusters, weights=[0.5, 0.375, 0.125], features=features,
            explored=[number % size],
        )  # fmt: skip
        if number % 4 == 0:
            clicked = shown[int(rng.integers(size))]
            yield Click(ts=now + 7, request_id=f"r{number}", user_id=user, item_id=clicked)
        if number % 3 == 0:
            organic = items[int(rng.choice(n_items, p=popular))]
            other = f"u{turns[(number + n_users // 2) % n_users]}"
            yield Click(ts=now + 8, user_id=other, item_id=organic, event_id=f"e{number}")
        if now % tick_ms == 0:
            yield Tick(ts=now + 10)
        number += 1


def batches(events: Iterable[LoggedEvent], n: int) -> Iterator[list[LoggedEvent]]:
    """Lists of at most `n` events; a tick ends one."""
    batch: list[LoggedEvent] = []
    for event in events:
        batch.append(event)
        if len(batch) >= n or isinstance(event, Tick):
            yield batch
            batch = []
    if batch:
        yield batch
