"""Time on Kafka: ticks that a partition's owner writes into the log."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from stream.codec import encode_events
from stream.errors import BrokerError
from stream.events import Tick
from stream.kafka.bundles import headers_of
from stream.kafka.reader import async_options
from stream.kafka.settings import KafkaSettings

__all__ = ["TickWriter"]


class TickWriter:
    """Writes ticks into the partitions of a source, outside of any transaction: they are events like others.

    A tick that comes twice, or late from somebody who no longer owns the partition, says nothing new: time
    never goes back.

    Args:
        settings: where the brokers are.
        source: the topic, without prefix.

    Example:
        See `tests/kafka/test_worker.py`.
    """

    def __init__(self, settings: KafkaSettings, source: str) -> None:
        self._settings = settings
        self._topic = settings.topic(source)
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect.

        Raises:
            BrokerError: no broker answers.
        """
        self._producer = AIOKafkaProducer(enable_idempotence=True, **async_options(self._settings))
        try:
            await self._producer.start()
        except KafkaError as error:
            where = self._settings.bootstrap
            msg = (
                f"no broker answers at {where}: {error}; is the address right, and is a broker running there?"
            )
            raise BrokerError(msg) from error

    async def write(self, partition: int, ts: int) -> None:
        """Say that it is `ts` (ms).

        Raises:
            BrokerError: the brokers did not take it.
        """
        if self._producer is None:
            await self.start()
        assert self._producer is not None
        value = encode_events([Tick(ts=ts)])
        try:
            await self._producer.send_and_wait(
                self._topic, value, partition=partition, headers=headers_of(False)
            )
        except KafkaError as error:
            msg = f"a tick could not be written to {self._topic}/{partition}: {error!r}"
            raise BrokerError(msg) from error

    async def stop(self) -> None:
        """Let go of the brokers."""
        if self._producer is not None:
            await self._producer.stop()
