"""What a settings class says of itself: each setting's type, default and meaning, in the words of TOML."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

__all__ = ["Described", "described", "is_table", "toml"]


class Described(NamedTuple):
    """One setting; `default` as it would stand in the file, or why there is none."""

    name: str
    type: str
    default: str
    meaning: str


def described(struct: type) -> Iterator[Described]:
    """The settings of a class in the order in which they are written; sections below it are left out.

    Example:
        >>> from learning.settings import PolicySettings
        >>> [setting.default for setting in described(PolicySettings)][2:4]
        ['0.05', '0.5']
    """
    meanings = _meanings(struct)
    # As they stand in the class: a base class would put its own first.
    written = {name: place for place, name in enumerate(inspect.get_annotations(struct))}
    for field in sorted(msgspec.structs.fields(struct), key=lambda field: written.get(field.name, -1)):
        if not is_table(field.type):
            yield Described(field.name, _type_name(field.type), _default(field), meanings.get(field.name, ""))


def _meanings(struct: type) -> dict[str, str]:
    """The string literal below each field of a settings class, also of those that it inherits."""
    found: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        found |= _own_meanings(base)
    return found


def _own_meanings(struct: type) -> dict[str, str]:
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0]
    except (OSError, TypeError):  # a class without a source file says nothing
        return {}
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            found[field.target.id] = " ".join(str(text.value.value).split())  # type: ignore[attr-defined]
    return found


def _bounds(limits: Any) -> str:
    """The constraint of an annotated field, in words; empty if it has none that a number can have."""
    least = limits.ge if limits.ge is not None else limits.gt
    words = [] if least is None else [f"from {least}" if limits.ge is not None else f"above {least}"]
    if limits.le is not None:
        words.append(f"to {limits.le}")
    return f", {' '.join(words)}" if words else ""


def _type_name(kind: Any) -> str:
    """A type in the words of TOML."""
    if hasattr(kind, "__metadata__"):
        return _type_name(kind.__origin__) + _bounds(kind.__metadata__[0])
    arguments = get_args(kind)
    if type(None) in arguments:  # left out means something of its own
        return _type_name(next(argument for argument in arguments if argument is not type(None)))
    if get_origin(kind) in (UnionType, Union):  # of some types `|` makes the older one
        return " or ".join(_type_name(argument) for argument in arguments)
    if get_origin(kind) is Literal:
        return " or ".join(f'`"{choice}"`' for choice in arguments)
    if get_origin(kind) is tuple:
        return f"list of {_type_name(arguments[0])}".replace("list of table", "list of tables")
    if get_origin(kind) is dict and arguments[1] is Any:
        return "table"
    if get_origin(kind) is dict:
        return f"table of {_type_name(arguments[1])}"
    if is_table(kind):
        return "table"
    known = {int: "integer", float: "number", str: "text", bool: "true or false", Any: "any value"}
    return known.get(kind) or str(getattr(kind, "__name__", kind))  # a plugin may have types of its own


def is_table(kind: Any) -> bool:
    """Whether a setting of this type is a section of its own."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def toml(value: Any) -> str:
    """A default as it would stand in the file."""
    if isinstance(value, bool | str):
        return msgspec.json.encode(value).decode()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml(entry) for entry in value) + "]"
    return f"{value:_}" if isinstance(value, int | float) else repr(value)


def _default(field: Any) -> str:
    if field.required:
        return "required"
    if field.default is None:
        return "not set"
    return toml(field.default_factory() if field.default is msgspec.NODEFAULT else field.default)
