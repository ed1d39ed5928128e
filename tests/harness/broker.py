"""A real broker for tests: one KRaft node on loopback, on free ports, gone when the tests are over.

Looked for in this order: an address in ``FRESHET_TEST_KAFKA``; a container engine; Java and Maven, which
fetch the jars once into ``~/.cache/freshet-kafka``. All three are the same Kafka version.
"""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from stream.clock import WallClock
from stream.kafka.settings import KafkaSettings

__all__ = [
    "BROKER_VERSION",
    "Broker",
    "JavaBroker",
    "NoBrokerError",
    "broker_jars",
    "free_port",
    "running_broker",
    "wait_until",
]

BROKER_VERSION = "4.1.0"

_POM = Path(__file__).with_name("broker-pom.xml")
_HEAP = ("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_START_S = 240.0  # on a busy machine; a quick one takes five
_LEAST_PORT = 10_000
_GIVEN_AWAY = Path("/proc/sys/net/ipv4/ip_local_port_range")
_CLUSTER = "RnJlc2hldCBvbiBLYWZrYQ"  # 16 bytes in base64; the tool takes a dash in front for an option


class NoBrokerError(Exception):
    """There is no way to a broker here; the message lists what was tried."""


class Broker:
    """A broker that answers at `address`; tests make settings from it."""

    def __init__(self, address: str) -> None:
        self.address = address

    def settings(self, prefix: str = "", **more: Any) -> KafkaSettings:
        """Settings that fit one broker alone, with few partitions and short waits."""
        fitting: dict[str, Any] = {"partitions": 4, "replication": 1, "min_insync": 1, "timeout_ms": 120_000}
        return KafkaSettings(bootstrap=self.address, prefix=prefix, **(fitting | more))


class JavaBroker(Broker):
    """A broker run from its jars; it can be killed and started again on the same port and data.

    Args:
        folder: an empty folder for its settings, data and output.
        jars: the folder of `broker_jars`.
        listeners: further listeners, by name, with their security protocol; each gets a free port.
        more: further lines of its settings.
        scram: users by SCRAM-SHA-512 and their passwords.

    Attributes:
        folder: as given.
        address: of the plain listener.
        ports: of every listener, by name.
    """

    def __init__(
        self,
        folder: Path,
        jars: Path,
        listeners: Mapping[str, str] | None = None,
        more: Mapping[str, str] | None = None,
        scram: Mapping[str, str] | None = None,
    ) -> None:
        protocols = {"PLAINTEXT": "PLAINTEXT", **(listeners or {}), "CONTROLLER": "PLAINTEXT"}
        self.ports = {name: free_port() for name in protocols}
        super().__init__(f"127.0.0.1:{self.ports['PLAINTEXT']}")
        self.folder = folder
        self._classpath = f"{jars}{os.sep}*"
        self._process: subprocess.Popen[bytes] | None = None
        properties = (
            _properties(self.ports, protocols) | {"log.dirs": str(folder / "data")} | dict(more or {})
        )
        lines = [f"{name}={value}" for name, value in properties.items()]
        (folder / "server.properties").write_text("\n".join(lines) + "\n", "utf-8")
        self._format(scram or {})

    def _format(self, scram: Mapping[str, str]) -> None:
        tool = ("kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", "server.properties")
        users = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in scram.items()]
        if self._java(*tool, *(word for user in users for word in ("-S", user))).wait(_START_S) != 0:
            msg = f"the broker's data folder could not be made:\n{self.output()}"
            raise NoBrokerError(msg)

    def start(self) -> None:
        """Start it and wait until it takes requests."""
        self._process = self._java("kafka.Kafka", "server.properties")
        try:
            wait_until(self._is_ready, _START_S, "the broker takes requests")
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill it by its own pid, as a crash would; the data stay."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def output(self) -> str:
        """The end of what it printed."""
        return (self.folder / "output").read_text("utf-8", "replace")[-4_000:]

    def _java(self, *arguments: str) -> subprocess.Popen[bytes]:
        # The kernel ends the broker with the process that started it, however that one ends.
        bound = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
        with (self.folder / "output").open("ab") as output:
            command = (*bound, "java", *_HEAP, "-cp", self._classpath, *arguments)
            return subprocess.Popen(command, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT)

    def _is_ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            msg = f"the broker ended by itself:\n{self.output()}"
            raise NoBrokerError(msg)
        return _answers(self.address)


def _properties(ports: Mapping[str, int], protocols: Mapping[str, str]) -> dict[str, str]:
    """Settings of a single node, small and quick, with everything that clusters have but copies."""
    outside = [name for name in protocols if name != "CONTROLLER"]
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{ports['CONTROLLER']}",
        "listeners": ",".join(f"{name}://127.0.0.1:{ports[name]}" for name in protocols),
        "advertised.listeners": ",".join(f"{name}://127.0.0.1:{ports[name]}" for name in outside),
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
        "inter.broker.listener.name": "PLAINTEXT",
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.dedupe.buffer.size": str(8 << 20),
    }


def free_port() -> int:
    """A port of loopback that nobody listens on now, and that the system gives only to who names it.

    One that it gives away could be the near end of some connection by the time it is listened on, or, while
    a broker is away, of a client that looks for it there.
    """
    low, _ = map(int, _GIVEN_AWAY.read_text("ascii").split()) if _GIVEN_AWAY.exists() else (0, 0)
    rng = np.random.default_rng()
    while low > 2 * _LEAST_PORT:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", int(rng.integers(_LEAST_PORT, low))))
            return int(probe.getsockname()[1])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Callable[[], bool], limit_s: float, what: str) -> None:
    """Look again and again until it holds.

    Raises:
        TimeoutError: it does not after `limit_s`.
    """
    clock = WallClock()
    end_s = clock.monotonic_s() + limit_s
    while not holds():
        if clock.monotonic_s() > end_s:
            msg = f"waited {limit_s:g} s until {what}"
            raise TimeoutError(msg)
        clock.sleep_s(0.05)


def _answers(address: str) -> bool:
    """Whether a broker there takes requests; asked through a client, for its port opens earlier."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
        admin = KafkaAdminClient(bootstrap_servers=address, request_timeout_ms=5_000)
    except (OSError, KafkaError):
        return False
    try:
        return bool(admin.describe_cluster()["brokers"])
    except KafkaError:
        return False
    finally:
        admin.close()


def broker_jars() -> Path:
    """The folder of the broker's jars, fetched by Maven the first time.

    Raises:
        NoBrokerError: Java or Maven is missing, or Maven could not fetch them.
    """
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        msg = f"{' and '.join(missing)} not found; try: apt-get install default-jre-headless maven"
        raise NoBrokerError(msg)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "freshet-kafka"
    wanted = cache / BROKER_VERSION
    if wanted.exists():
        return wanted
    cache.mkdir(parents=True, exist_ok=True)
    # Fetched aside and renamed, so that a folder of this name is complete.
    with tempfile.TemporaryDirectory(dir=cache) as aside:
        jars = Path(aside) / "jars"
        fetch = ("mvn", "-q", "-B", "-f", _POM, "dependency:copy-dependencies", f"-DoutputDirectory={jars}")
        ran = subprocess.run(fetch, capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            msg = f"Maven could not fetch the broker's jars:\n{ran.stdout[-2_000:]}{ran.stderr[-2_000:]}"
            raise NoBrokerError(msg)
        try:
            jars.rename(wanted)
        except OSError:
            if not wanted.exists():  # else another run was first
                raise
    return wanted


def _require_container_engine() -> None:
    # Only a look at the door: the client of the engine leaves sockets open when nobody answers.
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    parts = urlsplit(address)
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as door:
                door.connect(parts.path)
        else:
            socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 2375), timeout=3).close()
    except OSError as error:
        msg = f"no container engine listens at {address} ({error.strerror or error})"
        raise NoBrokerError(msg) from error


@contextmanager
def _container() -> Iterator[Broker]:
    """The same broker in a container of the project's own image."""
    _require_container_engine()
    containers = importlib.import_module("testcontainers.core.container")
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
    ports = {name: free_port() for name in protocols}
    properties = _properties(ports, protocols)
    properties["listeners"] = (
        f"PLAINTEXT://:{ports['PLAINTEXT']},CONTROLLER://127.0.0.1:{ports['CONTROLLER']}"
    )
    container = containers.DockerContainer(f"apache/kafka:{BROKER_VERSION}")
    container.with_bind_ports(ports["PLAINTEXT"], ports["PLAINTEXT"])
    for name, value in properties.items():
        container.with_env(f"KAFKA_{name.replace('.', '_').upper()}", value)
    try:
        container.start()
    except (importlib.import_module("docker.errors").DockerException, OSError) as error:
        msg = f"the container engine could not start {BROKER_VERSION}: {error}"
        raise NoBrokerError(msg) from error
    try:
        broker = Broker(f"127.0.0.1:{ports['PLAINTEXT']}")
        wait_until(lambda: _answers(broker.address), _START_S, "the broker in the container answers")
        yield broker
    finally:
        container.stop()


@contextmanager
def running_broker(folder: Path, address: str | None = None) -> Iterator[Broker]:
    """A broker that answers: the one at `address` if given, else a container, else Java in `folder`.

    Raises:
        NoBrokerError: none of them; the message says why each failed and what to install.
    """
    if address:
        if not _answers(address):
            msg = f"no broker answers at {address} (FRESHET_TEST_KAFKA)"
            raise NoBrokerError(msg)
        yield Broker(address)
        return
    with ExitStack() as stack:
        try:
            found: Broker = stack.enter_context(_container())
        except NoBrokerError as no_container:
            try:
                java = JavaBroker(folder, broker_jars())
                stack.callback(java.kill)
                java.start()
            except NoBrokerError as no_java:
                msg = f"no Kafka broker for tests: FRESHET_TEST_KAFKA is not set; {no_container}; {no_java}"
                raise NoBrokerError(msg) from no_java
            found = java
        yield found
