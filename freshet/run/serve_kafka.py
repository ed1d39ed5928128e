"""`freshet serve` as a function: look at the topics, open the port, serve until told to stop."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from freshet.config import Settings
from freshet.run.listening import listen, require_files
from freshet.run.worker import warm, worker_config
from learning.choices import chosen_parts
from learning.errors import StartError
from learning.rows.follow import FOLLOWED
from learning.rows.warm_rows import warm_rows
from learning.starting import startable_parts
from serving.auth import refuse_exposure
from serving.chosen_sources import SOURCES
from serving.kafka.backend import COPY, KafkaBackend
from serving.kafka.consumer import topic_ids
from serving.service import Service
from serving.worker import run_worker
from stream.clock import WallClock
from stream.errors import BrokerAwayError
from stream.kafka import KafkaSettings
from stream.kafka.layout import LAYOUT
from stream.kafka.topics import check_topics

__all__ = ["followed_topics", "serve_forever"]


def followed_topics(kafka: KafkaSettings) -> Mapping[str, str] | BrokerAwayError:
    """The ids of the topics that a worker follows; or the error, if nobody answers within `timeout_ms`.

    Raises:
        BrokerError: the brokers refuse.
        StartError: a topic is missing or has another number of partitions.
    """
    try:
        found = check_topics(kafka, [topic for topic in LAYOUT if topic.name in (*FOLLOWED, "events")])
        wrong = [difference for difference in found if difference.what in ("topic", "partitions")]
        if wrong:
            raise StartError("; ".join(map(str, wrong)))
        return topic_ids(kafka)
    except BrokerAwayError as error:
        return error


def serve_forever(data: Path, settings: Settings, told: Callable[[str], None]) -> None:
    """Serve on `settings.host` and `settings.port` until SIGTERM or SIGINT.

    `told` is called with the URL once the port is open.

    Raises:
        StartError: the port is taken, or topics are not as they should be.
        BrokerError: the brokers refuse, or are away and there is no copy of the rows to serve from.
        LogError: the folder cannot be used, or another process uses it.
        ExposedError: others could reach the port, and no token is asked for.
        SettingsError: a part is configured that cannot be built, or that rows cannot carry.
    """
    refuse_exposure(settings.host, settings.serve.auth, insecure=settings.serve.insecure)
    require_files()
    parts = startable_parts(settings, chosen_parts(SOURCES, settings.sources), kafka=True, trains=False)
    # Before requests are taken there is nothing to bring to an end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    clock = WallClock()
    with closing(listen(settings.host, settings.port)) as listener:
        topics = followed_topics(settings.kafka)
        if isinstance(topics, BrokerAwayError) and not (data / COPY).exists():
            raise topics
        backend = KafkaBackend(data, settings, parts, clock, topics=topics)
        service = Service(backend, parts, worker_config(settings), clock)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        told(f"http://{host}:{listener.getsockname()[1]}")
        run_worker(service, listener, warm=lambda: _warm(settings))


def _warm(settings: Settings) -> None:
    warm(settings)
    warm_rows(settings)
