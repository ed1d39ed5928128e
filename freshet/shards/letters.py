"""Dead letters on Kafka: what could not be read, as JSON that a person can look at."""

from __future__ import annotations

import base64

import msgspec

from stream.dead_letters import MAX_ORIGINAL_BYTES

__all__ = ["Letter", "letter_value"]


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter; `at` is the log's time of the record in ms, `index` the event's place in its array.

    `original` holds the first 64 KiB of the bytes in base64, `n_bytes` says how many there were.
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


def letter_value(
    reason: str,
    original: bytes,
    *,
    topic: str,
    partition: int,
    offset: int,
    at: int = 0,
    index: int | None = None,
) -> bytes:
    """The value of a record in `dead-letters`.

    Example:
        >>> value = letter_value("no event", b"{", topic="events", partition=1, offset=7)
        >>> letter = msgspec.json.decode(value, type=Letter)
        >>> letter.offset, base64.b64decode(letter.original), letter.n_bytes
        (7, b'{', 1)
    """
    letter = Letter(
        reason=reason,
        topic=topic,
        partition=partition,
        offset=offset,
        at=at,
        original=base64.b64encode(original[:MAX_ORIGINAL_BYTES]).decode(),
        n_bytes=len(original),
        index=index,
    )
    return msgspec.json.encode(letter)
