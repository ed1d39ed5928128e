"""`freshet parts` from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from freshet.catalogues import CATALOGUES
from freshet.cli import app
from learning.catalogue import SECTIONS
from learning.errors import SettingsError


def test_every_kind_is_listed_with_what_it_is_and_every_setting_with_its_meaning() -> None:
    ran = CliRunner().invoke(app, ["parts", "--json", "-"])
    found = json.loads(ran.stdout)
    assert {section: [kind["kind"] for kind in kinds] for section, kinds in found.items()} == {
        section: kinds.own() for section, kinds in CATALOGUES.items()
    }
    kinds = [kind for each in found.values() for kind in each]
    assert all(kind["what"] and kind["package"] == "freshet" for kind in kinds)
    assert {section for section, kinds in found.items() if not all(kind["servable"] for kind in kinds)} == {
        "estimators"  # they are asked of a log, by `freshet replay`
    }
    assert all(setting["meaning"] for kind in kinds for setting in kind["settings"])


def test_entry_points_may_be_of_every_section() -> None:
    assert set(SECTIONS) == set(CATALOGUES)


def test_defaults_are_values_for_scripts_and_toml_for_people() -> None:
    ran = CliRunner().invoke(app, ["parts", "lin_ucb", "--json", "-"])
    (kind,) = json.loads(ran.stdout)["policies"]
    assert {s["name"]: s["default"] for s in kind["settings"]}["max_arms"] == 10_000
    assert "10_000" in CliRunner().invoke(app, ["parts", "lin_ucb"]).stdout


def test_an_unknown_kind_is_answered_with_the_nearest() -> None:
    ran = CliRunner().invoke(app, ["parts", "lin_ubc"])
    assert isinstance(ran.exception, SettingsError) and "did you mean lin_ucb?" in str(ran.exception)


def test_json_goes_to_standard_output_where_no_file_is_named() -> None:
    of_all, of_one = (
        CliRunner().invoke(app, ["parts", *more]).stdout for more in (["--json"], ["ips", "--json"])
    )
    assert set(json.loads(of_all)) == set(CATALOGUES) and json.loads(of_one)["estimators"][0]["kind"] == "ips"


def test_what_is_only_asked_of_a_log_has_no_word_of_serving() -> None:
    (line,) = [line for line in CliRunner().invoke(app, ["parts", "ips"]).stdout.split("\n") if "–" in line]
    assert "ips" in line


def test_capitals_do_not_hide_what_was_meant() -> None:
    ran = CliRunner().invoke(app, ["parts", "Lin_UCB"])
    assert "did you mean lin_ucb? There are" in str(ran.exception)


def _installed(folder: Path, name: str, module: str) -> None:
    """A package of another author with one module, as an installer leaves it."""
    info = folder / "plug_torn-1.0.dist-info"
    info.mkdir()
    (folder / "plug_torn.py").write_text(module)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-torn\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[freshet.parts]\n{name} = plug_torn\n")


def test_what_is_no_kind_of_any_section_is_answered_with_all_of_them() -> None:
    ran = CliRunner().invoke(app, ["parts", "nope"])
    said = str(ran.exception)
    assert isinstance(ran.exception, SettingsError) and said.startswith("there is no kind and no section")
    assert "'nope'; there are policies: " in said
    assert all(f"{section}: {', '.join(kinds.own())}" in said for section, kinds in CATALOGUES.items())


def test_a_section_lists_its_kinds_alone() -> None:
    found = json.loads(CliRunner().invoke(app, ["parts", "scorers", "--json", "-"]).stdout)
    assert {section: [kind["kind"] for kind in kinds] for section, kinds in found.items()} == {
        "scorers": CATALOGUES["scorers"].own()
    }
    near = CliRunner().invoke(app, ["parts", "scorer"])
    assert "did you mean scorers?" in str(near.exception)


def test_a_kind_that_cannot_be_imported_is_listed_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _installed(tmp_path, "sources.torn", "import nosuch_thing")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = json.loads(CliRunner().invoke(app, ["parts", "--json", "-"]).stdout)["sources"]
    (torn,) = [kind for kind in found if kind["kind"] == "torn"]
    assert torn["error"] == "kind 'torn' of plug-torn 1.0 imports nosuch_thing, which is not installed"


def test_a_kind_under_a_name_that_nobody_can_choose_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _installed(tmp_path, "source.torn", "")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = " ".join(CliRunner().invoke(app, ["parts"]).stdout.split())
    assert "passed over: plug_torn of plug-torn 1.0 is registered as 'source.torn'" in said


@pytest.mark.parametrize("asked", [[], ["policies"], ["thompson"]])
def test_a_kind_under_a_name_of_ours_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    _installed(tmp_path, "policies.thompson", "")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = " ".join(CliRunner().invoke(app, ["parts", *asked]).stdout.split())
    assert "passed over: plug_torn of plug-torn 1.0 is registered as 'policies.thompson', and 'th" in said
    assert "register it under another name" in said
    assert "passed over" not in CliRunner().invoke(app, ["parts", "scorers"]).stdout


def test_what_cannot_be_loaded_is_not_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _installed(tmp_path, "policies.thomson", "import nosuch_thing")
    monkeypatch.syspath_prepend(str(tmp_path))
    ran = CliRunner().invoke(app, ["parts", "thomso"])
    assert "did you mean thompson?" in str(ran.exception)


def test_settings_of_types_that_freshet_has_none_of_are_listed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = """
import msgspec
class Shared(msgspec.Struct):
    since: bytes = b"x"
class Settings(Shared):
    sizes: list[int] = []
def build(settings, world): ...
"""
    _installed(tmp_path, "sources.torn", module)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = json.loads(CliRunner().invoke(app, ["parts", "torn", "--json", "-"]).stdout)["sources"]
    assert [(s["name"], s["type"]) for s in found[0]["settings"]] == [("since", "bytes"), ("sizes", "list")]
