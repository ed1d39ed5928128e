"""Where the brokers are, how to speak to them, and how Freshet's topics are laid out there."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from stream.kafka.sources import SourceSettings

__all__ = ["KafkaSettings"]


class KafkaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The brokers, the topics and the credentials; the password is never shown.

    Example:
        >>> "hidden" in repr(KafkaSettings(user="ann", password="hidden"))
        False
    """

    bootstrap: Annotated[str, Meta(min_length=1)] = "127.0.0.1:9092"
    """Addresses of some brokers, `HOST:PORT`, separated by commas."""
    prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,150}$")] = ""
    """Put before the name of every topic, group and transaction, so that two systems can share brokers."""
    partitions: Annotated[int, Meta(ge=1, le=10_000)] = 8
    """Partitions of every topic that is sharded; fixed when the topics are created."""
    replication: Annotated[int, Meta(ge=1, le=32)] = 3
    """Copies of every partition; 1 where there is one broker only."""
    min_insync: Annotated[int, Meta(ge=1, le=32)] = 2
    """Copies that must have a record before it counts as written; 1 where there is one broker only."""
    keep_days: Annotated[float, Meta(gt=0, le=36_500)] = 7.0
    """Age at which records are dropped; in compacted topics, time until a replaced row is really gone."""
    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How the brokers are spoken to, as Kafka calls it."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How user and password are proven, for the protocols with SASL."""
    user: str = ""
    """Name of the user, for SASL."""
    password: str = ""
    """Password of the user, for SASL; better in `FRESHET_KAFKA_PASSWORD` than in a file."""
    ca: str = ""
    """File with the certificates that the brokers' ones are signed by (PEM); empty: the system's."""
    cert: str = ""
    """File with the client's own certificate (PEM), where brokers ask for one."""
    key: str = ""
    """File with the private key of `cert` (PEM)."""
    compression: Literal["none", "gzip"] = "gzip"
    """How records are packed on their way and on the brokers."""
    timeout_ms: Annotated[int, Meta(ge=100, le=600_000)] = 10_000
    """How long to wait for brokers that do not answer before saying so."""

    sources: tuple[SourceSettings, ...] = ()
    """Topics of others that become events, see [[kafka.sources]]."""

    def __post_init__(self) -> None:
        if self.min_insync > self.replication:
            msg = f"min_insync: expected at most replication ({self.replication}), got {self.min_insync}"
            raise ValueError(msg)
        if self.key and not self.cert:
            msg = "key: expected a cert that it belongs to, got none"
            raise ValueError(msg)

    def __repr__(self) -> str:
        shown = [f"{f}={getattr(self, f)!r}" for f in self.__struct_fields__ if f != "password"]
        return f"KafkaSettings({', '.join(shown)}, password={'***' if self.password else ''!r})"

    def topic(self, name: str) -> str:
        """The name of a topic of the layout as the brokers know it.

        Example:
            >>> KafkaSettings(prefix="shop-").topic("events")
            'shop-events'
        """
        return self.prefix + name
