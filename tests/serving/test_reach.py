"""What may be shown can be shown: policies without a graph reach all of it, with logged probabilities."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from serving.ops.eligible import count_eligible, draw_eligible
from serving.ops.merge import Columns
from stream.codec import decode_logged
from stream.events import Decision
from stream.folder import DataFolder

NONE = np.zeros(0, np.int32)


def columns(n: int, seed: int = 0) -> Columns:
    rng = np.random.default_rng(seed)
    known, deleted = rng.random(n) < 0.8, rng.random(n) < 0.1
    start = np.where(rng.random(n) < 0.2, 50, 0)
    end = np.where(rng.random(n) < 0.2, 90, 10**12)
    return Columns(known, deleted, rng.integers(-1, 3, n).astype(np.int32), start, end)


def eligible(c: Columns, now_ms: int, groups: list[int] | None) -> Any:
    inside = c.known & ~c.deleted & (c.from_ms <= now_ms) & (now_ms < c.until_ms)
    return inside if groups is None else inside & np.isin(c.group, groups)


@pytest.mark.parametrize("groups", [None, [0, 2]])
def test_the_count_is_exact_and_says_how_long_it_holds(groups: list[int] | None) -> None:
    c = columns(500)
    codes = NONE if groups is None else np.array(groups, np.int32)
    for now_ms, until_ms in ((10, 50), (60, 90), (100, 10**12)):
        found = count_eligible(c, now_ms, groups is None, codes)
        assert found == (int(np.count_nonzero(eligible(c, now_ms, groups))), until_ms)


@pytest.mark.parametrize(("n", "groups"), [(60, None), (60, [1]), (6_000, None), (6_000, [1])])
def test_draws_are_distinct_eligible_and_uniform(n: int, groups: list[int] | None) -> None:
    c, allowed = columns(n), np.random.default_rng(1).random(n) < 0.9
    codes = NONE if groups is None else np.array(groups, np.int32)
    could = np.flatnonzero(eligible(c, 60, groups) & allowed)
    seen: Counter[int] = Counter()
    before = allowed.copy()
    for key in range(3_000):
        out = np.empty(5, np.int32)
        drawn = draw_eligible(c, allowed, 60, groups is None, codes, np.uint64(key), could.size, out)
        assert drawn == min(5, could.size) == len(set(out[:drawn].tolist()))
        seen.update((out[:drawn] * 10 // n).tolist())
        assert np.isin(out[:drawn], could).all()
    assert (allowed == before).all()
    shares = np.bincount(could * 10 // n, minlength=10) / could.size
    found = np.array([seen[tenth] for tenth in range(10)]) / sum(seen.values())
    assert np.abs(found - shares).max() < 0.02


def ids(answer: dict[str, Any]) -> list[str]:
    return [shown["item_id"] for shown in answer["items"]]


@pytest.mark.parametrize("policy", ["uniform", "thompson", "epsilon_greedy"])
def test_every_item_is_shown_sooner_or_later(run: Any, kit: Any, tmp_path: Path, policy: str) -> None:
    changed = msgspec.structs.replace(kit.settings.policy, name=policy, epsilon=1.0)
    settings = msgspec.structs.replace(kit.settings, policy=changed)
    with run(tmp_path / "data", settings) as system:
        system.settle(*[kit.item(f"i{n}", kit.t0 + n) for n in range(60)])
        seen: set[str] = set()
        asked = 0
        while len(seen) < 60 and asked < 3_000:  # a tenth of what epsilon_greedy shows is drawn from all
            seen.update(ids(system.ask(f"u{asked}", k=5)))
            asked += 1
    assert len(seen) == 60


def test_uniform_is_one_in_all_that_this_user_may_be_shown(run: Any, kit: Any, tmp_path: Path) -> None:
    changed = msgspec.structs.replace(kit.settings.policy, epsilon=1.0)
    settings = msgspec.structs.replace(kit.settings, policy=changed)
    with run(tmp_path / "data", settings) as system:
        items = [kit.item(f"i{n}", kit.t0 + n, group="even" if n % 2 == 0 else "odd") for n in range(80)]
        gone = [kit.item("i1", kit.t0 + 90, deleted=True), kit.item("i3", kit.t0 + 90, group="even")]
        soon = [kit.item("i5", kit.t0 + 90, group="odd", available_from=kit.t0 + 10**9)]
        system.settle(*items, *gone, *soon, kit.click("ann", "i7", kit.t0 + 100))
        asked = {"k": 3, "groups": ["odd"], "exclude": ["i9", "i8"], "policy": "uniform"}
        answer = system.ask("ann", request_id="u-1", **asked)
        later = system.ask("bob", ts=kit.t0 + 10**9, **asked)
    # Forty odd ones without i1, i3, i5, i7, i9; later and for bob i5 and i7 are among them.
    assert [shown["propensity"] for shown in answer["items"]] == pytest.approx([1 / 35, 1 / 34, 1 / 33])
    assert later["items"][0]["propensity"] == pytest.approx(1 / 37)
    body = DataFolder(tmp_path / "data").readers()["events-0"].find_decision("u-1")
    (logged,) = decode_logged(body or b"")
    assert isinstance(logged, Decision) and (logged.eligible, logged.propensity_kind) == (35, "exact")
