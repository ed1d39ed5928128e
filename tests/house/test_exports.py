"""The public surface is deliberate."""

from __future__ import annotations

import ast
import importlib
import inspect
from types import ModuleType
from typing import Any


def _declared(source: Any) -> list[str] | None:
    """The names in `__all__`, or None where the module has none."""
    for node in source.tree.body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def _public(source: Any) -> set[str]:
    """Functions and classes defined at the top of the module without an underscore."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in source.tree.body if isinstance(node, kinds) and node.name[0] != "_"}


def test_every_module_declares_its_surface(product: list[Any]) -> None:
    # A package that holds nothing but its docstring has nothing to declare.
    speaking = [s for s in product if len(s.tree.body) > 1 or not s.path.endswith("/ops/__init__.py")]
    offenders = [source.path for source in speaking if _declared(source) is None]
    assert not offenders, "\n".join(["no __all__ in", *offenders])


def test_every_public_definition_is_declared(product: list[Any]) -> None:
    offenders = [
        f"{s.path}: {', '.join(sorted(hidden))}"
        for s in product
        if (hidden := _public(s) - set(_declared(s) or ()))
    ]
    assert not offenders, "\n".join(["export it or underscore it", *offenders])


def test_everything_declared_can_be_imported(product: list[Any]) -> None:
    offenders = []
    for source in product:
        module = importlib.import_module(source.module)
        offenders += [f"{source.module}.{n}" for n in _declared(source) or () if not hasattr(module, n)]
    assert not offenders, "\n".join(offenders)


def test_nothing_is_declared_twice_or_private(product: list[Any]) -> None:
    offenders = []
    for source in product:
        names = _declared(source) or []
        private = [n for n in names if n.startswith("_") and n != "__version__"]
        offenders += [source.path] if private or len(names) != len(set(names)) else []
    assert not offenders, "\n".join(offenders)


def test_every_room_introduces_itself_and_is_no_empty_shell(rooms: list[ModuleType]) -> None:
    for room in rooms:
        assert inspect.getdoc(room), f"{room.__name__}/__init__.py has no docstring"
        assert room.__all__, f"{room.__name__} exports nothing"
