"""What an event log is: records in the order in which they were accepted, each at a position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from stream.events import EVENT_SCHEMA
from stream.steady import LEAP_MS

__all__ = ["DAMAGED", "EventLog", "EventReader", "Record", "RecordKind", "stamp"]

RecordKind = Literal["events", "decision"]


DAMAGED = (
    "the record was changed on the disk: its checksum differs; nothing is taken from it; restore the folder "
    "from a backup if its events are needed, and check the disk"
)
"""Why a damaged record is not read, and what to do."""


class Record(NamedTuple):
    """One entry of a log: a bundle of events, or one decision.

    `body` is JSON as `stream.codec` writes it. `accepted_at` is wall ms when the record was handed in; a log
    raises it to that of the record before, so it never falls (`stamp`). `request_id` is set for decisions
    only and is what they are found by. `schema` is the number of the event schema. `pos` is given by the log,
    and so is `damaged`: the bytes are not those that were appended.
    """

    kind: RecordKind
    body: bytes
    accepted_at: int
    backfill: bool = False
    request_id: str | None = None
    schema: int = EVENT_SCHEMA
    pos: int = 0
    damaged: bool = False


def stamp(newest: int, accepted_at: int) -> int:
    """The `accepted_at` of a record behind one at `newest`: no earlier, unless by so much that the clock was
    wrong and has been mended.

    Example:
        >>> stamp(90_000, 50_000), stamp(900_000, 50_000)
        (90000, 50000)
    """
    return accepted_at if newest - accepted_at > LEAP_MS else max(newest, accepted_at)


class EventReader(Protocol):
    """The reading side of a log, safe beside a writer in another process."""

    def read(self, after: int, limit: int, max_bytes: int = ...) -> list[Record]:
        """Records with `pos > after` in order: up to `limit`, fewer once they hold `max_bytes`, not none."""

    def end(self) -> int:
        """Position of the last record, 0 for an empty log."""

    def find_decision(self, request_id: str) -> bytes | None:
        """Body of the first decision logged for a request."""

    def close(self) -> None:
        """Let go of files."""


class EventLog(EventReader, Protocol):
    """A log and its single writer.

    Positions start above 0, strictly increase, may leave gaps, and are never given twice, even when records
    that were not durable are lost with the power.
    """

    def append(self, records: Sequence[Record], *, durable: bool = True) -> list[int]:
        """Add records, all or none, and return their positions.

        With `durable` they survive power loss once this returns; without it a killed process.

        Raises:
            LogError: they were not added.
        """

    def require_room(self, n_bytes: int) -> None:
        """Whether so many bytes more could be added, found out without adding any.

        Raises:
            LogError: they could not.
        """
