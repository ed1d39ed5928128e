"""Closed-loop simulation: repeatable, and the theory's order of things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandits import Context, Uniform
from bandits.ops.arrays import Int32
from bandits.worlds import play
from learners import RowBlock
from learning.catalogue import POLICIES
from learning.errors import SettingsError
from learning.settings import LearningSettings
from replay.errors import ReplayError
from replay.report import save_simulation_plot, simulation_json
from replay.simulate import WORLDS, Played, make_policies, make_world, simulate
from stream.errors import PartError


@pytest.mark.parametrize("name", list(WORLDS))
def test_every_policy_plays_every_world(name: str) -> None:
    world = make_world(name, 6, seed=1)
    run = simulate(world, make_policies(POLICIES.own(), world), 60, seeds=[1, 2])
    assert set(run.regret) == set(POLICIES.own())
    assert all((np.diff(curves, axis=1) >= 0).all() for curves in run.regret.values())


def test_regret_of_learners_grows_slower_than_that_of_chance() -> None:
    world = make_world("clusters", 10, seed=3)
    run = simulate(world, make_policies(["uniform", "diag_lin_ucb"], world), 1_500, seeds=[1, 2, 3])
    assert run.minus("diag_lin_ucb", "uniform").high < 0
    assert run.growth("diag_lin_ucb") < 0.85 < run.growth("uniform")


def test_the_same_arguments_give_the_same_curves() -> None:
    world = make_world("bernoulli", 5, seed=2)
    first, second = (simulate(world, make_policies(["thompson"], world), 80, seeds=[4]) for _ in range(2))
    np.testing.assert_array_equal(first.regret["thompson"], second.regret["thompson"])


def test_a_configured_policy_plays_under_its_name_with_its_settings() -> None:
    world = make_world("bernoulli", 5, seed=2)
    configured = LearningSettings(policies=({"kind": "epsilon_greedy", "name": "dice", "exploration": 1.0},))
    run = simulate(world, make_policies(["dice", "uniform"], world, configured), 80, seeds=[4])
    assert set(run.regret) == {"dice", "uniform"} and run.growth("dice") > 0.85


class Planless(Uniform):
    def plan(self, context: Context, candidates: Int32) -> Any:
        return None


class Unteachable(Uniform):
    def learn(self, rows: RowBlock) -> Int32:
        raise KeyError(rows.kind.size)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (Planless(), "part 'odd' raised while it decided: .*plan returned None; expected a Rule, Beliefs or"),
        (Unteachable(), r"part 'odd' raised while it learned: KeyError"),
    ],
)
def test_what_a_policy_raises_bears_its_name(policy: Uniform, says: str) -> None:
    world = make_world("bernoulli", 3, seed=1)
    with pytest.raises(PartError, match=says):
        simulate(world, {"odd": lambda: Played(policy, policy.learn)}, 10, seeds=[1])


NEEDY = """
import msgspec
import numpy as np
from freshet.plugin import Policy, Rule
from bandits import Uniform

class Settings(msgspec.Struct): of: str = "thompson"
def needs(settings): return (settings.of, "popularity")

class Led(Uniform):
    def __init__(self, leader, popularity): self.leader, self.popularity = leader, popularity
    def plan(self, context, candidates): return self.leader.plan(context, candidates)

def build(settings, world): return Led(world.parts[settings.of], world.parts["popularity"])
"""


def test_what_a_policy_needs_is_built_and_learns_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "plug_led_by-1.0.dist-info"
    info.mkdir()
    (tmp_path / "plug_led_by.py").write_text(NEEDY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-led-by\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[freshet.parts]\nled = plug_led_by\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    world = make_world("bernoulli", 5, seed=2)
    played = make_policies(["led"], world)["led"]()
    alone = make_policies(["thompson"], world)["thompson"]()
    runs = [play(world, each.policy, 300, seed=3, learn=each.learn) for each in (played, alone)]
    assert runs[0].items.tolist() == runs[1].items.tolist()
    clicks = np.bincount(runs[0].items[runs[0].rewards > 0], minlength=5)
    assert played.policy.popularity.clicks[:5].tolist() == clicks.tolist()  # type: ignore[attr-defined]


def test_what_does_not_exist_is_named() -> None:
    world = make_world("bernoulli", 5, seed=2)
    with pytest.raises(ReplayError, match="clusters"):
        make_world("flat", 5, seed=1)
    with pytest.raises(SettingsError, match="greedy2"):
        make_policies(["greedy2"], world)
    with pytest.raises(ReplayError, match="rounds"):
        simulate(world, make_policies(["uniform"], world), 0, seeds=[1])


def test_the_report_has_a_curve_and_a_plot(tmp_path: Path) -> None:
    world = make_world("bernoulli", 5, seed=2)
    run = simulate(world, make_policies(["uniform"], world), 50, seeds=[1, 2])
    assert len(simulation_json(run)["policies"]["uniform"]["mean_regret"]) == len(run.at) == 50
    save_simulation_plot(run, tmp_path / "regret.png")
    assert (tmp_path / "regret.png").read_bytes()[:4] == b"\x89PNG"
