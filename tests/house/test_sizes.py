"""Small files and small functions, in numbers."""

from __future__ import annotations

import ast
from typing import Any


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end; the docstring is not counted."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def _share(lengths: list[int], limit: int) -> float:
    return sum(length <= limit for length in lengths) / len(lengths)


def test_no_file_is_longer_than_500_lines(everything: list[Any]) -> None:
    offenders = [f"{s.path}: {n}" for s in everything if (n := s.text.count("\n")) > 500]
    assert not offenders, "\n".join(offenders)


def test_most_files_are_at_most_300_lines(product: list[Any]) -> None:
    lengths = {source.path: source.text.count("\n") for source in product}
    longer = [f"{path}: {n}" for path, n in lengths.items() if n > 300]
    assert _share(list(lengths.values()), 300) >= 0.85, "\n".join(longer)


def test_no_function_is_longer_than_60_lines(everything: list[Any]) -> None:
    offenders = [
        f"{source.path}:{function.lineno} {function.name}: {_length(function)}"
        for source in everything
        for function in source.functions()
        if _length(function) > 60
    ]
    assert not offenders, "\n".join(offenders)


def test_most_functions_are_at_most_30_lines(product: list[Any]) -> None:
    lengths = {f"{s.path}:{f.lineno} {f.name}": _length(f) for s in product for f in s.functions()}
    longer = [f"{place}: {n}" for place, n in lengths.items() if n > 30]
    assert _share(list(lengths.values()), 30) >= 0.92, "\n".join(longer)


def test_most_tests_are_short(tests: list[Any]) -> None:
    lengths = sorted(_length(f) for s in tests for f in s.functions() if f.name.startswith("test_"))
    assert lengths[len(lengths) // 2] <= 12, "the median test is longer than 12 lines"
