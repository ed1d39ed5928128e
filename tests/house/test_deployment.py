"""The files of deployment against what they name: no container engine has to be here to find a wrong flag."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import typer.main
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from freshet.cli import app
from freshet.config import load_settings
from tests.harness.broker import BROKER_VERSION

OURS = "freshet:local"
METRIC = re.compile(r"\bfreshet_[a-z0-9_]+")
SUFFIXES = ("_total", "_bucket", "_count", "_sum")
# The tokens that .env holds, as `docker compose` would put them in.
TOKENS = {"FRESHET_TOKEN_READ": "r", "FRESHET_TOKEN_WRITE": "w"}


@pytest.fixture(scope="module")
def compose(root: Path) -> dict[str, Any]:
    """The compose file with its anchors resolved."""
    loaded: dict[str, Any] = yaml.safe_load((root / "docker-compose.yml").read_text("utf-8"))
    return loaded


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The services by name."""
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


@pytest.fixture(scope="module")
def ours(services: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The services that run our image."""
    return {name: service for name, service in services.items() if service["image"] == OURS}


@pytest.fixture(scope="module")
def dockerfile(root: Path) -> list[tuple[str, str]]:
    """Its instructions and what they say, lines joined and comments left out."""
    lines = (root / "Dockerfile").read_text("utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)
    ]


def _parsed(arguments: list[str]) -> Any:
    """The command line as the command itself reads it; nothing runs."""
    command: Any = typer.main.get_command(app)
    while getattr(command, "commands", None):
        name, *arguments = arguments
        assert name in command.commands, f"freshet has no command {name}"
        command = command.commands[name]
    return command.make_context(command.name, arguments)


def _environment(service: dict[str, Any]) -> dict[str, str]:
    return {
        name: re.sub(r"\$\{(\w+)[^}]*\}", lambda match: TOKENS.get(match[1], ""), str(value))
        for name, value in service.get("environment", {}).items()
    }


def _port(address: str) -> int:
    return int(address.rpartition(":")[2].partition("/")[0])


def _listens(services: dict[str, dict[str, Any]], root: Path) -> dict[str, set[int]]:
    """The ports that each service opens, by what its own settings say."""
    found: dict[str, set[int]] = {"prometheus": {9090}, "grafana": {3000}}
    found["kafka"] = {_port(a) for a in services["kafka"]["environment"]["KAFKA_LISTENERS"].split(",")}
    config = (root / "deploy" / "haproxy.cfg").read_text("utf-8")
    found["balancer"] = {int(port) for port in re.findall(r"^\s+bind :(\d+)$", config, re.MULTILINE)}
    for name, service in services.items():
        if service["image"] == OURS:
            values = _parsed(service["command"]).params
            found[name] = {values[key] for key in ("port", "metrics_port") if values.get(key)}
    return found


def _sources(service: dict[str, Any]) -> list[str]:
    return [volume.split(":")[0] for volume in service.get("volumes", [])]


def test_the_broker_is_the_one_that_is_tested(services: dict[str, dict[str, Any]], root: Path) -> None:
    assert services["kafka"]["image"] == f"apache/kafka:{BROKER_VERSION}"
    assert f"<version>{BROKER_VERSION}</version>" in (root / "tests/harness/broker-pom.xml").read_text(
        "utf-8"
    )


def test_every_image_has_a_version(
    services: dict[str, dict[str, Any]], dockerfile: list[tuple[str, str]]
) -> None:
    images = [service["image"] for service in services.values()]
    assert [image for image in images if ":" not in image or image.endswith(":latest")] == []
    (python,) = {rest for word, rest in dockerfile if word == "ARG"}
    assert re.fullmatch(r"PYTHON=3\.\d+-slim-\w+", python)


def test_every_command_is_one_of_ours_with_flags_it_has(ours: dict[str, dict[str, Any]]) -> None:
    assert [name for name, service in ours.items() if _parsed(service["command"]) is None] == []
    assert {service["command"][0] for service in ours.values()} == {"topics", "work", "serve"}


def test_a_wrong_flag_would_be_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        _parsed(["work", "--metric-port", "9100"])


def test_the_variables_are_settings_and_hold_what_fits(
    ours: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, service in ours.items():
        settings = load_settings(environ=_environment(service))
        assert settings.kafka.bootstrap == "kafka:9092"
        assert settings.serve.auth.configured == (service["command"][0] == "serve"), name


def test_one_broker_is_asked_for_one_copy(services: dict[str, dict[str, Any]]) -> None:
    brokers = [name for name, service in services.items() if service["image"].startswith("apache/kafka:")]
    copies = {
        service["environment"]["FRESHET_KAFKA_REPLICATION"]
        for service in services.values()
        if service["image"] == OURS
    }
    assert copies == {str(len(brokers))}


def test_there_are_two_workers_and_two_servers(ours: dict[str, dict[str, Any]]) -> None:
    count = {"work": 0, "serve": 0, "topics": 0}
    for service in ours.values():
        count[service["command"][0]] += service["deploy"].get("replicas", 1)
    assert count == {"work": 2, "serve": 2, "topics": 1}


def test_no_two_services_share_a_data_folder(ours: dict[str, dict[str, Any]]) -> None:
    folders = [v for service in ours.values() for v in service.get("volumes", []) if v.endswith(":/data")]
    assert len(folders) == len(set(folders)) == 2


def test_every_service_is_looked_after(services: dict[str, dict[str, Any]]) -> None:
    # Those of our image have the health check of the Dockerfile; `topics` ends when it is done.
    checked = {name for name, s in services.items() if s["image"] == OURS or "test" in s["healthcheck"]}
    unchecked = {name for name in checked if services[name].get("healthcheck", {}).get("disable")}
    assert (set(services) - checked, unchecked) == (set(), {"topics"})
    assert [
        name for name, s in services.items() if s["restart"] not in ("unless-stopped", "on-failure")
    ] == []
    limits = [s["deploy"]["resources"]["limits"] for s in services.values()]
    assert [limit for limit in limits if set(limit) != {"cpus", "memory"}] == []


def test_health_is_asked_for_where_the_service_listens(
    services: dict[str, dict[str, Any]], root: Path
) -> None:
    listens = _listens(services, root)
    for name, service in services.items():
        asked = [str(service.get("environment", {}).get("HEALTH_URL", ""))]
        asked += service.get("healthcheck", {}).get("test", [])
        ports = {int(port) for text in asked for port in re.findall(r"://127\.0\.0\.1:(\d+)/", text)}
        assert ports <= listens[name], name
        assert ports or name in ("kafka", "topics")


def test_published_ports_are_open_inside_and_loopback_outside(
    services: dict[str, dict[str, Any]], root: Path
) -> None:
    listens = _listens(services, root)
    for name, service in services.items():
        for host, _outside, inside in (port.split(":") for port in service.get("ports", [])):
            assert host == "127.0.0.1", name
            assert int(inside) in listens[name]


def test_addresses_inside_are_services_and_their_ports(
    services: dict[str, dict[str, Any]], root: Path
) -> None:
    listens = _listens(services, root)
    files = [root / "docker-compose.yml", *(p for p in (root / "deploy").rglob("*") if p.is_file())]
    text = "\n".join(file.read_text("utf-8") for file in files)
    known = "|".join(services)
    named = re.findall(rf"(?<![\w.-])({known}):(\d{{4,5}})\b", text)
    assert {name for name, _port in named} == {"kafka", "serve-1", "serve-2", "balancer", "prometheus"}
    assert [(name, port) for name, port in named if int(port) not in listens[name]] == []


def test_files_volumes_and_secrets_exist(compose: dict[str, Any], root: Path) -> None:
    example = (root / "deploy" / "example.env").read_text("utf-8")
    variables = set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))
    named = set(re.findall(r"\$\{(\w+)", (root / "docker-compose.yml").read_text("utf-8")))
    assert named | {secret["environment"] for secret in compose["secrets"].values()} == variables
    for service in compose["services"].values():
        for source in _sources(service):
            assert (root / source).exists() if source.startswith(".") else source in compose["volumes"]
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        assert set(service.get("depends_on", ())) <= set(compose["services"])


def test_the_tokens_are_no_settings(root: Path) -> None:
    # Whoever exports them to their shell can still call freshet there.
    for line in (root / "deploy" / "example.env").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            load_settings(environ=dict([line.split("=", 1)]))


def test_the_image_is_built_from_what_is_here_and_runs_as_nobody_special(
    dockerfile: list[tuple[str, str]], root: Path, room_names: tuple[str, ...]
) -> None:
    words = [word for word, _rest in dockerfile]
    last = dict(dockerfile[len(words) - words[::-1].index("FROM") - 1 :])
    assert words.count("FROM") == 2
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", last["USER"])
    assert {"HEALTHCHECK", "WORKDIR", "EXPOSE"} <= set(last)
    assert json.loads(last["ENTRYPOINT"]) == ["freshet"]
    sent = (root / ".dockerignore").read_text("utf-8").splitlines()
    wanted = {line.removeprefix("!") for line in sent if line.startswith("!")}
    assert wanted == {*room_names, "LICENSE", "README.md", "pyproject.toml", "deploy/constraints.txt"}
    assert [name for name in wanted if not (root / name).exists()] == []


def test_the_image_opens_the_ports_of_the_services(
    dockerfile: list[tuple[str, str]], services: dict[str, dict[str, Any]], root: Path
) -> None:
    (exposed,) = [rest for word, rest in dockerfile if word == "EXPOSE"]
    listens = _listens(services, root)
    used = {port for name in services if services[name]["image"] == OURS for port in listens[name]}
    assert set(map(int, exposed.split())) == used


def test_pinned_versions_satisfy_what_the_project_asks_for(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    lines = (root / "deploy" / "constraints.txt").read_text("utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    for text in [*project["dependencies"], *project["optional-dependencies"]["kafka"]]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), text


def test_every_server_stands_behind_the_balancer_and_is_scraped(
    ours: dict[str, dict[str, Any]], root: Path
) -> None:
    servers = {name for name, service in ours.items() if service["command"][0] == "serve"}
    balancer = (root / "deploy" / "haproxy.cfg").read_text("utf-8")
    assert set(re.findall(r"^\s+server (\S+) \1:", balancer, re.MULTILINE)) == servers
    jobs = yaml.safe_load((root / "deploy/prometheus/prometheus.yml").read_text("utf-8"))["scrape_configs"]
    by_name = {job["job_name"]: job for job in jobs}
    (static,) = by_name["freshet-serve"]["static_configs"]
    assert {target.partition(":")[0] for target in static["targets"]} == servers
    (found,) = by_name["freshet-work"]["dns_sd_configs"]
    workers = {name for name, service in ours.items() if service["command"][0] == "work"}
    assert set(found["names"]) == workers
    assert found["port"] == _parsed(ours["worker"]["command"]).params["metrics_port"]


def test_the_balancer_asks_for_paths_that_the_servers_have(root: Path) -> None:
    schema = (root / "serving" / "routes.py").read_text("utf-8")
    balancer = (root / "deploy" / "haproxy.cfg").read_text("utf-8")
    (ready,) = re.findall(r"httpchk GET (\S+)", balancer)
    (asks,) = re.findall(r"acl asks path (\S+)", balancer)
    assert [path for path in (ready, asks) if f'"{path}"' not in schema] == []


def test_grafana_finds_its_data_source_and_dashboard(compose: dict[str, Any], root: Path) -> None:
    provisioning = root / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text("utf-8"))[
        "datasources"
    ]
    (provider,) = yaml.safe_load((provisioning / "dashboards/freshet.yml").read_text("utf-8"))["providers"]
    volumes = compose["services"]["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in volumes
    dashboard = json.loads((root / "deploy/grafana/dashboards/freshet.json").read_text("utf-8"))
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}


def test_every_metric_that_is_drawn_or_watched_is_documented(root: Path) -> None:
    """Tables shorten names: `freshet_a_b`, `_c` stands for `freshet_a_c` as well, and `…_c` likewise."""
    documented: set[str] = set()
    for page in ("operating.md", "kafka.md"):
        for line in (root / "docs" / "guides" / page).read_text("utf-8").splitlines():
            names = re.findall(r"`(freshet_[a-z0-9_]+|…?_[a-z0-9_]+)", line) if line.startswith("|") else []
            first = next((name for name in names if name.startswith("freshet_")), "")
            stems = [first[: match.start()] for match in re.finditer("_", first)]
            documented |= {name for name in names if name.startswith("freshet_")}
            documented |= {stem + n.lstrip("…") for n in names if n[0] in "…_" for stem in stems}
    drawn = set()
    for file in (root / "deploy" / "grafana/dashboards/freshet.json", root / "deploy/prometheus/alerts.yml"):
        drawn |= set(METRIC.findall(file.read_text("utf-8")))
    plain = {name.removesuffix(next((s for s in SUFFIXES if name.endswith(s)), "")) for name in drawn}
    known = {name.removesuffix("_total") for name in documented}
    assert plain - known == set()


@pytest.mark.skipif(which("promtool") is None, reason="promtool is not here (apt-get install prometheus)")
def test_alerts_fire_and_say_what_is_written_beside_the_test(root: Path) -> None:
    rules, cases = root / "deploy/prometheus/alerts.yml", root / "tests/house/alerts_test.yml"
    for what, file in (("check", rules), ("test", cases)):
        found = subprocess.run(["promtool", what, "rules", str(file)], capture_output=True, text=True)
        assert found.returncode == 0, found.stdout + found.stderr
