"""Real parts, no patching, and nobody sleeps: tests wait for a condition."""

from __future__ import annotations

import ast
from typing import Any

SLEEPS = {"time.sleep", "sleep"}


def _calls(source: Any) -> list[tuple[int, str, ast.Call]]:
    return [
        (node.lineno, ast.unparse(node.func), node)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
    ]


def test_no_mocks(tests: list[Any]) -> None:
    offenders = [
        f"{source.path}:{line} imports {name}"
        for source in tests
        for line, name in source.imports()
        if name.startswith(("unittest", "mock", "pytest_mock"))
    ]
    assert not offenders, "\n".join(offenders)


def test_nothing_is_patched(tests: list[Any]) -> None:
    patching = ("monkeypatch.setattr", "monkeypatch.setitem", "patch", "patch.object")
    offenders = [f"{s.path}:{line}" for s in tests for line, name, _ in _calls(s) if name in patching]
    assert not offenders, "\n".join(["hand the part in as an argument instead", *offenders])


def test_nobody_sleeps(everything: list[Any]) -> None:
    offenders = [
        f"{source.path}:{line}"
        for source in everything
        if source.path != "stream/clock.py"
        for line, name, _ in _calls(source)
        if name in SLEEPS
    ]
    assert not offenders, "\n".join(["take a clock as an argument, or wait for a condition", *offenders])
