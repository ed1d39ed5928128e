"""A log in the middle of which two items change places, and what policies with a detector make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from learning.parts import Parts
from learning.testing_told import told
from stream.events import Click, Decision, Impression, ItemEvent, LoggedEvent, Tick

__all__ = ["N_SLATES", "POLICIES", "START", "alarms", "impressions", "log"]

START, SECOND, HOUR = 1_700_000_000_000, 1_000, 3_600_000
N_SLATES, ITEMS = 1_200, ("up", "down", "same")
RATES = {"up": (0.05, 0.6), "down": (0.6, 0.05), "same": (0.3, 0.3)}
POLICIES: list[dict[str, Any]] = [
    {"kind": "thompson", "detector": "adwin"},
    {"kind": "epsilon_greedy", "detector": "page_hinkley"},
    {"kind": "diag_lin_ucb", "detector": "adwin", "detect_after": 0},
    {"kind": "lin_ucb", "detector": "adwin", "detect_after": 50},
]


@lru_cache
def log() -> Sequence[LoggedEvent]:
    """Every slate has all items, picked by a policy; in the middle two of them change places."""
    rng, out = np.random.default_rng(8), list[LoggedEvent]()
    out += [ItemEvent(item_id=item, ts=START) for item in ITEMS]
    for n in range(N_SLATES):
        ts, user, request = START + (n + 1) * 2 * SECOND, f"u{n % 9}", f"r{n}"
        items = [ITEMS[at] for at in rng.permutation(3)]
        out.append(
            Decision(
                request_id=request, ts=ts, user_id=user, items=items, policy="thompson",
                propensities=[0.5] * 3, explored=[0, 1, 2], clusters=[0], weights=[1.0],
            )
        )  # fmt: skip
        out.append(Impression(request_id=request, ts=ts, user_id=user, items=items))
        for item in items:
            if rng.random() < RATES[item][2 * n >= N_SLATES]:
                out.append(Click(request_id=request, ts=ts + 500, user_id=user, item_id=item))
        if n % 5 == 0:
            out.append(Tick(ts=ts + SECOND))
    return [*out, Tick(ts=ts + HOUR)]


def alarms(parts: Sequence[Parts]) -> Mapping[str, int]:
    """Of each policy, of all partitions."""
    return {
        name: sum(int(one.policies[name].notes()["drift_alarms"]) for one in parts)
        for name in parts[0].policies
    }


def impressions(parts: Sequence[Parts]) -> Mapping[str, Mapping[str, int]]:
    """What each policy holds of each item, of all partitions."""
    found: dict[str, dict[str, int]] = {}
    for one in parts:
        for name, policy in one.policies.items():
            held = {
                item: int(columns["shown"][0])
                for item, columns in told(policy, one, "item").items()
                if columns
            }
            found[name] = found.get(name, {}) | held
    return found
