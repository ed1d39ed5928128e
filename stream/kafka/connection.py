"""How kafka-python is called by Freshet: the options of its clients, and its errors in our words.

Raises `LogError` when imported without the `kafka` extra; so other modules of ours take the client, `kafka`,
and its errors, `theirs`, from here.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stream.errors import BrokerAwayError, BrokerError, LogError
from stream.kafka.settings import KafkaSettings

try:
    import kafka
    import kafka.admin
    import kafka.errors as theirs
except ImportError as error:
    msg = "Kafka needs the extra `kafka`, which is not installed here; run: pip install 'freshet[kafka]'"
    raise LogError(msg) from error

__all__ = ["admin_client", "client_options", "explained", "kafka", "ssl_context", "theirs", "translated"]


class _Hidden(str):
    """A secret that shows as stars: the client writes all its options into its log, at level DEBUG."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


# The client speaks of every attempt; our errors say it once, and the log has it for whoever listens.
logging.getLogger("kafka").addHandler(logging.NullHandler())


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments that every client of kafka-python is made with.

    Raises:
        BrokerError: a certificate or key cannot be read.

    Example:
        >>> client_options(KafkaSettings(bootstrap="a:1, b:2"))["bootstrap_servers"]
        ['a:1', 'b:2']
    """
    options: dict[str, Any] = {
        "bootstrap_servers": [address.strip() for address in settings.bootstrap.split(",")],
        "security_protocol": settings.protocol,
        "bootstrap_timeout_ms": settings.timeout_ms,
        "reconnect_backoff_max_ms": 1_000,
    }
    if settings.protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.user
        options["sasl_plain_password"] = _Hidden(settings.password)
    if settings.protocol.endswith("SSL"):
        options["ssl_context"] = ssl_context(settings)
    return options


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    """What TLS connections are checked with: the brokers' certificates and host names always are.

    Raises:
        BrokerError: a file is missing or is no certificate or key.
    """
    for setting in ("ca", "cert", "key"):
        path = getattr(settings, setting)
        if path and not Path(path).is_file():
            msg = f"kafka.{setting}: expected a PEM file, found none at {path}"
            raise BrokerError(msg)
    try:
        context = ssl.create_default_context(cafile=settings.ca or None)
        if settings.cert:
            context.load_cert_chain(settings.cert, settings.key or None)
    except (OSError, ssl.SSLError) as error:
        msg = f"kafka.ca, kafka.cert, kafka.key: expected PEM files that belong together: {error}"
        raise BrokerError(msg) from error
    return context


@contextmanager
def admin_client(settings: KafkaSettings) -> Iterator[Any]:
    """A client for topics, closed at the end; its errors are ours.

    Raises:
        BrokerAwayError: no broker answers.
        BrokerError: it refuses.
    """
    with translated(settings):
        client = _connected(settings)
        try:
            yield client
        finally:
            client.close()


def _connected(settings: KafkaSettings) -> Any:
    """The client, once a broker has answered.

    The client itself tries again until its time is over, whatever the reason. Here it gets a second, then
    two, then four, and no more once it is clear that waiting cannot help.
    """
    options = client_options(settings) | {"request_timeout_ms": settings.timeout_ms}
    left_ms, share_ms = settings.timeout_ms, 1_000
    with _Reasons() as reasons:
        while True:
            options["bootstrap_timeout_ms"] = min(share_ms, left_ms)
            try:
                return kafka.KafkaAdminClient(**options)
            except theirs.KafkaTimeoutError as error:
                left_ms, share_ms = left_ms - share_ms, 2 * share_ms
                said = explained(error, settings, reasons.seen)
                if any(advice in said for _, advice in _CERTAIN):
                    raise BrokerError(said) from error
                if left_ms <= 0:
                    # Who hangs up is there, and may have refused us with a word that was lost.
                    raise (BrokerError if _HANGS_UP in said else BrokerAwayError)(said) from error


@contextmanager
def translated(settings: KafkaSettings) -> Iterator[None]:
    """Raise `BrokerError` for whatever the client raises; what to try comes with it, secrets never do."""
    with _Reasons() as reasons:
        try:
            yield
        except (theirs.KafkaError, OSError) as error:
            raise BrokerError(explained(error, settings, reasons.seen)) from error


def explained(error: BaseException, settings: KafkaSettings, reasons: Iterable[str] = ()) -> str:
    """An error of the client in our words: which brokers, what happened, what to try.

    `reasons` are what it said of single connections before it gave up.

    Example:
        >>> print(explained(theirs.KafkaTimeoutError(), KafkaSettings(), ["111 ECONNREFUSED"]))
        Kafka at 127.0.0.1:9092: nobody listens there; start the brokers, or correct `bootstrap` under [kafka]
    """
    came = f"{type(error).__name__}: {error}"
    said = " ".join([came, *reasons])
    for sign, advice in _ADVICE:
        if sign in said:
            return f"Kafka at {settings.bootstrap}: {advice}"
    if settings.password:
        came = came.replace(settings.password, "***")
    return f"Kafka at {settings.bootstrap}: {came[:300]}"


_HANGS_UP = "it hangs up before it answers"

# What no waiting mends, by the sign of it in what the client says.
_CERTAIN = (
    (
        "SaslAuthenticationFailed",
        "user or password is refused; correct `user`, `password` and `sasl_mechanism`",
    ),
    (
        "UnsupportedSaslMechanism",
        "it does not know this `sasl_mechanism`; ask for the one that it has enabled",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not signed by what `ca` under [kafka] holds, names another host, or has expired; "
        "set `ca` to the authority that signed it, and `bootstrap` to the names it stands for",
    ),
    ("ALERT_", "it refuses the client's certificate, or none was shown; set `cert` and `key` under [kafka]"),
    ("alert", "it refuses the client's certificate, or none was shown; set `cert` and `key` under [kafka]"),
    ("Handshake failed", "it does not speak TLS there; correct `protocol` or the port under [kafka]"),
    ("Invalid frame length", "it speaks TLS there; set `protocol` to SSL or SASL_SSL under [kafka]"),
)

# The first sign that occurs tells the most; what follows is vaguer.
_ADVICE = (
    *_CERTAIN,
    (
        "AuthorizationFailed",
        "this user may not do that; grant it with kafka-acls.sh, or use another `user` or certificate",
    ),
    ("ReplicationFactor", "there are fewer brokers than copies asked for; lower `replication` under [kafka]"),
    ("UnknownTopicOrPartition", "the topic is not there; run `freshet topics create`"),
    ("TooLarge", "the record is larger than the topic takes; send less at once, or raise max.message.bytes"),
    (
        "NotEnoughReplicas",
        "fewer copies are alive than `min_insync` asks for; bring the brokers back, then again",
    ),
    ("ECONNREFUSED", "nobody listens there; start the brokers, or correct `bootstrap` under [kafka]"),
    ("DNS Resolution", "the host is not known; correct `bootstrap` under [kafka]"),
    # kafka-python drops what came together with the end of a connection, so a broker's last word may be lost.
    (
        "socket disconnected",
        f"{_HANGS_UP}; look whether `protocol`, the port in `bootstrap` and "
        "`sasl_mechanism` under [kafka] are what it has there",
    ),
    (
        "KafkaTimeout",
        "no answer in time; look whether the brokers are up, or raise `timeout_ms` under [kafka]",
    ),
)


class _Reasons(logging.Handler):
    """Listens to what the client says of its connections: its own error only says that all failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen: dict[str, None] = {}
        self._source = logging.getLogger("kafka.net.manager")

    def __enter__(self) -> _Reasons:
        self._source.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._source.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the errors among what was logged, a few of them."""
        for part in record.args if isinstance(record.args, tuple) else ():
            if isinstance(part, Exception) and len(self.seen) < 20:
                self.seen[f"{type(part).__name__}: {part}"] = None
