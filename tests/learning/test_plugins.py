"""Kinds of other packages: found by their entry points, and named by the user when they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freshet.config import load_settings
from freshet.run.worker import warm
from learning.catalogue import POLICIES
from learning.errors import SettingsError
from learning.parts import build_parts
from learning.settings import LearningSettings
from learning.starting import startable_parts
from learning.testing_engines import Embedded, chained, followed
from learning.testing_engines import scripted as scripted_log
from tests.harness.rows import DIM, RowPublisher, RowServer, known_items, scripted

Register = Callable[..., None]

PLUGIN = Path(__file__).resolve().parents[1] / "plugin" / "boltzmann"
SETTINGS = "import msgspec\nclass Settings(msgspec.Struct): rate: float = 1.0\n"
BUILD = "def build(s, w): return None\n"
UNIFORM = "from freshet.plugin import Policy\nfrom bandits import Uniform\n"


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Register:
    """Write a package with one module and its metadata, as an installer would, onto Python's path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(kind: str, module: str, source: str, *, needs: str = "") -> None:
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 0.1\n{needs}")
        (info / "entry_points.txt").write_text(f"[freshet.parts]\n{kind} = {module}\n")

    return write


def _build(*kinds: str) -> None:
    build_parts(LearningSettings(policies=tuple({"kind": kind} for kind in kinds)))


def test_a_name_without_a_section_is_a_policy_and_one_of_another_section_is_none(register: Register) -> None:
    build = "def build(settings, world): return Uniform()"
    register("lazy", "plug_lazy", f"{SETTINGS}{UNIFORM}{build}")
    register("sources.near", "plug_near", f"{SETTINGS}{build}")
    assert "lazy" in POLICIES.names() and "near" not in POLICIES.names()
    assert POLICIES.load("lazy").package == "plug_lazy"
    _build("lazy")


@pytest.mark.parametrize(
    ("module", "source", "says"),
    [
        (
            "plug_a",
            "x = 1",
            "'odd', plug_a of plug_a 0.1, is no kind of part: it has no 'Settings' and no 'b",
        ),
        ("plug_b", "Settings = dict\ndef build(s, w): ...", "its Settings is no msgspec.Struct"),
        ("plug_c", f"{SETTINGS}def build(settings): ...", r"build must take \(settings, world\)"),
        ("plug_d", SETTINGS.replace("rate", "name") + "def build(s, w): ...", "its Settings has 'name'"),
        ("plug_e", f"{SETTINGS}def build(s, w): return 1 / 0", "cannot be built: ZeroDivisionError: div"),
        ("plug_f", f"{SETTINGS}def build(s, w): return object()", "builds 'object' without .*plan.*see `fre"),
        ("plug_g", "1 / 0", "plug_g of plug_g 0.1 cannot be imported: ZeroDivisionError"),
        (
            "plug_h",
            "import nosuch_thing",
            "'odd' of plug_h 0.1 imports nosuch_thing, which is not installed$",
        ),
        ("plug_q", "import plug_q.more", "'odd' of plug_q 0.1 imports plug_q.more, which is not in it$"),
        ("plug_i", "raise SystemExit(3)", "plug_i of plug_i 0.1 cannot be imported: SystemExit: 3"),
        (
            "plug_j",
            f"{SETTINGS}def build(s, w): raise SystemExit",
            "'odd' of package plug_j cannot .* SystemE",
        ),
        ("plug_k", f"{SETTINGS}{BUILD}def needs(s): return 'mf'", r"plug_k: needs.* \('graph',\); got 'mf'"),
        (
            "plug_l",
            f"{SETTINGS}{BUILD}def needs(s): return (1,)",
            r"plug_l: needs.* \('graph',\); got \(1,\)",
        ),
        (
            "plug_m",
            f"{SETTINGS}{BUILD}def needs(s): return 1 / 0",
            "plug_m: needs.* raised ZeroDivisionError",
        ),
        (
            "plug_n",
            f"{SETTINGS}def build(s, w): return dict",
            r"builds the class 'dict'; make one: return di",
        ),
        (
            "plug_o",
            "import msgspec\nclass Settings(msgspec.Struct): a: 3 = 3\n" + BUILD,
            "plug_o: its Settings",
        ),
    ],
)
def test_a_module_that_is_no_kind_is_named_with_what_it_lacks(
    register: Register, module: str, source: str, says: str
) -> None:
    register("policies.odd", module, source)
    with pytest.raises(SettingsError, match=rf"settings: policies\[0\].*{says}"):
        _build("odd")


def test_a_setting_that_a_plugin_does_not_have_is_refused_though_its_struct_lets_it_pass(
    register: Register,
) -> None:
    register("policies.lax", "plug_lax", f"{SETTINGS}{UNIFORM}def build(s, w): return Uniform()")
    with pytest.raises(SettingsError, match=r"there is no policies\[0\]\.rtae; did you mean rate"):
        build_parts(LearningSettings(policies=({"kind": "lax", "rtae": 2},)))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "policy.newest",
            r"plug_near 0.1 is registered as 'policy.newest', so 'newest' is in a section 'pol",
        ),
        ("policies.", r"plug_near 0.1 is registered as 'policies.', whose kind '' is no name"),
    ],
)
def test_a_kind_under_a_name_that_cannot_be_chosen_is_named_with_its_package(
    register: Register, name: str, says: str
) -> None:
    register(name, "plug_near", "")
    assert "" not in POLICIES.names()
    with pytest.raises(SettingsError, match=says):
        _build(name.partition(".")[2])


def test_a_part_that_is_not_for_serving_is_refused_by_what_serves_and_by_nothing_else(
    register: Register,
) -> None:
    build = "SERVABLE = False\ndef build(s, w): return Uniform()"
    register("policies.offline", "plug_offline", f"{SETTINGS}{UNIFORM}{build}")
    settings = LearningSettings(policies=({"kind": "offline"},))
    says = r"policies\[0\]: kind 'offline' of package plug_offline is not for serving \(SERVABLE is False\)"
    for kafka in (False, True):
        with pytest.raises(SettingsError, match=says):
            startable_parts(settings, kafka=kafka, trains=True)
    build_parts(settings)


def test_a_part_that_raises_on_made_up_events_is_refused_before_anything_is_served(
    register: Register,
) -> None:
    bad = "class Bad(Uniform):\n    def {}: return 1 / 0\ndef build(s, w): return Bad()"
    register("policies.unable", "plug_unable", f"{SETTINGS}{UNIFORM}{bad.format('learn(self, rows)')}")
    register("policies.blank", "plug_blank", f"{SETTINGS}{UNIFORM}{bad.format('plan(self, c, rows)')}")
    source = (
        f"{SETTINGS}from freshet.plugin import Source\nclass Bad(Source):\n    def offer(self, ask): 1 / 0\n"
    )
    register("sources.void", "plug_void", f"{source}def build(s, w): return Bad()")
    for entries, says in (
        ({"policies": [{"kind": "unable"}]}, "part 'unable' raised while it learned: ZeroDivisionError"),
        ({"policies": [{"kind": "blank"}]}, "policy 'blank' raised while it answered request 'warm-0-blank'"),
        ({"sources": [{"kind": "void"}]}, "source 'void' raised while it answered request 'warm-"),
    ):
        settings = load_settings(environ={}, flags={"learn": {"embedding_dim": DIM}, **entries})
        with pytest.raises(SettingsError, match=f"^{says}.* before anything is served"):
            warm(settings)


@pytest.mark.parametrize(
    ("section", "module", "source", "says"),
    [
        (
            "learners",
            "plug_p",
            "class P(Part): spec = {}",
            r"learners\[0\].*plug_p builds 'P', whose `spec` is no",
        ),
        (
            "scorers",
            "plug_q",
            "class P: names, weights, features = 'a', (1,), 1",
            "scorer P needs a tuple .* 'a' ",
        ),
        ("scorers", "plug_r", "class P: names, weights, features = ('a',), (1, 2), 1", r"and \(1, 2\)$"),
    ],
)
def test_a_part_of_the_wrong_shape_is_named_with_what_it_should_have(
    register: Register, section: str, module: str, source: str, says: str
) -> None:
    imports = "from freshet.plugin import Part\n"
    register(f"{section}.odd", module, f"{SETTINGS}{imports}{source}\ndef build(s, w): return P()")
    lists: Any = {section: ({"kind": "odd"},)}
    with pytest.raises(SettingsError, match=f"settings: {says}" if section == "learners" else says):
        build_parts(LearningSettings(**lists))


def test_what_only_training_needs_is_asked_for_where_something_trains(register: Register) -> None:
    needs = 'Provides-Extra: deep\nRequires-Dist: nosuch-torch>=2; extra == "deep"\n'
    build = "def build(s, w):\n    if w.trains: import nosuch_torch\n    return Uniform()\n"
    source = f"TRAINS_WITH = ('numpy', 'nosuch_torch')\n{SETTINGS}{UNIFORM}{build}"
    register("policies.trained", "plug_trained", source, needs=needs)
    settings = LearningSettings(policies=({"kind": "trained"},))
    says = (
        r"policies\[0\]: kind 'trained' of package plug_trained needs nosuch_torch, which is not installed: "
        r"run pip install 'plug_trained\[deep\]'"
    )
    for kafka in (False, True):
        startable_parts(settings, kafka=kafka, trains=False)
        with pytest.raises(SettingsError, match=says):
            startable_parts(settings, kafka=kafka, trains=True)
    # Whatever else trains, a replay say, meets it when it builds.
    with pytest.raises(SettingsError, match=says):
        build_parts(settings, trains=True)


def test_what_its_settings_need_to_learn_is_asked_for_where_items_are_learned(register: Register) -> None:
    settings_class = "class Settings(msgspec.Struct):\n    def learns_with(self): return ('nosuch_river',)\n"
    source = f"import msgspec\n{settings_class}{UNIFORM}def build(s, w): return Uniform()\n"
    register("policies.drifting", "plug_drifting", source, needs="Requires-Dist: nosuch-river>=2\n")
    settings = LearningSettings(policies=({"kind": "drifting"},))
    for trains, learns_items, is_missed in (
        (False, True, True), (True, False, False), (True, None, True), (False, None, False),
    ):  # fmt: skip
        with (
            pytest.raises(SettingsError, match=r"run pip install nosuch-river$")
            if is_missed
            else nullcontext()
        ):
            startable_parts(settings, kafka=True, trains=trains, learns=learns_items)
    with pytest.raises(SettingsError, match=r"policies\[0\]: kind 'drifting' of .* needs nosuch_river"):
        build_parts(settings, trains=True)


def test_the_smallest_extra_that_brings_what_is_not_installed_is_named_with_its_line(
    register: Register,
) -> None:
    brings = [("NoSuch.Thing>=2", "all"), ("numpy", "all"), ("NoSuch.Thing>=2", "deep")]
    needs = "Requires-Dist: numpy\n" + "".join(f'Requires-Dist: {p}; extra == "{e}"\n' for p, e in brings)
    register("policies.deep", "plug_deep", "import nosuch_thing.nn", needs=needs)
    with pytest.raises(SettingsError, match=r"run pip install 'plug_deep\[deep\]'"):
        _build("deep")


def test_a_package_that_names_a_module_it_lacks_is_told_so_and_nothing_is_to_be_installed(
    register: Register, tmp_path: Path
) -> None:
    register("policies.gone", "plug_gone", "")
    (tmp_path / "plug_gone.py").unlink()
    says = r"kind: plug_gone 0\.1 names the module plug_gone, which is not in it$"
    with pytest.raises(SettingsError, match=says):
        _build("gone")


def test_parts_that_need_each_other_in_a_circle_are_named(register: Register) -> None:
    source = SETTINGS + "def needs(settings): return ({!r},)\ndef build(s, w): ..."
    register("policies.egg", "plug_egg", source.format("hen"))
    register("policies.hen", "plug_hen", source.format("egg"))
    with pytest.raises(SettingsError, match=r"in a circle: (egg needs )?hen needs egg( needs hen)?$"):
        _build("egg", "hen")


def test_a_part_finds_what_it_needs_built_before_it(register: Register) -> None:
    lead = "def needs(settings): return ('uniform',)\ndef build(s, w): return w.parts['uniform']"
    register("policies.led", "plug_led", f"{SETTINGS}{lead}")
    policies = build_parts(LearningSettings(policies=({"kind": "led"}, {"kind": "uniform"}))).policies
    assert list(policies) == ["led", "uniform"] and policies["led"] is policies["uniform"]


def test_two_packages_with_one_kind_are_both_named(register: Register) -> None:
    register("policies.same", "plug_one", "")
    register("policies.same", "plug_two", "")
    with pytest.raises(SettingsError, match=r"registered by plug_(one|two) .* and by plug_(one|two) "):
        _build("same")


def test_what_a_plugin_and_named_policies_learn_travels_in_rows_of_kafka(register: Register) -> None:
    register("policies.boltzmann", "freshet_boltzmann", (PLUGIN / "freshet_boltzmann.py").read_text("utf-8"))
    chosen = [{"kind": "boltzmann"}, {"kind": "lin_ucb", "name": "a"}, {"kind": "diag_lin_ucb", "name": "b"}]
    more = {"learn": {"embedding_dim": DIM, "maintain_ms": 2_000}, "policies": chosen}
    settings = load_settings(environ={}, flags=more)
    publisher, server = RowPublisher(settings, n_partitions=2), RowServer(settings)
    server.follow(publisher.learn(scripted(1)))
    names = known_items(publisher.parts)
    for name in ("boltzmann", "a", "b"):
        mine, theirs = publisher.parts.policies[name], server.parts.policies[name]
        rows = publisher.parts.items.find(names), server.parts.items.find(names)
        known = [
            [policy.describe(row) for row in each] for policy, each in ((mine, rows[0]), (theirs, rows[1]))
        ]
        assert known[0] == known[1] and any(known[0])


LISTS = """
import msgspec, numpy as np
from freshet.plugin import Column, Part, PartSpec

class Settings(msgspec.Struct): ...

class Lists(Part):
    spec = PartSpec({"shared": (Column("clicks", "<i8", (1,), merge="sum"),)})
    def __init__(self): self.clicks, self.told = np.zeros(1, np.int64), 0
    def learn_lists(self, block):
        clicked = block.slate[block.first & (block.kind == 1)]
        self.clicks += int(block.decided[clicked].sum())
    def touched(self, side):
        rows, self.told = np.zeros(int(self.clicks[0] != self.told), np.int32), int(self.clicks[0])
        return rows
    def export(self, side, rows): return {"clicks": self.clicks.copy()}
    def adopt(self, side, rows, columns): self.clicks[:] = columns["clicks"]
    def snapshot(self): return {"clicks": self.clicks.copy(), "told": self.told}
    def restore(self, frame): self.clicks, self.told = frame["clicks"].copy(), frame["told"]

def build(settings, world): return Lists()
"""


def test_a_learner_of_whole_lists_learns_in_train_what_it_learns_embedded(register: Register) -> None:
    register("learners.lists", "plug_lists", LISTS)
    settings = LearningSettings(learners=({"kind": "lists"},))
    events = scripted_log(settings, forgets=False)  # with forgets it matters what came first
    chain = chained(settings, 2, [events], restarts=True)
    served = followed(settings, chain.outputs, np.random.default_rng(1))
    embedded = Embedded(settings).learn([events]).parts
    mine, theirs = (int(parts.more["lists"].clicks[0]) for parts in (served, embedded))  # type: ignore[attr-defined]
    assert mine == theirs > 0
