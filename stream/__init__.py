"""What happened, in order, once: events and codecs, event logs, the joiner, the engine, dead letters."""

from __future__ import annotations

from stream.blocks import FeedbackBlock, Segment
from stream.clock import Clock, ManualClock, WallClock
from stream.codec import Decoded, Rejection, decode_events, decode_logged, encode_events
from stream.dead_letters import DeadLetter, DeadLetters
from stream.engine import EngineSettings, LocalEngine
from stream.errors import (
    DiskFullError,
    EventError,
    FencedError,
    FrameError,
    FreshetError,
    LogError,
    OverloadedError,
    SnapshotError,
)
from stream.events import Click, Decision, Event, Forget, Impression, ItemEvent, LoggedEvent, Tick
from stream.folder import DataFolder
from stream.frame import Frame, pack, unpack
from stream.join import Joiner
from stream.join_settings import OUTCOMES, JoinSettings
from stream.log import EventLog, EventReader, MemoryLog, Record, SQLiteLog, SQLiteLogReader
from stream.schema import json_schemas
from stream.step import Replicated, Stateful, Step

__all__ = [
    "OUTCOMES",
    "Click",
    "Clock",
    "DataFolder",
    "DeadLetter",
    "DeadLetters",
    "Decision",
    "Decoded",
    "DiskFullError",
    "EngineSettings",
    "Event",
    "EventError",
    "EventLog",
    "EventReader",
    "FeedbackBlock",
    "FencedError",
    "Forget",
    "Frame",
    "FrameError",
    "FreshetError",
    "Impression",
    "ItemEvent",
    "JoinSettings",
    "Joiner",
    "LocalEngine",
    "LogError",
    "LoggedEvent",
    "ManualClock",
    "MemoryLog",
    "OverloadedError",
    "Record",
    "Rejection",
    "Replicated",
    "SQLiteLog",
    "SQLiteLogReader",
    "Segment",
    "SnapshotError",
    "Stateful",
    "Step",
    "Tick",
    "WallClock",
    "decode_events",
    "decode_logged",
    "encode_events",
    "json_schemas",
    "pack",
    "unpack",
]
