"""Between the engines: a data folder to Kafka and back, with the same events and the same policies."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner

from freshet.cli import app
from freshet.config import Settings
from freshet.feeding.from_kafka import KafkaToFolder
from freshet.feeding.to_kafka import FolderToKafka
from freshet.run.learner import build_engine
from learning.errors import StartError
from learning.pipeline import Pipeline
from learning.rows.codec import decode_item_row, decode_policy_row, decode_user_row
from learning.rows.item_batches import ItemReader
from learning.rows.publish import ItemRows, UserRows
from learning.settings import LearnSettings
from learning.shards.item_replica import followed_sides
from learning.shards.items import ItemsShard
from learning.shards.join import JoinShard
from learning.shards.users import UsersShard
from replay.source import open_folder
from stream.clock import WallClock
from stream.codec import encode_events, raw_events
from stream.engine.driver import Driver
from stream.engine.shard import Output, SourceRecord
from stream.errors import LogError
from stream.events import Click, Decision, Forget, Impression, ItemEvent, LoggedEvent
from stream.folder import DataFolder
from stream.kafka import KafkaSettings
from stream.kafka.layout import LAYOUT
from stream.kafka.partitioning import partition_of
from stream.kafka.reader import PartitionReader
from stream.kafka.topics import create_topics
from stream.log import Record
from stream.log_scrub import LogScrub
from tests.harness.cells import counts, vector

pytestmark = pytest.mark.kafka

CLOCK = WallClock()
N_EVENTS = 100_000
START = 1_700_000_000_000
SLATE = 10


@pytest.fixture
def settings(topics: KafkaSettings) -> Settings:
    """Of a system on the event clock whose topic `events` is there."""
    create_topics(topics, [topic for topic in LAYOUT if topic.name == "events"])
    return Settings(clock="event", kafka=topics, learn=LearnSettings(embedding_dim=16))


def _events(n: int, seed: int) -> Iterator[list[LoggedEvent]]:
    """Records of one log: items, then decisions and clicks on them, others' slates, organic clicks."""
    rng = np.random.default_rng(seed)
    names = [f"i{number}" for number in range(500)]
    yield [ItemEvent(item_id=name, ts=START + seed) for name in names[seed::2]]
    made, number = len(names[seed::2]), 0
    while made < n:
        ts, number = START + 1_000 + 40 * number, number + 1
        user, items = rng.integers(2_000), rng.choice(500, SLATE, replace=False)
        shown, who = [names[i] for i in items], f"u{user}"
        request = f"r{seed}-{number}"
        kind = rng.random()
        if kind < 0.1:
            yield [Click(ts=ts, user_id=who, item_id=shown[0])]
            made += 1
            continue
        if kind < 0.2:
            yield [Impression(request_id=request, ts=ts, user_id=who, items=shown)]
        else:
            yield [_decision(rng, request, ts, who, shown)]
        clicks: list[LoggedEvent] = [
            Click(ts=ts + 20, request_id=request, user_id=who, item_id=names[item])
            for item in items
            # Every user likes one item in ten.
            if rng.random() < (0.6 if item % 10 == user % 10 else 0.06)
        ]
        if clicks:
            yield clicks
        made += 1 + len(clicks)


def _decision(rng: np.random.Generator, request: str, ts: int, user: str, items: list[str]) -> Decision:
    weights = rng.random(4)
    return Decision(
        request_id=request,
        ts=ts,
        user_id=user,
        items=items,
        propensities=[0.5] * SLATE,
        policy="diag_lin_ucb",
        clusters=rng.choice(16, 4, replace=False).tolist(),
        weights=(weights / weights.sum()).tolist(),
        explored=[0],
    )


def _record(events: list[LoggedEvent], at: int, *, backfill: bool = False) -> Record:
    first = events[0]
    body = encode_events(events)
    if isinstance(first, Decision):
        return Record("decision", body, at, request_id=first.request_id)
    return Record("events", body, at, backfill)


def _folder(path: Path, logs: Sequence[Sequence[Record]]) -> Path:
    folder = DataFolder(path)
    folder.prepare(len(logs))
    for n, records in enumerate(logs):
        with closing(folder.writer(folder.source(n))) as log:
            log.append(records)
    return path


def _log(n: int, seed: int) -> list[Record]:
    return [_record(events, START + number) for number, events in enumerate(_events(n, seed))]


class _CutError(Exception):
    """Thrown where a process would be killed."""

    @classmethod
    def after(cls, n_batches: int) -> Callable[[int], None]:
        """A listener that throws at the batch of this number."""
        seen = iter(range(1, n_batches + 1))

        def listen(_count: int) -> None:
            if next(seen) == n_batches:
                raise cls

        return listen


def _learn(path: Path, settings: Settings) -> None:
    """Let the embedded learner take a folder in, commits and all."""
    folder = DataFolder(path, exclusive=True)
    commits, sources = folder.commit_log(), folder.readers()
    with closing(folder), closing(commits):
        engine = build_engine(folder, commits, sources, settings)
        engine.recover()
        engine.finish()
        for reader in sources.values():
            reader.close()


def _scrub(path: Path) -> None:
    """What a worker does once forgets are learned."""
    folder = DataFolder(path)
    with closing(folder.writer("events-0")) as log, closing(folder.commit_reader()) as commits:
        assert LogScrub("events-0", log, commits).run()


def _rows_of(path: Path, settings: Settings) -> dict[str, dict[bytes, bytes]]:
    """What the learner knows after all of a folder, in the committed order, as rows by id."""
    step = Pipeline(settings, bytes(16))
    driver = Driver(step, settings.clock, settings.engine.tick_ms)
    with open_folder(path) as source:
        for name, record in source.records():
            if isinstance(record, Record):
                driver.feed(name, record)
    driver.flush()
    rows: dict[str, dict[bytes, bytes]] = {"user-vectors": {}, "item-vectors": {}, "policy": {}}
    for output in [*UserRows(step.parts, 0).take(), *ItemRows(step.parts, 0, lambda _name: 0).take()]:
        if output.key and output.value is not None:
            rows[output.topic][output.key] = output.value
    return rows


def _to_kafka(path: Path, settings: Settings) -> int:
    with closing(FolderToKafka(path, settings, CLOCK)) as copy:
        return copy.run().accepted


def _to_folder(settings: Settings, path: Path) -> int:
    with closing(KafkaToFolder(settings, path, CLOCK)) as copy:
        return copy.run().accepted


def _bodies(path: Path) -> Counter[tuple[bytes, bool]]:
    """Every event of a folder as it was written, and whether it is history."""
    found: Counter[tuple[bytes, bool]] = Counter()
    with open_folder(path) as source:
        for _, record in source.records():
            if isinstance(record, Record):
                found.update((raw, record.backfill) for raw in raw_events(record.body))
    return found


async def _partitions(kafka: KafkaSettings) -> list[list[SourceRecord]]:
    reader = PartitionReader(kafka, CLOCK)
    found: list[list[SourceRecord]] = []
    try:
        for partition in range(kafka.partitions):
            stop = await reader.end_of(kafka.topic("events"), partition)
            batches = reader.read(kafka.topic("events"), partition, 0, stop)
            found.append([record async for batch in batches for record in batch])
    finally:
        await reader.close()
    return found


class _Chain:
    """All three steps on all partitions, driven record by record; rows are applied as they come."""

    def __init__(self, settings: Settings, logs: list[list[SourceRecord]]) -> None:
        n = len(logs)
        self._logs = logs

        def home(entity: str) -> int:
            return partition_of(entity, n)

        self._joins = [JoinShard(p, home, settings.join, mode=settings.clock) for p in range(n)]
        self.users = [UsersShard(p, home, settings, n) for p in range(n)]
        self.items = [ItemsShard(p, home, settings, n) for p in range(n)]
        self.rows: dict[str, dict[bytes, bytes]] = {
            "user-vectors": {},
            "item-vectors": {},
            "policy": {},
        }
        self._offset = 0

    def run(self, at_once: int = 20) -> None:
        """Everything, so many records of each partition at a time."""
        for start in range(0, max(map(len, self._logs)), at_once):
            outputs: list[Output] = []
            for step, log in zip(self._joins, self._logs, strict=True):
                step.on_records(log[start : start + at_once])
                outputs += step.take()
            self._drive("item-feedback", self.items, outputs + self._drive("feedback", self.users, outputs))

    def _drive(
        self, source: str, steps: Sequence[UsersShard | ItemsShard], outputs: Sequence[Output]
    ) -> list[Output]:
        """Give each step its partition of `source`; what comes out, with its rows kept and applied."""
        found: list[Output] = []
        for partition, step in enumerate(steps):
            records = []
            for output in outputs:
                if (output.topic, output.partition) == (source, partition):
                    self._offset += 1
                    value = output.value or b""
                    records.append(SourceRecord(self._offset, value, output.key, 0, output.headers))
            step.on_records(records)
            found += step.take()
        rows = [o for o in found if o.topic in self.rows and o.key and o.value is not None]
        for output in rows:
            self.rows[output.topic][output.key or b""] = output.value or b""
        moved = {o.key or b"": o.value or b"" for o in rows if o.topic == "item-vectors"}
        batch = ItemReader(followed_sides(self.users[0].parts)).read_values(moved)
        for users in self.users:
            users.apply_items(batch)
        return found


def _sums(values: dict[bytes, bytes]) -> dict[tuple[str, int], tuple[float, float]]:
    """b and d by item and cluster."""
    found = {}
    for value in values.values():
        row = decode_policy_row(value)
        edges: Any = row.parts.get("diag_lin_ucb", {})
        dtypes = {"clusters": "<i4", "b": "<f8", "d": "<f8"}
        columns = [np.frombuffer(edges.get(name, b""), dtype) for name, dtype in dtypes.items()]
        for cluster, b, d in zip(*(column.tolist() for column in columns), strict=True):
            found[row.item_id, cluster] = (b, d)
    return found


def _far(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of two vectors in lengths of the first."""
    return float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(a)), 1e-12)


def test_a_hundred_thousand_events_there_and_back_are_the_same_and_teach_the_same(
    settings: Settings, tmp_path: Path
) -> None:
    home = _folder(tmp_path / "home", [_log(N_EVENTS // 2, seed) for seed in (0, 1)])
    _learn(home, settings)
    copied = _to_kafka(home, settings)
    assert copied >= N_EVENTS
    assert _to_folder(settings, tmp_path / "back") == copied
    assert _bodies(tmp_path / "back") == _bodies(home)

    embedded = _rows_of(home, settings)
    chain = _Chain(settings, asyncio.run(_partitions(settings.kafka)))
    chain.run()
    ours, theirs = _sums(embedded["policy"]), _sums(chain.rows["policy"])
    assert ours.keys() == theirs.keys()
    assert max(abs(a - b) for key in ours for a, b in zip(ours[key], theirs[key], strict=True)) <= 1e-9
    _compare(embedded, chain.rows)


def _compare(ours: dict[str, dict[bytes, bytes]], theirs: dict[str, dict[bytes, bytes]]) -> None:
    """Counts are equal; how far vectors and scores are apart is printed, for the guide."""
    scores: list[list[np.ndarray]] = [[], []]
    for topic, decode in (("user-vectors", decode_user_row), ("item-vectors", decode_item_row)):
        assert ours[topic].keys() == theirs[topic].keys()
        pairs = [(decode(ours[topic][key]), decode(theirs[topic][key])) for key in sorted(ours[topic])]
        sides = [[row.parts for row in side] for side in zip(*pairs, strict=True)]
        mine, others = ([counts(parts)[:2] for parts in side] for side in sides)
        assert mine == others
        found = [[vector(parts)[0] for parts in side] for side in sides]
        for engine, cells in zip(scores, found, strict=True):
            engine.append(np.stack(cells))
        far = [_far(a, b) for a, b in zip(*found, strict=True)]
        _say(f"{topic}: differ by {np.mean(far):.3f} of their length on average, {max(far):.3f} at most")
    one, other = (users @ items.T for users, items in scores)
    _say(f"scores of all users and items correlate by {np.corrcoef(one.ravel(), other.ravel())[0, 1]:.3f}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def test_on_the_wall_clock_everything_goes_as_history_and_history_first(
    settings: Settings, tmp_path: Path
) -> None:
    live = [Click(ts=START + n, user_id="ann", item_id="tea") for n in range(3)]
    old = [Click(ts=START - 1_000, user_id="ann", item_id="cocoa")]
    records = [_record([click], START) for click in live] + [_record([*old], START, backfill=True)]
    home = _folder(tmp_path / "home", [records])
    wall = msgspec.structs.replace(settings, clock="wall")
    assert _to_kafka(home, wall) == 4
    (log,) = [log for log in asyncio.run(_partitions(settings.kafka)) if log]
    assert [dict(record.headers).get("backfill") for record in log] == [b"1"] * len(log)
    sent = [json.loads(raw)["item_id"] for record in log for raw in raw_events(record.value)]
    assert sent == ["cocoa", "tea", "tea", "tea"]


def test_a_copy_goes_on_where_it_was_cut_off_and_takes_what_came_since(
    settings: Settings, tmp_path: Path
) -> None:
    home = _folder(tmp_path / "home", [_log(300, 0)])
    with closing(FolderToKafka(home, settings, CLOCK)) as copy:
        with pytest.raises(_CutError):
            copy.run(batch=100, on_progress=_CutError.after(2))
        sent = copy.report.accepted
    more = Click(ts=START, user_id="ann", item_id="tea")
    with closing(DataFolder(home).writer("events-0")) as log:
        log.append([_record([more], START)])
    rest = _to_kafka(home, settings)
    assert sent + rest == _bodies(home).total()
    assert _to_kafka(home, settings) == 0
    assert _to_folder(settings, tmp_path / "back") == sent + rest


def test_a_copy_back_goes_on_where_it_was_cut_off(settings: Settings, tmp_path: Path) -> None:
    home = _folder(tmp_path / "home", [_log(2_000, 0)])
    total = _to_kafka(home, settings)
    with closing(KafkaToFolder(settings, tmp_path / "back", CLOCK)) as copy, pytest.raises(_CutError):
        copy.run(batch=1, on_progress=_CutError.after(1))
    assert 0 < _to_folder(settings, tmp_path / "back") < total
    assert _bodies(tmp_path / "back") == _bodies(home)


def test_of_forgotten_users_nothing_gets_into_a_folder(settings: Settings, tmp_path: Path) -> None:
    theirs: list[LoggedEvent] = [
        Impression(request_id="r1", ts=START, user_id="ann", items=["tea"]),
        Click(ts=START + 1, request_id="r1", item_id="tea"),
        Forget(user_id="ann", ts=START + 2),
        Click(ts=START + 3, user_id="ann", item_id="cocoa"),
        Click(ts=START, user_id="bob", item_id="tea"),
    ]
    home = _folder(tmp_path / "home", [[_record([event], START + n) for n, event in enumerate(theirs)]])
    _to_kafka(home, settings)
    assert _to_folder(settings, tmp_path / "back") == 2
    kept = [json.loads(raw) for raw, _ in _bodies(tmp_path / "back")]
    assert sorted((event["user_id"], event["item_id"]) for event in kept) == [
        ("ann", "cocoa"),
        ("bob", "tea"),
    ]


def test_users_forgotten_between_two_copies_are_named_as_a_reason_to_stop(
    settings: Settings, tmp_path: Path
) -> None:
    home = _folder(tmp_path / "home", [_log(50, 0)])
    _to_kafka(home, settings)
    with closing(DataFolder(home).writer("events-0")) as log:
        log.append([_record([Forget(user_id="u1", ts=START + 10**6)], START + 10**6)])
    _learn(home, settings)
    _scrub(home)
    _learn(home, settings)
    with pytest.raises(StartError, match=r"1 users were forgotten.*--restart"):
        FolderToKafka(home, settings, CLOCK)


def test_a_folder_in_use_is_not_copied(settings: Settings, tmp_path: Path) -> None:
    home = _folder(tmp_path / "home", [_log(50, 0)])
    with closing(DataFolder(home, exclusive=True)), pytest.raises(LogError, match="data folder"):
        FolderToKafka(home, settings, CLOCK)


def test_a_folder_with_other_events_is_not_filled(settings: Settings, tmp_path: Path) -> None:
    home = _folder(tmp_path / "home", [_log(50, 0)])
    with pytest.raises(StartError, match="not of this copy"):
        KafkaToFolder(settings, home, CLOCK)


def test_what_cannot_be_read_is_left_out_and_counted(settings: Settings, tmp_path: Path) -> None:
    good = Click(ts=START, user_id="ann", item_id="tea")
    home = _folder(tmp_path / "home", [[Record("events", b"{", START), _record([good], START)]])
    with closing(FolderToKafka(home, settings, CLOCK)) as copy:
        report = copy.run()
    assert (report.accepted, report.rejected) == (1, 1)
    with closing(KafkaProducer(bootstrap_servers=settings.kafka.bootstrap)) as producer:
        for value in (b"\x00", b'[{"type": "click", "ts": 5}, {"type": "tick", "ts": 7}]'):
            producer.send(settings.kafka.topic("events"), value).get(300)
    with closing(KafkaToFolder(settings, tmp_path / "back", CLOCK)) as back:
        report = back.run()
    assert (report.accepted, report.rejected) == (1, 2)


def test_aborted_events_are_not_copied(settings: Settings, tmp_path: Path) -> None:
    where, name = settings.kafka.bootstrap, settings.kafka.topic("events")
    with closing(KafkaProducer(bootstrap_servers=where, transactional_id=f"{name}-feeder")) as producer:
        producer.init_transactions()
        for number in range(4):
            producer.begin_transaction()
            click = Click(ts=START, user_id="ann", item_id=f"i{number}")
            producer.send(name, encode_events([click]), partition=0).get(300)
            (producer.commit_transaction if number % 2 else producer.abort_transaction)()
    assert _to_folder(settings, tmp_path / "back") == 2
    assert {json.loads(raw)["item_id"] for raw, _ in _bodies(tmp_path / "back")} == {"i1", "i3"}


def test_the_command_moves_both_ways(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = settings.kafka
    for name in ("prefix", "partitions", "replication", "min_insync"):
        monkeypatch.setenv(f"FRESHET_KAFKA_{name.upper()}", str(getattr(kafka, name)))
    home, back = _folder(tmp_path / "home", [_log(50, 0)]), tmp_path / "back"
    there = CliRunner().invoke(app, ["feed", str(home), "--kafka", kafka.bootstrap])
    assert there.exit_code == 0, there.output
    again = ["feed", "--from-kafka", kafka.bootstrap, "--to-data", str(back)]
    assert CliRunner().invoke(app, again).exit_code == 0
    assert _bodies(back).total() == _bodies(home).total() > 0


@pytest.mark.parametrize(
    "arguments",
    [[], ["--from-kafka", "a:1"], ["."], [".", "--from-kafka", "a:1", "--to-data", "there"]],
)
def test_mixtures_are_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["feed", *arguments]).exit_code == 2
