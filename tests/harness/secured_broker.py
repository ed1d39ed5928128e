"""A broker for tests that asks who is there: TLS, users with passwords, client certificates, permissions."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.harness.broker import JavaBroker

__all__ = ["SECRET", "secured_broker"]

SECRET = "s3cret-of-the-tests"
"""Password of the users `writer`, who may write and create, and `guest`, who may do nothing."""

_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


def secured_broker(folder: Path, jars: Path) -> JavaBroker:
    """A broker with further listeners ``SASL_SSL`` (user and password: PLAIN, or SCRAM-SHA-512 for
    `writer`) and ``SSL`` (client certificates).

    Its certificates, and those of a stranger, lie in `folder`: ``ca.pem``, ``client.pem``, ``client.key``,
    ``stranger-ca.pem``. Whoever comes by the plain listener may do everything, `guest` and others nothing.
    """
    _certificates(folder)
    logins = "".join(f' user_{user}="{SECRET}"' for user in ("writer", "guest"))
    login = f"org.apache.kafka.common.security.plain.PlainLoginModule required{logins};"
    more = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
        "listener.name.ssl.ssl.client.auth": "required",
        "listener.name.sasl_ssl.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": login,
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{_SCRAM} required;",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:writer",
    }
    return JavaBroker(folder, jars, {"SASL_SSL": "SASL_SSL", "SSL": "SSL"}, more, {"writer": SECRET})


def _certificates(folder: Path) -> None:
    """An authority, a broker and a client signed by it, and an authority that signed none of them."""
    for name in ("ca", "stranger-ca"):
        _openssl(folder, "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}", *_keyed(name))
    for name in ("broker", "client"):
        _openssl(
            folder,
            *("req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}", *_keyed(name)),
            *("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
        )
    both = (folder / "broker.key").read_text("ascii") + (folder / "broker.pem").read_text("ascii")
    (folder / "broker.pem").write_text(both, "ascii")


def _keyed(name: str) -> tuple[str, ...]:
    return ("-newkey", "rsa:2048", "-keyout", f"{name}.key", "-out", f"{name}.pem")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(("openssl", *arguments), cwd=folder, capture_output=True, check=True)
