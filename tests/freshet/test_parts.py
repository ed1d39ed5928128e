"""`freshet parts` from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from freshet.catalogues import CATALOGUES
from freshet.cli import app
from learning.errors import SettingsError


def test_every_kind_is_listed_with_what_it_is_and_every_setting_with_its_meaning() -> None:
    ran = CliRunner().invoke(app, ["parts", "--json", "-"])
    found = json.loads(ran.stdout)
    assert {section: [kind["kind"] for kind in kinds] for section, kinds in found.items()} == {
        section: kinds.own() for section, kinds in CATALOGUES.items()
    }
    kinds = [kind for each in found.values() for kind in each]
    assert all(kind["what"] and kind["servable"] and kind["package"] == "freshet" for kind in kinds)
    assert all(setting["meaning"] for kind in kinds for setting in kind["settings"])


def test_defaults_are_values_for_scripts_and_toml_for_people() -> None:
    ran = CliRunner().invoke(app, ["parts", "lin_ucb", "--json", "-"])
    (kind,) = json.loads(ran.stdout)["policies"]
    assert {s["name"]: s["default"] for s in kind["settings"]}["max_arms"] == 10_000
    assert "10_000" in CliRunner().invoke(app, ["parts", "lin_ucb"]).stdout


def test_an_unknown_kind_is_answered_with_the_nearest() -> None:
    ran = CliRunner().invoke(app, ["parts", "lin_ubc"])
    assert isinstance(ran.exception, SettingsError) and "did you mean lin_ucb?" in str(ran.exception)


def test_a_kind_that_cannot_be_imported_is_listed_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "plug_torn-1.0.dist-info"
    info.mkdir()
    (tmp_path / "plug_torn.py").write_text("import nosuch_thing")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-torn\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[freshet.parts]\nsources.torn = plug_torn\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = json.loads(CliRunner().invoke(app, ["parts", "--json", "-"]).stdout)["sources"]
    (torn,) = [kind for kind in found if kind["kind"] == "torn"]
    assert "needs nosuch_thing, which is not installed: run pip install nosuch-thing" in torn["error"]
