"""How Faust's consumer fetches here: committed records only, each with a note of what lies before it.

A transaction's end takes an offset too, so a reader of committed records sees a hole after every transaction.
Only the fetcher knows whether something was in it: it went through it. Faust, behind it, drops records around
rebalances, and then holes look just the same. So the note is made where the records come from.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable
from typing import Any, ClassVar

import faust
from aiokafka.consumer import fetcher
from faust.transport.drivers import aiokafka as driver

from stream.errors import LogError

__all__ = ["EmptyHoles", "FetchingApp", "since_of"]

_COMMITTED = "read_committed"


class _NotingRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """Records of one answer to a fetch, each with the offset that the fetcher had come to before it.

    What lies between the two was looked at and holds nothing to read: ends of transactions, aborted records,
    what compaction left. The note takes the place of the checksum, which brokers stopped sending long ago: of
    all fields it alone goes through Faust to the message and is used by nobody.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._come_to = self.next_fetch_offset

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        made = super()._consumer_record(tp, record)
        made.checksum, self._come_to = self._come_to, record.offset + 1
        return made


# The fetcher makes them by this name and takes no other class; other consumers of the process do not mind.
fetcher.PartitionRecords = _NotingRecords


def since_of(message: Any) -> int:
    """Offset from which on nothing lies before a message; its own, if the fetcher has left no note.

    Example:
        >>> from types import SimpleNamespace as Message
        >>> since_of(Message(offset=7, checksum=5)), since_of(Message(offset=7, checksum=None))
        (5, 7)
    """
    return int(message.offset if message.checksum is None else message.checksum)


class EmptyHoles:
    """Joins the hole at the end of one answer to the hole at the beginning of the next, if nobody jumped.

    Keeps two offsets for each partition that was ever fetched.

    Example:
        >>> holes = EmptyHoles()
        >>> holes.since("p", since=0, last=3, position=5)  # records 0 to 3, then the end of a transaction
        0
        >>> holes.since("p", since=5, last=8, position=10)  # fetched from 5 on
        4
        >>> holes.since("p", since=12, last=12, position=13)  # after a jump to 12
        12
    """

    def __init__(self) -> None:
        self._behind: dict[Hashable, tuple[int, int]] = {}

    def since(self, partition: Hashable, *, since: int, last: int, position: int) -> int:
        """Offset from which on nothing lies before the first record of an answer.

        Args:
            partition: which one.
            since: what the answer itself says about that.
            last: offset of the last record of the answer.
            position: where the fetcher goes on after it.
        """
        start, stop = self._behind.get(partition, (since, since))
        self._behind[partition] = last + 1, position
        return start if since == stop else since


class _Thread(driver.AIOKafkaConsumerThread):
    """Reads committed: Faust itself asks for that only in its own exactly-once mode, which is broken."""

    logger = logging.getLogger("faust.consumer")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._holes = EmptyHoles()

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        if not isinstance(getattr(consumer, "_isolation_level", None), str):
            msg = "this aiokafka keeps its isolation level elsewhere; try one that Freshet was tested with"
            raise LogError(msg)
        consumer._isolation_level = _COMMITTED
        return consumer

    async def _fetch_records(self, consumer: Any, *args: Any, **options: Any) -> Any:
        fetched = await super()._fetch_records(consumer, *args, **options)
        for tp, records in fetched.items():
            # Nobody can have moved the position since: nothing here has waited for anything yet.
            position, first = await consumer.position(tp), records[0]
            first.checksum = self._holes.since(
                tp, since=first.checksum, last=records[-1].offset, position=position
            )
        return fetched


class _Consumer(driver.Consumer):
    logger = logging.getLogger("faust.consumer")

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class _Transport(driver.Transport):
    Consumer: ClassVar[Any] = _Consumer


class FetchingApp(faust.App):
    """A Faust app whose records can be asked with `since_of`, and that leaves no folder behind."""

    logger = logging.getLogger("faust.app")  # it would take the engine's, and speak of every start

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """None are needed: tables are not used, and the folder that a worker starts in is not ours."""
