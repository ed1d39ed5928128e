"""Formulas are functions of arrays: no state, no clock, no files, no hidden generator."""

from __future__ import annotations

import ast
import re
from typing import Any

# llvmlite: instructions that numba does not spell, such as a prefetch.
ALLOWED = {"__future__", "collections", "llvmlite", "math", "numba", "numpy", "scipy", "typing"}


def _is_allowed(name: str) -> bool:
    top = name.split(".")[0]
    return top in ALLOWED or name.startswith("stream.kernel.") or ".ops." in name


def test_ops_import_only_mathematics_and_each_other(product: list[Any]) -> None:
    offenders = [
        f"{source.path}:{line} imports {name}"
        for source in product
        if "/ops/" in source.path
        for line, name in source.imports()
        if not _is_allowed(name)
    ]
    assert not offenders, "\n".join(offenders)


def test_ops_hold_no_state(product: list[Any]) -> None:
    offenders = [
        f"{source.path}:{node.lineno}"
        for source in product
        if "/ops/" in source.path
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Global | ast.Nonlocal)
        or (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
    ]
    assert not offenders, "\n".join(["an op assigns to an attribute or a global", *offenders])


def test_kinds_of_operations_have_names_in_formulas(product: list[Any]) -> None:
    numbered = [
        f"{source.path}:{n} {line.strip()}"
        for source in product
        if "/ops/" in source.path
        for n, line in enumerate(source.text.splitlines(), start=1)
        if re.search(r"\bkind(\[[^]]+\])? *[=!<>]=? *[0-9]", line)
    ]
    assert not numbered, "\n".join(["import them from stream.ops.kinds", *numbered])
