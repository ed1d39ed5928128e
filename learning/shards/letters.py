"""Dead letters on Kafka: what could not be read, as JSON that a person can look at."""

from __future__ import annotations

import base64

import msgspec

from stream.dead_letters import kept_original
from stream.engine.shard import Output, SourceRecord

__all__ = ["Letter", "letter_about"]


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter; `at` is the log's time of the record in ms, `index` the event's place in its array.

    `original` holds the first 64 KiB of the bytes in base64, or a note where they are no text (compressed,
    for instance); `n_bytes` says how many there were.
    """

    reason: str
    topic: str
    partition: int
    offset: int
    at: int
    original: str
    n_bytes: int
    index: int | None = None
    schema: int = 1


def letter_about(
    record: SourceRecord,
    reason: str,
    topic: str,
    partition: int,
    *,
    index: int | None = None,
    original: bytes | None = None,
    to: int | None = None,
) -> Output:
    """A dead letter about a record of `topic`, or about the event at `index` in it with the bytes `original`.

    It goes to the partition of the same number, or to partition `to`.

    Example:
        >>> output = letter_about(SourceRecord(7, b"{"), "no event", "events", 1)
        >>> letter = msgspec.json.decode(output.value, type=Letter)
        >>> output.key, letter.offset, base64.b64decode(letter.original), letter.n_bytes
        (b'events/1/7', 7, b'{', 1)
    """
    original = record.value if original is None else original
    letter = Letter(
        reason=reason,
        topic=topic,
        partition=partition,
        offset=record.offset,
        at=record.at,
        original=base64.b64encode(kept_original(original)).decode(),
        n_bytes=len(original),
        index=index,
    )
    key = f"{topic}/{partition}/{record.offset}".encode()
    return Output("dead-letters", partition if to is None else to, msgspec.json.encode(letter), key)
