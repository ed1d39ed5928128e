"""Whatever somebody else writes into our topics ends in a dead letter or a named error, not in a crash."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from freshet.config import load_settings
from learning.rows.codec import (
    decode_control,
    decode_item_row,
    decode_policy_row,
    decode_progress,
    decode_user_row,
)
from learning.shards.items import ItemsShard
from learning.shards.join import JoinShard
from learning.shards.train import TrainShard
from learning.shards.users import UsersShard
from stream.block_codec import decode_item, decode_segment
from stream.clock import ManualClock
from stream.engine.shard import Output, Recovered, Shard, ShardStep, SourceRecord
from stream.engine.shard_memory import MemoryPartition, MemoryShardStore
from stream.errors import FrameError, FreshetError, LogError, SnapshotError
from stream.frame import pack, unpack
from tests.harness.chain import Chain
from tests.harness.listening import ENTRY, install
from tests.harness.rows import RowPublisher, RowServer, scripted

N = 400  # of each kind, each other: some milliseconds


def array(dtype: object, shape: object, data: object = bytes(4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data": data}


STRANGE: list[Any] = [
    None, True, -1, 0, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 1.5, float("nan"), float("inf"), "", "(1,2",
    "é" * 400, b"", b"\x00", bytes(7), [], [[]], [None], {}, {"a": {}}, array("(1,2", [1]),
    array("<f4", [2**40]), array("O", [1], bytes(8)), array("<f4", [0], b""), array("<i4", [1], b"\xff" * 4),
    array("<f4", [1] * 70), array(["f4"], "1", "x"), array("<f4", [1, 1], b"\x00\x00\xc0\x7f"),
    msgspec.msgpack.Ext(5, b"x"),
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to everything inside."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from places(item, (*path, key))


def changed(value: bytes, rng: np.random.Generator) -> bytes:
    """The same with one thing changed: its type, length or value, gone, twice, or a byte."""
    if rng.random() < 0.2:
        at, byte = int(rng.integers(len(value))), int(rng.integers(256))
        return [value[:at], value[:at] + bytes([byte]) + value[at + 1 :]][int(rng.random() < 0.8)]
    is_json = value[:1] in (b"[", b"{")
    tree = json.loads(value) if is_json else msgspec.msgpack.decode(value)
    paths = list(places(tree))
    path = paths[int(rng.integers(len(paths)))]
    holder = tree
    for key in path[:-1]:
        holder = holder[key]
    how = rng.random()
    old: Any = holder[path[-1]]
    if how < 0.15:
        del holder[path[-1]]
    elif how < 0.35 and isinstance(old, bytes | str | list) and len(old):
        holder[path[-1]] = old[: len(old) - 1] if how < 0.25 else old * 2
    elif how < 0.45 and isinstance(old, int):
        holder[path[-1]] = old + int(rng.integers(-3, 4))
    else:
        holder[path[-1]] = STRANGE[int(rng.integers(len(STRANGE)))]
    return json.dumps(tree, default=repr).encode() if is_json else msgspec.msgpack.encode(tree)


@pytest.fixture(scope="module")
def rows() -> list[Output]:
    return [output for output in RowPublisher().learn(scripted(4)) if output.value]


@pytest.fixture(scope="module")
def chain() -> Chain:
    policy = {"centroids": 6, "features": ["hour", "device"]}
    settings = load_settings(environ={}, flags={"learn": {"embedding_dim": 8}, "policy": policy})
    chain = Chain(settings, 2)
    chain.feed(scripted(5))
    return chain


DECODERS: dict[str, Callable[[bytes], object]] = {
    "user-vectors": decode_user_row, "item-vectors": decode_item_row, "policy": decode_policy_row,
    "control": decode_control, "catalogue": decode_item,
}  # fmt: skip


@pytest.mark.parametrize("topic", DECODERS)
def test_no_decoder_of_rows_raises_anything_but_a_frame_error(topic: str, rows: list[Output]) -> None:
    values = [output.value for output in rows if output.topic == topic and output.key]
    rng = np.random.default_rng(1)
    for _ in range(N):
        poison = changed(values[int(rng.integers(len(values)))] or b"", rng)
        for decode in (DECODERS[topic], decode_progress, decode_segment, unpack):
            try:
                decode(poison)
            except FrameError:
                continue


def test_a_follower_of_rows_goes_on_whatever_is_among_them(rows: list[Output]) -> None:
    server, rng = RowServer(), np.random.default_rng(2)
    for n in range(4 * N):
        output = rows[int(rng.integers(len(rows)))]
        try:
            server.follower.add(
                output.topic, output.partition, output.key or b"", changed(output.value or b"", rng)
            )
        except FrameError:
            continue
        if n % 7 == 0:
            server.apply()
    server.follow(rows)
    vectors = server.parts.users.data[: server.parts.users.size]
    assert np.isfinite(vectors).all() and len(server.parts.users) > 10


@pytest.mark.parametrize(("topic", "make"), [("feedback", UsersShard), ("item-feedback", ItemsShard)])
def test_a_step_buries_what_it_cannot_read_and_goes_on(
    topic: str, make: Callable[..., UsersShard | ItemsShard], chain: Chain
) -> None:
    records, rng = chain.topics[topic, 0], np.random.default_rng(3)
    step = make(0, chain.home, chain.users[0].settings, 2)
    for n in range(N):
        poison = SourceRecord(n, changed(records[int(rng.integers(len(records)))].value, rng))
        give(step, [poison])
    give(step, [SourceRecord(N + n, record.value) for n, record in enumerate(records)])
    assert step.reader.n_letters > N // 4
    assert np.isfinite(step.parts.items.data[: step.parts.items.size]).all()


def test_train_buries_what_it_cannot_read_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chain: Chain
) -> None:
    install(tmp_path, monkeypatch)  # so that lists carry all that they can
    settings = msgspec.structs.replace(chain.settings, policies=(ENTRY,))
    asking = Chain(settings, 2)
    asking.feed(scripted(5))
    records, rng = asking.topics["training", 0], np.random.default_rng(6)
    carrying = [record for record in records if b"keys" in record.value and b"request" in record.value]
    assert len(carrying) > len(records) // 4
    step = TrainShard(0, settings, chain.n)
    for n in range(N):
        give(step, [SourceRecord(n, changed(records[int(rng.integers(len(records)))].value, rng))])
    give(step, records)
    assert step.reader.n_letters > N // 4 and step.parts.ranker.steps > 0
    assert np.isfinite(step.parts.ranker.weights).all()
    listening = step.parts.policies["listening"]
    assert np.isfinite(listening.export("shared", np.zeros(1, np.int32))["sum"]).all()


def test_join_buries_what_it_cannot_read_and_goes_on(chain: Chain) -> None:
    records, rng = chain.topics["events", 0], np.random.default_rng(4)
    step = JoinShard(0, chain.home, chain.users[0].settings.join, mode="event", tick_ms=1_000, n_partitions=2)
    for n in range(N):
        give(step, [SourceRecord(n, changed(records[int(rng.integers(len(records)))].value, rng))])
    assert step.n_letters > N // 4 and step.joiners[False].counters["shown"] > 10


@pytest.mark.parametrize("make", [UsersShard, ItemsShard])
def test_a_snapshot_that_somebody_changed_is_refused_by_name(
    make: Callable[..., UsersShard | ItemsShard], chain: Chain
) -> None:
    settings, rng = chain.users[0].settings, np.random.default_rng(5)
    step = chain.users[0] if make is UsersShard else chain.items[0]
    frame = pack(step.snapshot())
    for n in range(N // 8):
        shard = Shard(make(0, chain.home, settings, 2), _Store(changed(frame, rng), n), ManualClock())
        try:
            asyncio.run(shard.open())
        except FreshetError as error:
            assert str(error)


class _Store(MemoryShardStore):
    """A partition whose newest snapshot is of somebody else's making."""

    def __init__(self, frame: bytes, position: int) -> None:
        super().__init__(MemoryPartition())
        self._frame, self._at = frame, position

    async def recover(self) -> Recovered:
        try:
            return Recovered(unpack(self._frame), 0, 0)
        except FrameError as error:
            msg = "no snapshot can be read"
            raise SnapshotError(msg) from error


def give(step: ShardStep, records: Sequence[SourceRecord]) -> list[Output]:
    try:
        step.on_records(records)
    except LogError as error:  # a newer program's record ends the step, by name
        assert "version" in str(error) or "schema" in str(error)
    return step.take()
