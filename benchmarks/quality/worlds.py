"""Each policy of the catalogue on planted worlds whose best answer is known: what learning costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bandits.worlds import Play, World, play
from benchmarks.quality.rows import SEEDS, Row, summary
from learning.catalogue import POLICIES
from learning.errors import SettingsError
from learning.settings import LearningSettings
from replay.simulate import WORLDS, make_policies, make_world, simulate

__all__ = ["playable", "played", "regret_rows", "rows"]

_N_ITEMS = 20
_EVERY = 10  # what was answered is learned so many rounds later, as behind a log


def rows(quick: bool) -> list[Row]:
    """Expected regret of each policy with its default settings after so many rounds of one item each."""
    n_rounds = 500 if quick else 10_000
    found: list[Row] = []
    for name in [name for name in WORLDS if name != "flips"]:  # `drift` plays worlds that change
        found += regret_rows(name, [make_world(name, _N_ITEMS, seed) for seed in SEEDS], n_rounds)
    return found


def regret_rows(world_name: str, worlds: Sequence[World], n_rounds: int) -> list[Row]:
    """The regret of every policy, started afresh on each of the worlds, one for each of `SEEDS`."""
    regret: dict[str, list[float]] = {}
    for seed, world in zip(SEEDS, worlds, strict=True):
        names = playable(world)
        run = simulate(world, make_policies(names, world), n_rounds, seeds=[seed], every=_EVERY)
        for name in names:
            regret.setdefault(name, []).append(float(run.regret[name][0, -1]))
    metric = f"regret after {n_rounds:,} rounds"
    return [
        summary(world_name, name, metric, values, higher_is_better=False) for name, values in regret.items()
    ]


def playable(world: World) -> list[str]:
    """The policies of the catalogue whose packages are installed."""
    found = []
    for name in POLICIES.names():
        try:
            make_policies([name], world)
        except SettingsError:
            continue
        found.append(name)
    return found


def played(entry: Mapping[str, Any], world: World, n_rounds: int, *, seed: int, every: int = _EVERY) -> Play:
    """Play a policy, an entry of `[[policies]]`, on a world; `every` so many rounds are learned together."""
    settings = LearningSettings(policies=({**entry, "name": "player"},))
    player = make_policies(["player"], world, settings)["player"]()
    return play(world, player.policy, n_rounds, seed=seed, every=every, learn=player.learn)
