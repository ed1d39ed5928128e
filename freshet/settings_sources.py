"""Where settings are read from: a file, and variables; what is odd about them is said in a line each.

Nothing that is read here is repeated in a message: it may be a token.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from learning.errors import SettingsError

__all__ = ["LOCAL_FILE", "from_environment", "from_file", "is_service_link"]

LOCAL_FILE = "freshet.toml"
"""Read where no other file is named, if the current folder has it."""

_NOT_SETTINGS = (
    "FRESHET_TEST_",
    "FRESHET_REQUIRE_",
    "FRESHET_CHAOS_",
    "FRESHET_SHARED_",
    "FRESHET_TOKEN",
    "FRESHET_LIFELINE",
    "FRESHET_CLOCK_OFFSET",
)
_LINK_NAME = re.compile(
    r".*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")
_PLACE = re.compile(r" \(at (line \d+, column \d+|end of document)\)$")

Say = Callable[[str], None]


def from_file(path: Path | None, say: Say) -> dict[str, Any]:
    """What a file sets; `path` None is the one of the current folder, if there is one.

    Whoever can write into a folder that others work in must not open their ports: `serve.insecure` is taken
    from a file only if that was named.

    Raises:
        SettingsError: it cannot be read.
    """
    chosen = (path or Path(LOCAL_FILE)).absolute()
    if path is None and not chosen.exists():
        return {}
    try:
        found = tomllib.loads(chosen.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        msg = f"settings file {chosen}: {_without_values(str(error))}"
        raise SettingsError(msg) from None
    except UnicodeDecodeError as error:
        msg = f"settings file {chosen}: byte {error.start} is no UTF-8; save it as UTF-8"
        raise SettingsError(msg) from None
    except OSError as error:
        msg = f"settings file {chosen}: {error.strerror or error}"
        raise SettingsError(msg) from error
    say(f"settings from {chosen}{'' if path else ', which lies in the current folder'}")
    serve = found.get("serve")
    if path is None and isinstance(serve, dict) and serve.pop("insecure", False) is not False:
        say(
            f"serve.insecure of {chosen} is passed over: it is not taken from a file of the current folder "
            "unless --config names that; or pass --insecure"
        )
    return found


def _without_values(said: str) -> str:
    """The parser's words and place without what stood there."""
    place = _PLACE.search(said)
    words = said[: place.start()] if place else said
    if re.search(r"'..|\"|\(", words.replace("'='", "").replace("'\\n'", "")):
        words = "a name or value stands where it may not"
    where = place.group(1) if place else "a place unknown"
    return f"no TOML: {words}, {where}"


def is_service_link(name: str, value: str) -> bool:
    r"""Whether a platform wrote this variable to say where a service of that name is.

    Kubernetes does so in every container for every service of the namespace, after the service's name: one
    called ``freshet-kafka`` gives ``FRESHET_KAFKA_SERVICE_HOST`` and a dozen more.

    Example:
        >>> is_service_link("FRESHET_PORT", "tcp://10.0.0.7:8080"), is_service_link("FRESHET_PORT", "8080")
        (True, False)
        >>> is_service_link("FRESHET_KAFKA_SERVICE_PORT_HTTP", "9092")
        True
    """
    if name.endswith("_PORT") and _LINK_VALUE.match(value):
        return True
    return _LINK_NAME.fullmatch(name) is not None


def from_environment(
    environ: Mapping[str, str], sections: Collection[str], lists: Collection[str], say: Say
) -> dict[str, Any]:
    """What variables set, by section; `lists` are settings outside any section that are written as JSON.

    Raises:
        SettingsError: a list or table is no JSON, or one variable sets a section and another a field of it.
    """
    found: dict[str, Any] = {}
    links = []
    for name, value in sorted(environ.items()):
        if not name.startswith("FRESHET_") or name.startswith(_NOT_SETTINGS):
            continue
        if is_service_link(name, value):
            links.append(name)
            continue
        whole = name.removeprefix("FRESHET_").lower()
        section, _, field = whole.partition("_")
        if section not in sections:
            found[whole] = _listed(name, value) if whole in lists else value
        elif not field:
            found[section] = _listed(name, value)
        else:
            fields = found.setdefault(section, {})
            if not isinstance(fields, dict):
                msg = f"settings: FRESHET_{section.upper()} should hold a table as JSON, another value came"
                raise SettingsError(msg)
            fields[field] = _listed(name, value)
    if links:
        say(
            f"passed over, as the platform writes them for its services: {', '.join(links)}; "
            "enableServiceLinks: false in the pod keeps them away"
        )
    return found


def _listed(name: str, value: str) -> Any:
    # A list or table is written as JSON; anything else is converted from text by its field's type. A password
    # may start as it likes.
    if value[:1] not in ("[", "{") or name.endswith("_PASSWORD"):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError) as error:
        why = str(error) if isinstance(error, msgspec.DecodeError) else "half a character"
        msg = f"settings: {name} should hold JSON and does not (its value is not shown): {why}"
        raise SettingsError(msg) from None
