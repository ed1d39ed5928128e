"""Settings: later sources win, and what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from freshet.config import Settings, load_settings, settings_digest
from freshet.errors import SettingsError
from freshet.run.learner import fingerprint


def test_a_flag_beats_a_variable_beats_a_file_beats_the_default(tmp_path: Path) -> None:
    file = tmp_path / "freshet.toml"
    file.write_text("port = 1\nworkers = 2\nclock = 'event'\n[policy]\nalpha = 2.0\n")
    settings = load_settings(file, {"FRESHET_WORKERS": "3", "FRESHET_PORT": "4"}, {"port": 5, "host": None})
    assert (settings.port, settings.workers, settings.clock, settings.policy.alpha) == (5, 3, "event", 2.0)
    assert settings.host == Settings().host


def test_a_list_in_a_variable_is_json() -> None:
    settings = load_settings(environ={"FRESHET_LEARN_HALF_LIVES_MS": "[1000, 2000]"})
    assert settings.learn.half_lives_ms == (1000, 2000)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[policy]\nepsilom = 0.1", "epsilom"),
        ("[join]\nwindow = 1", "window"),
        ("[join]\nmax_pending = 0", "max_pending"),
        ("[serve]\nactivate = 'later'", "activate"),
        ("[serve.sources]\nfrsh = 3", r"no serve\.sources\.frsh .*did you mean fresh"),
        ("[serve.sources]\nindex = -5", r"serve\.sources\.index: expected int >= 0, got -5"),
        ("[serve]\nafter_wait_ms = -1", r"serve\.after_wait_ms: expected int >= 0, got -1"),
        ("[engine]\nsnapshot_s = -1", r"engine\.snapshot_s: expected float > 0"),
        ("[policy]\nothers = ['nope']", r"policy\.others.*nope"),
        ("port = 'x'", "port"),
        ("clock = 'sun'", "clock"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "freshet.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=named):
        load_settings(file, {})


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "freshet.toml"
    file.write_text("port = = 1")
    with pytest.raises(SettingsError, match=r"freshet\.toml"):
        load_settings(file, {})


def test_settings_survive_json_and_equal_settings_have_equal_digests() -> None:
    settings = load_settings(environ={"FRESHET_POLICY_EPSILON": "0.2"})
    again = msgspec.json.decode(msgspec.json.encode(settings), type=Settings)
    assert again == settings
    assert settings_digest(again) == settings_digest(settings) != settings_digest(Settings())


def test_a_value_out_of_range_and_a_variable_that_is_no_json_are_named() -> None:
    with pytest.raises(SettingsError, match=r"policy\.epsilon"):
        load_settings(environ={"FRESHET_POLICY_EPSILON": "2"})
    with pytest.raises(SettingsError, match=r"FRESHET_POLICY_EPSILN.*did you mean epsilon"):
        load_settings(environ={"FRESHET_POLICY_EPSILN": "0.2"})
    with pytest.raises(SettingsError, match=r"policy\.epsilon must be a finite number"):
        load_settings(environ={}, flags={"policy": {"epsilon": float("nan")}})
    with pytest.raises(SettingsError, match="FRESHET_SERVE_SOURCES"):
        load_settings(environ={"FRESHET_SERVE_SOURCES": "{bad"})


def test_a_password_may_look_like_anything_and_is_never_shown() -> None:
    settings = load_settings(environ={"FRESHET_KAFKA_PASSWORD": "[hidden"})
    assert settings.kafka.password == "[hidden"
    assert "hidden" not in repr(settings)
    for section, field in (("kafka", "password"), ("serve", "auth")):
        with pytest.raises(SettingsError, match=field) as refused:
            load_settings(environ={}, flags={section: {field: ["hidden"]}})
        assert "hidden" not in str(refused.value)


def test_kafka_changes_nothing_that_is_learned() -> None:
    settings = load_settings(environ={"FRESHET_KAFKA_PREFIX": "shop-"})
    assert fingerprint(settings) == fingerprint(Settings())
