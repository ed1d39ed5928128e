"""Why a setting was refused, in a sentence that shows no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from learning.catalogue import nearest

__all__ = ["explained", "is_secret", "shown"]

_SECRET = re.compile(r"(^|[._])(auth|passwords?|secrets?|tokens?|credentials?)([._\[]|$)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}")
_SHOWN = 80
_KINDS: dict[type, str] = {dict: "a table", list: "a list", str: "a text"}


def is_secret(path: str) -> bool:
    """Whether what stands under the dotted `path` opens doors.

    Example:
        >>> is_secret("kafka.password"), is_secret("serve.auth.read"), is_secret("serve.k")
        (True, True, False)
    """
    return _SECRET.search(path) is not None


def explained(said: str, merged: Mapping[str, Any], root: type, *, under: str = "") -> str:
    """The decoder's words with the name of the setting, what came, and the name that was probably meant.

    `merged` is what was decoded, `root` the struct it was meant for; `under` is the path at which both stand
    in the settings. What came is shown where it is a plain value that opens no doors, and else only its kind.
    """
    what, _, path = said.replace("`", "").partition(" - at $")
    where = path.removeprefix(".")
    full = _joined(under, where) or "all"
    unknown = what.removeprefix("Object contains unknown field ")
    if unknown != what:
        return _unknown(unknown, where, root, under)
    choices = _choices(root, where) if what.startswith("Invalid enum value ") else ()
    if choices and not is_secret(full):
        came, listed = _came(merged, where), ", ".join(choice or '""' for choice in choices)
        near = nearest(came, filter(None, choices)) if isinstance(came, str) else []
        meant = f"; did you mean {near[0]}?" if near else ""
        return f"{full}: expected one of {listed}, got {_shown(merged, where, root)}{meant}"
    if not what.startswith("Expected "):
        return f"{full}: {what if not is_secret(full) else 'it does not fit'}"
    expected = what.removeprefix("Expected ").partition(", got ")[0]
    expected = {"object": "a table", "array": "a list"}.get(expected, expected)
    came = _came(merged, where)
    if isinstance(came, dict) and expected == "a list" and "." not in full:
        return f"{full}: expected a list of tables, got one; write [[{full}]]"
    if isinstance(came, list) and full == "policy":
        return "policy: expected a table, got a list; write [[policies]], or [policy] for what all share"
    return f"{full}: expected {expected}, got {_shown(merged, where, root)}"


def _joined(*steps: str) -> str:
    return ".".join(filter(None, steps))


def _unknown(name: str, where: str, root: type, under: str) -> str:
    known = [field.name for field in msgspec.structs.fields(_struct_at(root, where))]
    near = get_close_matches(name, known, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    full = _joined(under, where)
    if is_secret(full) or not _NAME.fullmatch(name):
        # Who mixes up names and values writes a token here.
        return f"{full or 'all'}: a name (not shown) is none of {', '.join(known)}{meant}"
    variable = "_".join(filter(None, ("FRESHET", *where.split("."), name))).upper()
    also = f" (or {variable})" if "[" not in full else ""
    return f"there is no {_joined(full, name)}{also}{meant}"


def _struct_at(kind: Any, where: str) -> Any:
    """The struct, or that of the list or table, that a dotted path leads to; None if it is neither."""
    for step in where.split(".") if where else ():
        fields = {field.name: field.type for field in msgspec.structs.fields(_struct(kind) or msgspec.Struct)}
        kind = fields.get(step.partition("[")[0])
    return _struct(kind)


def _choices(root: type, where: str) -> tuple[str, ...]:
    """The words that a setting may be, or one of its list; empty where it is no choice of words."""
    section, _, name = where.rpartition(".")
    fields = {field.name: field.type for field in msgspec.structs.fields(_struct_at(root, section) or root)}
    kind = fields.get(name.partition("[")[0])
    parts = [part for part in get_args(kind) if part is not Ellipsis]
    words = tuple(map(str, get_args(parts[0]) if parts and get_origin(parts[0]) is Literal else parts))
    return (*words, "a number") if any(get_origin(part) is Annotated for part in parts[1:]) else words


def _struct(kind: Any) -> Any:
    """The struct itself, or that of which `kind` is a list or table."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next((found for part in get_args(kind) if (found := _struct(part)) is not None), None)


def _came(merged: Any, where: str) -> Any:
    came = merged
    for step, number in re.findall(r"([^.\[\]]+)|\[(\d+)\]", where.partition("[...]")[0]):
        if number and isinstance(came, list) and int(number) < len(came):
            came = came[int(number)]
        elif isinstance(came, Mapping) and step in came:
            came = came[step]
    return came


def _shown(merged: Any, where: str, root: type) -> str:
    # A list or table may hold anything, and what stands where a section belongs may be one of its secrets.
    came = _came(merged, where)
    if is_secret(where) or isinstance(came, dict | list) or _struct_at(root, where) is not None:
        return _KINDS.get(type(came), type(came).__name__)
    return shown(came)


def shown(came: object) -> str:
    """A value that opens no doors, cut where it is long; of a table or list its kind alone.

    Example:
        >>> shown(7), shown(["a"])
        ('7', 'a list')
    """
    if isinstance(came, dict | list):
        return _KINDS[type(came)]
    text = repr(came)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"
