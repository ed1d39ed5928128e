"""A part that raises ends the process with its name and the record's place, on either engine."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from bandits import Uniform
from freshet.config import load_settings
from learners import Part, RowBlock
from learners.part import Columns
from learning.measure import Measure
from learning.pipeline import Pipeline
from learning.shards.items import ItemsShard
from learning.shards.train import TrainShard
from learning.shards.users import UsersShard
from stream.block_codec import encode_segment
from stream.blocks import FeedbackBlock
from stream.codec import encode_events
from stream.engine.driver import Driver
from stream.engine.shard import SourceRecord
from stream.errors import PartError
from stream.events import Click
from stream.item_blocks import Ticked
from stream.log import Record

SETTINGS = load_settings(environ={})
CLICK = Click(ts=1_700_000_000_000, user_id="ann", item_id="tea")
WHO = "part 'mine' raised while it learned: ValueError('no')"


class Raising(Uniform):
    """Takes no block."""

    def learn(self, rows: RowBlock) -> Any:
        msg = "no"
        raise ValueError(msg)


def test_embedded_the_last_record_is_named() -> None:
    pipeline = Pipeline(SETTINGS, b"sixteen bytes or more")
    pipeline.parts.policies["mine"] = Raising()
    driver = Driver(pipeline, "wall", 1_000)
    driver.feed("events-0", Record("events", encode_events([CLICK]), accepted_at=CLICK.ts, pos=7))
    with pytest.raises(PartError) as raised:
        driver.flush()
    assert str(raised.value) == f"in records up to events-0/7: {WHO}"


def test_on_kafka_the_record_is_named_by_either_step() -> None:
    block = FeedbackBlock([], [("ann", "tea")], [3], [0], [-1], [1.0], [True], [5])
    users, items = UsersShard(0, lambda _: 0, SETTINGS, 1), ItemsShard(0, lambda _: 0, SETTINGS, 1)
    users.on_records([SourceRecord(4, encode_segment(block))])
    sent = next(output.value for output in users.take() if output.topic == "item-feedback")
    items.parts.policies["mine"] = Raising()
    with pytest.raises(PartError) as raised:
        items.on_records([SourceRecord(9, sent or b"")])
    assert str(raised.value) == f"in item-feedback/0/9: {WHO}"
    users.parts.mf.users = msgspec.UNSET  # type: ignore[assignment]
    users.on_records([SourceRecord(5, encode_segment(block))])
    with pytest.raises(PartError, match="in feedback/0, records up to 5: part 'mf' raised"):
        users.take()


class Noting(Part):
    """Cannot say what it notes."""

    def notes(self) -> Columns:
        msg = "no"
        raise ValueError(msg)


def test_a_part_that_cannot_say_its_notes_is_named_with_the_record() -> None:
    users, train = UsersShard(0, lambda _: 0, SETTINGS, 1), TrainShard(0, SETTINGS, 1)
    steps: dict[str, Any] = {"feedback": users, "training": train}
    for topic, step in steps.items():
        step.parts.more["mine"] = Noting()
        with pytest.raises(PartError) as raised:
            step.on_records([SourceRecord(9, encode_segment(Ticked(0, CLICK.ts, CLICK.ts)))])
        assert str(raised.value) == f"in {topic}/0/9: {WHO}"


def test_a_measure_that_raises_is_named_by_either_engine() -> None:
    class Miscounting(Measure):
        def learn(self, block: FeedbackBlock) -> None:
            msg = "no"
            raise ValueError(msg)

    pipeline, users = Pipeline(SETTINGS, b"sixteen bytes or more"), UsersShard(0, lambda _: 0, SETTINGS, 1)
    for parts in (pipeline.parts, users.parts):
        parts.measures["mine"] = Miscounting()
    with pytest.raises(PartError, match=re.escape(WHO)):
        pipeline.on_events([CLICK])
    block = FeedbackBlock([], [("ann", "tea")], [3], [0], [-1], [1.0], [True], [5])
    users.on_records([SourceRecord(4, encode_segment(block))])
    with pytest.raises(PartError, match=re.escape(f"in feedback/0, records up to 4: {WHO}")):
        users.take()
