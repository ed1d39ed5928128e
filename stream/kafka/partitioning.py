"""Which partition an id belongs to: murmur2 over its UTF-8 bytes, as Kafka's own clients have it."""

from __future__ import annotations

import struct
from functools import lru_cache

from stream.events import Click, Decision, Forget, Impression, ItemEvent, LoggedEvent

__all__ = ["murmur2", "partition_of", "routing_id"]

_MASK = 0xFFFF_FFFF
_M = 0x5BD1_E995
_SEED = 0x9747_B28C


def murmur2(data: bytes) -> int:
    """MurmurHash2, 32 bits, unsigned, with the seed that Kafka's Java client uses.

    Example:
        >>> murmur2(b"21") - 2**32
        -973932308
    """
    n_words, left = divmod(len(data), 4)
    h = _SEED ^ len(data)
    for k in struct.unpack_from(f"<{n_words}I", data):
        k = k * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = h * _M & _MASK ^ k
    if left:
        h = (h ^ int.from_bytes(data[-left:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


@lru_cache(maxsize=65_536)
def partition_of(entity_id: str, n_partitions: int) -> int:
    """The partition of an id; the answers for the last 65,536 ids asked for are remembered.

    Example:
        >>> partition_of("ann", 8)
        2
    """
    return (murmur2(entity_id.encode()) & 0x7FFF_FFFF) % n_partitions


def routing_id(event: LoggedEvent) -> str:
    """The id by which an event is routed, and the key of its record in `events`.

    Whatever belongs to one slate meets in one partition, so that the joiner needs no other: the request id
    routes decisions, impressions and the clicks that name it. The user routes organic clicks and forgets, the
    item its own events.

    Raises:
        TypeError: a tick, which belongs to every partition.

    Example:
        >>> routing_id(Click(ts=1, item_id="tea", user_id="ann"))
        'ann'
        >>> routing_id(Click(ts=1, item_id="tea", user_id="ann", request_id="r1"))
        'r1'
    """
    match event:
        case Click(request_id=str(request_id)) | Impression(request_id=request_id):
            return request_id
        case Decision(request_id=request_id):
            return request_id
        case Click(user_id=str(user_id)) | Forget(user_id=user_id):
            return user_id
        case ItemEvent(item_id=item_id):
            return item_id
    msg = f"expected an event that somebody sent, got {event!r}"
    raise TypeError(msg)
