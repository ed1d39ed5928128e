"""Settings: later sources win, and what does not fit is named."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from freshet.config import Settings, load_settings, settings_digest
from freshet.run.learner import fingerprint
from learning.errors import SettingsError
from learning.parts import Parts, build_parts


def test_a_flag_beats_a_variable_beats_a_file_beats_the_default(tmp_path: Path) -> None:
    file = tmp_path / "freshet.toml"
    file.write_text("port = 1\nworkers = 2\nclock = 'event'\n[policy]\nalpha = 2.0\n")
    settings = load_settings(file, {"FRESHET_WORKERS": "3", "FRESHET_PORT": "4"}, {"port": 5, "host": None})
    assert (settings.port, settings.workers, settings.clock, settings.policy.alpha) == (5, 3, "event", 2.0)
    assert settings.host == Settings().host


def test_policies_of_before_are_those_of_now_and_a_line_says_how_to_write_them() -> None:
    said: list[str] = []
    flags = {"policy": {"name": "thompson", "others": ["diag_lin_ucb"], "alpha": 2}}
    before = load_settings(environ={}, flags=flags, say=said.append)
    wanted = '[{"kind": "thompson"}, {"kind": "diag_lin_ucb", "alpha": 2.0}]'
    now = load_settings(environ={"FRESHET_POLICIES": wanted}, say=said.append)
    assert settings_digest(before) == settings_digest(now) != settings_digest(Settings())
    toml = 'policies = [{kind = "thompson"}, {kind = "diag_lin_ucb", alpha = 2.0}]'
    assert len(said) == 1 and "[policy] name, others, alpha" in said[0] and toml in said[0]
    tomllib.loads(toml)


def test_users_and_items_are_admitted_and_expire_by_settings_of_their_own() -> None:
    common = {"admission": 2, "admission_rule": "share", "ttl_ms": 50}
    both = build_parts(load_settings(environ={}, flags={"learn": common}))
    own = {"user_admission": 5, "item_admission_rule": "equal", "item_ttl_ms": 0}
    apart = build_parts(load_settings(environ={}, flags={"learn": {**common, **own}}))

    def of(parts: Parts) -> list[tuple[int, str, int]]:
        tables = (parts.users, parts.items)
        return [(table.admission.threshold, table.admission.rule, table.ttl_ms) for table in tables]

    assert of(both) == [(2, "share", 50), (2, "share", 50)]
    assert of(apart) == [(5, "share", 50), (2, "equal", 0)]
    assert load_settings(environ={"FRESHET_LEARN_USER_TTL_MS": "7"}).learn.user_ttl_ms == 7


def test_a_list_in_a_variable_is_json() -> None:
    settings = load_settings(environ={"FRESHET_LEARN_HALF_LIVES_MS": "[1000, 2000]"})
    assert settings.learn.half_lives_ms == (1000, 2000)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[policy]\nepsilom = 0.1", "epsilom"),
        ("[join]\nwindow = 1", "window"),
        ("[join]\nmax_pending = 0", "max_pending"),
        ("[serve]\nactivate = 'later'", "serve.activate: expected one of auto, explicit, got 'later'"),
        (
            "[[policies]]\nkind = 'thompson'\ndetector = 'ADWIN'",
            r"""expected one of "", adwin, page_hinkley, kswin, got 'ADWIN'; did you mean adwin\?""",
        ),
        ("[kafka]\nprotocol = 'sasl_sll'", r"protocol: .*, got 'sasl_sll'; did you mean SASL_SSL\?"),
        ("[policy]\nname = 'lin_ubc'", r"policy\.name: .*'lin_ubc'; did you mean lin_ucb\? There are: diag_"),
        ("[policy]\nothers = ['uniform', 'lin_ubc']", r"policy\.others\[1\]: .*'lin_ubc'"),
        ("[policy]\nalpha = 1\n[[policies]]\nkind = 'uniform'", r"policy\.alpha does not go with \[\[pol"),
        ("[[policy]]\nkind = 'uniform'", r"policy: expected a table, got a list; write \[\[policies\]\]"),
        ("[policies]\nkind = 'uniform'", r"policies: .*write \[\[policies\]\]"),
        ("policies = []", "policies: expected at least one"),
        ("[[scorers]]\nkind = 'tast'", r"scorers\[0\]\.kind: .*did you mean taste"),
        ("[[measures]]\nkind = 'part_nots'", r"measures\[0\]\.kind: .*did you mean part_notes"),
        ("[[estimators]]\nkind = 'ips'\nmost = 2", r"estimators\[0\].*most is a setting of capped_ips"),
        ("[[sources]]\nkind = 'fresh'\nsize = -1", r"sources\[0\]\.size: expected int >= 0, got -1"),
        (
            "[serve.sources]\nfresh = 1\n[[sources]]\nkind = 'fresh'",
            r"serve\.sources\.fresh does not go ",
        ),
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


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("FRESHET_ENGINE_SNAPSHOT_S", "inf", "engine.snapshot_s: expected a number up to"),
        ("FRESHET_SERVE_AFTER_WAIT_MS", "9" * 20, "serve.after_wait_ms: expected a number up to"),
        (
            "FRESHET_LEARN_HALF_LIVES_MS",
            f"[1, {'9' * 20}]",
            r"learn.half_lives_ms\[1\]: expected a number up",
        ),
        (
            "FRESHET_SCORERS",
            '[{"kind": "taste"}, {"kind": "popular", "weight": 1e300}]',
            r"scorers\[1\].weight: ",
        ),
        ("FRESHET_JOIN_WEIGHTS", '{"click": 1e300}', "join.weights"),
        ("FRESHET_LEARN_SEED", "-1", "learn.seed"),
        ("FRESHET_LEARN_MAX_ITEMS", "9000000000000", "learn.max_items"),
        ("FRESHET_ENGINE_KEEP_DAYS", "1e300", "engine.keep_days"),
    ],
)
def test_a_number_that_no_machine_holds_is_refused_before_anything_starts(
    name: str, value: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        load_settings(environ={name: value})


def test_no_kind_of_click_need_be_worth_anything() -> None:
    assert load_settings(environ={"FRESHET_JOIN_WEIGHTS": "{}"}).join.floor == -1.0


def test_a_password_may_look_like_anything_and_is_never_shown() -> None:
    settings = load_settings(environ={"FRESHET_KAFKA_PASSWORD": "[hidden"})
    assert settings.kafka.password == "[hidden"
    assert "hidden" not in repr(settings)
    for section, field in (("kafka", "password"), ("serve", "auth")):
        with pytest.raises(SettingsError, match=field) as refused:
            load_settings(environ={}, flags={section: {field: ["hidden"]}})
        assert "hidden" not in str(refused.value)


def test_what_is_learned_depends_on_the_scorers_and_not_on_the_sources_nor_on_who_only_looks() -> None:
    plain = fingerprint(load_settings(environ={}))
    assert fingerprint(load_settings(environ={"FRESHET_SOURCES": '[{"kind": "fresh"}]'})) == plain
    assert fingerprint(load_settings(environ={"FRESHET_MEASURES": '[{"kind": "place_counts"}]'})) == plain
    assert fingerprint(load_settings(environ={"FRESHET_ESTIMATORS": '[{"kind": "ips"}]'})) == plain
    assert fingerprint(load_settings(environ={"FRESHET_SCORERS": '[{"kind": "taste"}]'})) != plain


def test_kafka_changes_nothing_that_is_learned() -> None:
    settings = load_settings(environ={"FRESHET_KAFKA_PREFIX": "shop-"})
    assert fingerprint(settings) == fingerprint(Settings())


def test_the_file_of_the_current_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "freshet.toml").write_text("port = 1")
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    assert load_settings(environ={}, say=said.append).port == 1
    assert len(said) == 1 and str(tmp_path / "freshet.toml") in said[0]


def test_no_port_is_opened_by_a_file_that_happens_to_lie_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "freshet.toml").write_text("host = '0.0.0.0'\n[serve]\ninsecure = true")
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    assert not load_settings(environ={}, say=said.append).serve.insecure
    assert "serve.insecure" in said[1] and "--config" in said[1]
    assert load_settings(tmp_path / "freshet.toml", environ={}).serve.insecure
    assert load_settings(environ={}, flags={"serve": {"insecure": True}}).serve.insecure


def test_variables_that_a_platform_writes_for_its_services_are_passed_over() -> None:
    links: dict[str, str] = {}
    for service, port in (("FRESHET", "8080"), ("FRESHET_KAFKA", "9092"), ("FRESHET_SERVE_2", "80")):
        links |= {f"{service}_SERVICE_HOST": "10.96.0.7", f"{service}_SERVICE_PORT": port}
        links |= {f"{service}_SERVICE_PORT_HTTP": port, f"{service}_PORT": f"tcp://10.96.0.7:{port}"}
        link = f"{service}_PORT_{port}_TCP"
        links |= {link: f"tcp://10.96.0.7:{port}", f"{link}_PROTO": "tcp"}
        links |= {f"{link}_PORT": port, f"{link}_ADDR": "10.96.0.7"}
    said: list[str] = []
    assert load_settings(environ=links, say=said.append) == Settings()
    assert len(said) == 1 and all(name in said[0] for name in links)


@pytest.mark.parametrize("name", ["FRESHET_SERVICE", "FRESHET_PORTT", "FRESHET_KAFKA_PORTS", "FRESHET_PRT"])
def test_a_variable_that_is_merely_misspelt_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_settings(environ={name: "8080"})


SECRET = "T0P-SECRET"
MALFORMED = {
    "a stray quote": ("FRESHET_SERVE_AUTH", f'{{"read": ["{SECRET}"x"]}}'),
    "no JSON at all": ("FRESHET_SERVE_AUTH", SECRET),
    "a list": ("FRESHET_SERVE_AUTH", f'["{SECRET}"]'),
    "a wrong name": ("FRESHET_SERVE_AUTH", f'{{"reed": ["{SECRET}"]}}'),
    "the token as name": ("FRESHET_SERVE_AUTH", f'{{"{SECRET}": ["read"]}}'),
    "a text for a list": ("FRESHET_SERVE_AUTH", f'{{"read": "{SECRET}"}}'),
    "half a character": ("FRESHET_SERVE_AUTH", f'{{"read": ["{SECRET}\\ud800"]}}'),
    "a list in a list": ("FRESHET_SERVE_AUTH", f'{{"read": [["{SECRET}"]]}}'),
    "the section": ("FRESHET_SERVE", SECRET),
    "a field of the section": ("FRESHET_SERVE", f'{{"k": {{"{SECRET}": 1}}}}'),
    "an unknown field of the section": ("FRESHET_SERVE", f'{{"{SECRET}": 1}}'),
    "a password": ("FRESHET_KAFKA", f'{{"password": ["{SECRET}"]}}'),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_no_malformed_variable_shows_a_secret(case: str) -> None:
    name, value = MALFORMED[case]
    with pytest.raises(SettingsError) as refused:
        load_settings(environ={name: value})
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "text",
    [
        f'[serve.auth]\nread = ["{SECRET}\n',
        f"[serve.auth]\nread = {SECRET}",
        f'[serve.auth]\nread = "{SECRET}"',
        f'[serve.auth]\nread = ["a"]\n[serve.auth.{SECRET}]\n[serve.auth.{SECRET}]',
        f"[serve.auth]\n{SECRET} = 1",
        f"serve = {{{SECRET} = 1, {SECRET} = 2}}",
        f'[kafka]\npassword = ["{SECRET}"]',
        f'serve = "{SECRET}"',
    ],
)
def test_no_malformed_file_shows_a_secret(tmp_path: Path, text: str) -> None:
    file = tmp_path / "freshet.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        load_settings(file, {})
    assert SECRET not in str(refused.value)


def test_tokens_are_not_in_what_settings_look_like() -> None:
    settings = load_settings(environ={"FRESHET_SERVE_AUTH": f'{{"read": ["{SECRET}"]}}'})
    assert settings.serve.auth.read == (SECRET,)
    assert SECRET not in repr(settings)


def test_a_section_that_is_given_as_a_value_is_named() -> None:
    with pytest.raises(SettingsError, match="FRESHET_SERVE should hold a table"):
        load_settings(environ={"FRESHET_SERVE": "x", "FRESHET_SERVE_K": "3"})
    with pytest.raises(SettingsError, match=r"no kafka\.sources\[0\]\.topics.*did you mean topic"):
        load_settings(environ={"FRESHET_KAFKA_SOURCES": '[{"topics": 1}]'})


def test_a_policy_on_features_that_has_none_is_told_what_to_write() -> None:
    # A made-up world has features of its own.
    for features, requests, n_said in ((["device"], True, 0), ([], False, 0), ([], True, 1)):
        said: list[str] = []
        flags = {"policies": [{"kind": "lin_ucb"}, {"kind": "uniform"}], "policy": {"features": features}}
        load_settings(environ={}, flags=flags, say=said.append, requests=requests)
        assert len(said) == n_said
    assert said[0].startswith("policy 'lin_ucb' has no features of the request to look at; ")
