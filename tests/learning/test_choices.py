"""What the settings choose from the catalogue: kinds, names, settings of their own, needs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from bandits import BetaThompson, EpsilonGreedy, Policy
from learners.world import World
from learning.catalogue import POLICIES
from learning.choices import build_chosen, chosen_parts, in_full
from learning.errors import SettingsError
from learning.parts import build_parts
from learning.pipeline import Pipeline
from learning.settings import LearningSettings, PolicySettings


def _built(*entries: dict[str, Any]) -> dict[str, Any]:
    return build_parts(LearningSettings(policies=entries)).policies


def test_the_policies_are_those_of_the_list_with_their_own_settings_in_its_order() -> None:
    kinds = ({"kind": "thompson", "prior_none": 3}, {"kind": "epsilon_greedy", "exploration": 0.25})
    thompson, greedy = _built(*kinds).values()
    assert isinstance(thompson, BetaThompson) and thompson.prior_none == 3.0
    assert isinstance(greedy, EpsilonGreedy) and greedy.exploration == 0.25


def test_several_of_one_kind_run_under_names() -> None:
    wide, narrow = {"kind": "diag_lin_ucb", "name": "wide", "alpha": 2}, {"kind": "diag_lin_ucb"}
    found = {name: policy.alpha for name, policy in _built(wide, narrow).items()}
    assert found == {"wide": 2.0, "diag_lin_ucb": 0.5}


def test_every_kind_of_the_room_can_be_built_from_its_defaults() -> None:
    found = _built(*({"kind": kind} for kind in POLICIES.own()))
    assert {name: policy.name for name, policy in found.items()} == {kind: kind for kind in POLICIES.own()}


def test_equal_parts_are_equal_in_full_however_they_are_written() -> None:
    short, full = {"kind": "uniform"}, {"name": "uniform", "kind": "uniform"}
    assert in_full(chosen_parts(POLICIES, [short])) == in_full(chosen_parts(POLICIES, [full]))


def test_a_learner_cannot_have_the_name_of_what_else_stands_in_a_snapshot() -> None:
    lists: Any = {"scorers": ({"kind": "taste"},)}
    pipeline = Pipeline(LearningSettings(**lists), b"sixteen bytes or more")
    names = {*pipeline.snapshot(), *pipeline.take(), "unclaimed", "learners", "marks", "index"}
    for name in sorted(name for name in names if ":" not in name):
        with pytest.raises(SettingsError, match=rf"\[\d\]\.name: '{name}' is the name of another part"):
            build_parts(LearningSettings(learners=({"kind": "popularity", "name": name},), **lists))


def test_a_policy_cannot_have_the_name_of_another_part() -> None:
    with pytest.raises(SettingsError, match=r"policies\[0\]\.name: 'mf' is the name of another part"):
        _built({"kind": "uniform", "name": "mf"})


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([{"kind": "thomson"}], r"policies\[0\]\.kind: .*'thomson'; did you mean thompson\? There are: "),
        ([{"kind": 7}], r"policies\[0\]\.kind: expected text, got 7; see"),
        ([{"kind": ["uniform"]}], r"policies\[0\]\.kind: expected text, got a list"),
        ([{"name": "a"}], r"policies\[0\]: every entry of \[\[policies\]\] has a `kind`"),
        ([{"kind": "uniform"}, {"kind": "thompson", "name": "uniform"}], r"\[1\]: 'uniform' is also .*\[0\]"),
        ([{"kind": "uniform", "name": "a:b"}], r"policies\[0\]\.name: expected up to 64 letters"),
        ([{"kind": "uniform", "alpha": 1}], r"alpha is a setting of diag_lin_ucb, lin_ucb, not of uniform"),
        ([{"kind": "lin_ucb", "alhpa": 1}], r"there is no policies\[0\]\.alhpa; did you mean alpha"),
        ([{"kind": "lin_ucb", "top": 0}], r"policies\[0\]\.top: expected int >= 1, got 0"),
        ([{"kind": "lin_ucb", "top": [2]}], r"policies\[0\]\.top: expected int, got a list"),
    ],
)
def test_an_entry_that_does_not_fit_is_named(entries: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        chosen_parts(POLICIES, entries)


def test_a_need_that_nothing_meets_is_named() -> None:
    with pytest.raises(SettingsError, match=r"policies\[0\]: 'diag_lin_ucb' needs 'graph'; there are: seen"):
        build_chosen(chosen_parts(POLICIES, [{"kind": "diag_lin_ucb"}]), World(parts={"seen": 1}), Policy)


def test_a_need_of_another_kind_is_named_with_both_kinds_and_what_would_do() -> None:
    lists: Any = {"learners": ({"kind": "popularity", "name": "last_hour"},)}
    for of, kind in (("cooccurrence", "cooccurrence"), ("users", "table")):
        settings = LearningSettings(scorers=({"kind": "taste"}, {"kind": "popular", "of": of}), **lists)
        says = rf"scorers\[1\]\.of: kind 'popular' reads .* 'popularity', and '{of}' is of kind '{kind}'; .*"
        with pytest.raises(SettingsError, match=f"settings: {says}there are: popularity, last_hour$"):
            build_parts(settings)


def test_scorers_are_those_of_the_list_and_two_of_one_kind_have_features_of_their_own() -> None:
    entries = ({"kind": "taste"}, {"kind": "taste", "name": "mine", "weight": 3}, {"kind": "popular"})
    ranker = build_parts(LearningSettings(scorers=entries)).ranker
    assert ranker.names == ("taste", "mine.taste", "popular_0", "popular_1")
    assert ranker.weights[1] == 3.0
    assert build_parts(LearningSettings()).ranker.names[4] == "taste"


def test_a_process_imports_the_kinds_that_were_chosen_and_no_others() -> None:
    program = """
import sys
from learning.parts import build_parts
from learning.pipeline import Pipeline
from learning.settings import LearningSettings, PolicySettings
build_parts(LearningSettings(policies=({"kind": "uniform"},), scorers=({"kind": "taste"},)))
print(*sorted(name for name in sys.modules if name.startswith(("bandits.policies.", "learners.scorers."))))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["bandits.policies.uniform", "learners.scorers.taste"]


def test_state_that_was_learned_of_other_features_is_refused_with_what_to_do() -> None:
    lists: Any = {"policies": ({"kind": "lin_ucb"},)}
    stored = build_parts(LearningSettings(policy=PolicySettings(features=("device", "hour")), **lists))
    for names in (("device",), ("hour", "device"), ("country", "hour")):
        now = build_parts(LearningSettings(policy=PolicySettings(features=names), **lists))
        with pytest.raises(SettingsError, match=r"settings: lin_ucb: .* start afresh under another `name`"):
            now.restore(stored.snapshot())


def test_a_learner_with_other_settings_is_refused_with_its_name() -> None:
    def made(*half_lives_ms: int) -> Any:
        entry = {"kind": "popularity", "name": "now", "half_lives_ms": half_lives_ms}
        return build_parts(LearningSettings(learners=(entry,)))

    with pytest.raises(SettingsError, match=r"settings: now:popularity: .* give it another `name`"):
        made(60_000, 3_600_000).restore(made(3_600_000).snapshot())
