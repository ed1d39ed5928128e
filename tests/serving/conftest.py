"""One running system for the room's tests: a learner and a worker over a data folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from freshet.config import Settings
from freshet.run.worker import folder_backend, worker_config
from learning.parts import build_parts
from learning.pipeline import Pipeline
from learning.settings import LearnSettings
from serving.service import Service
from stream.clock import WallClock
from stream.engine import LocalEngine, NudgeSocket, SocketNotifier
from stream.folder import DataFolder
from stream.scrub import LearnerScrub
from tests.harness.live import LiveLearner, LiveWorker, wait_until

SETTINGS = Settings(
    clock="event", learn=LearnSettings(embedding_dim=8, max_users=4_096, max_items=4_096, maintain_ms=1_000)
)
T0 = 1_700_000_000_000


class System:
    """A client of a running system, with the few calls that tests make again and again."""

    def __init__(self, worker: LiveWorker, client: httpx.Client) -> None:
        self.worker, self.service, self.client = worker, worker.service, client

    def send(self, *events: dict[str, Any], **body: Any) -> dict[str, Any]:
        """Post events; the answer, which must be 202."""
        answer = self.client.post("/v1/events", json={"events": list(events), **body})
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ask(self, user_id: str = "nobody", **body: Any) -> dict[str, Any]:
        """Ask for items; the answer, which must be 200."""
        answer = self.client.post("/v1/recommend", json={"user_id": user_id, **body})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ask_fresh(self, user_id: str = "nobody", **body: Any) -> dict[str, Any]:
        """Ask until the answer is not stale: a busy machine may take longer than `after` is waited for."""
        answer: dict[str, Any] = {}

        def is_fresh() -> bool:
            answer.update(self.ask(user_id, **body))
            return not answer["stale"]

        wait_until(is_fresh)
        return answer

    def tell(self, *events: dict[str, Any]) -> int:
        """Post events, all of which must be taken: a late one is refused in a 202; their `accepted_at`."""
        answer = self.send(*events)
        assert answer["accepted"] == len(events), answer
        return int(answer["accepted_at"])

    def settle(self, *events: dict[str, Any]) -> int:
        """Tell events and wait until they are absorbed here; the `accepted_at` of the batch."""
        accepted_at = self.tell(*events)
        wait_until(lambda: self.service.replica.absorbed_at >= accepted_at)
        return accepted_at


def item(item_id: str, ts: int = T0, **fields: Any) -> dict[str, Any]:
    """An `item` event."""
    return {"type": "item", "item_id": item_id, "ts": ts, **fields}


def click(user_id: str, item_id: str, ts: int = T0, **fields: Any) -> dict[str, Any]:
    """A `click` event."""
    return {"type": "click", "user_id": user_id, "item_id": item_id, "ts": ts, **fields}


@contextmanager
def learning(folder: DataFolder, settings: Settings) -> Iterator[LiveLearner]:
    """A learner over `folder`, in a thread, that tells worker 0 of its commits."""
    commits, sources = folder.commit_log(), folder.readers()
    notifier = SocketNotifier([folder.socket_path("worker-0")])
    nudges = NudgeSocket(folder.socket_path("learner"))
    engine = LocalEngine(
        Pipeline(settings, folder.key),
        sources,
        commits,
        folder.snapshot_store(),
        clock=WallClock(),
        mode=settings.clock,
        settings=settings.engine,
        notifier=notifier,
        nudges=nudges,
        scrubs=LearnerScrub(commits, sources, folder.key),
    )
    with LiveLearner(engine) as learner:
        yield learner
    for source in sources.values():
        source.close()
    commits.close()
    notifier.close()
    nudges.close()


@contextmanager
def running(path: Path, settings: Settings = SETTINGS, *, learner: bool = True) -> Iterator[System]:
    """A system over `path`; without a learner nothing is ever absorbed."""
    folder = DataFolder(path)
    folder.prepare(settings.workers)
    clock = WallClock()
    backend = folder_backend(folder, settings, 0, clock)
    service = Service(backend, build_parts(settings), worker_config(settings), clock)
    with ExitStack() as stack:
        worker = stack.enter_context(LiveWorker(service))
        client = stack.enter_context(httpx.Client(base_url=worker.url, timeout=300))
        if learner:
            stack.enter_context(learning(folder, settings))
            wait_until(lambda: service.readiness().ready)
        yield System(worker, client)


Runner = Callable[..., AbstractContextManager[System]]


@pytest.fixture(scope="session")
def run() -> Runner:
    """Start a system over a folder of one's own."""
    return running


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system with a hundred items in two groups and a few users, shared by tests that only add to it.

    Its clock is that of events: whoever sends one of a far day makes those of all others late.
    """
    with running(tmp_path_factory.mktemp("shared") / "data") as found:
        items = [item(f"i{n}", T0 + n, group="even" if n % 2 == 0 else "odd") for n in range(100)]
        clicks = [click(f"u{n % 7}", f"i{n * n % 40}", T0 + 1_000 + n) for n in range(200)]
        found.settle(*items, *clicks)
        yield found
        moved_ms = found.service.replica.watermark - T0
        assert moved_ms < SETTINGS.join.lateness_ms, "a test has moved the clock that all share"


def serve(**changes: Any) -> Settings:
    """The settings with other values under [serve]."""
    changed = msgspec.structs.replace(SETTINGS.serve, **changes)
    return msgspec.structs.replace(SETTINGS, serve=changed)


class Kit:
    """What tests take from here without importing it."""

    settings, t0 = SETTINGS, T0
    serve = staticmethod(serve)
    learning = staticmethod(learning)
    item = staticmethod(item)
    click = staticmethod(click)

    @staticmethod
    def wait_absorbed(system: System, accepted_at: int) -> None:
        """Wait until what was accepted by then is served."""
        wait_until(lambda: system.service.replica.absorbed_at >= accepted_at)


@pytest.fixture(scope="session")
def kit() -> type[Kit]:
    """Builders of events and settings."""
    return Kit
