"""Programs that are not ours feed events and read rows; they know the published pages and nothing else."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.kafka import KafkaSettings
from stream.kafka.partitioning import partition_of
from stream.kafka.topics import create_topics
from tests.harness.workers import WorkerProcess

pytestmark = pytest.mark.kafka

HERE = Path(__file__).parent
SCRIPTS = ("foreign_kafka_python.py", "foreign_aiokafka.py")
OURS = ("freshet", "serving", "replay", "learning", "bandits", "learners", "index", "monitor", "stream")


@pytest.fixture
def worked(topics: KafkaSettings, tmp_path: Path) -> Iterator[KafkaSettings]:
    """Topics with a worker on them that learns everything."""
    create_topics(topics)
    worker = WorkerProcess(topics, tmp_path / "worker.log", {"FRESHET_LEARN_EMBEDDING_DIM": "16"})
    try:
        yield topics
    finally:
        worker.kill()


def _run(script: str, *arguments: str) -> Any:
    ran = subprocess.run(
        [sys.executable, HERE / script, *arguments], capture_output=True, text=True, check=False, timeout=900
    )
    assert ran.returncode == 0, ran.stderr[-3_000:]
    return json.loads(ran.stdout)


@pytest.mark.parametrize("script", SCRIPTS)
def test_they_import_nothing_of_ours(script: str) -> None:
    tree = ast.parse((HERE / script).read_text("utf-8"))
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert [name for name in names if name.split(".")[0] in OURS] == []


def test_plain_kafka_python_feeds_events_and_reads_vectors_and_policy(worked: KafkaSettings) -> None:
    where = (worked.bootstrap, worked.prefix)
    sent = _run("foreign_kafka_python.py", "feed", *where)["sent"]
    assert [(key, p) for key, p in sent if p != partition_of(key, worked.partitions)] == []
    rows = _run("foreign_kafka_python.py", "read", *where, "plain-ann", "plain-tea")
    assert rows["user"] == {
        "kind": "user", "clicks": 1, "impressions": 1, "dimension": 16, "moved": True, "recent": ["plain-tea"]
    }  # fmt: skip
    assert (rows["item"]["clicks"], rows["item"]["impressions"], rows["item"]["moved"]) == (1, 1, True)
    # Nobody decided that slate, so no policy learns from it.
    assert rows["policy"]["kind"] == "policy"
    assert (rows["policy"]["clusters"], rows["policy"]["shown"]) == ([], 0)


def test_aiokafka_feeds_events_and_reads_vectors(worked: KafkaSettings) -> None:
    where = (worked.bootstrap, worked.prefix)
    sent = _run("foreign_aiokafka.py", "feed", *where)["sent"]
    assert [(key, p) for key, p in sent if p != partition_of(key, worked.partitions)] == []
    rows = _run("foreign_aiokafka.py", "read", *where, "async-ann", "async-tea")
    assert (rows["user"]["clicks"], rows["user"]["recent"]) == (3, ["async-tea"])
    assert (rows["item"]["clicks"], rows["item"]["dimension"]) == (3, 16)
