"""What every house test looks at: the checkout, its rooms and their parsed modules."""

from __future__ import annotations

import ast
import importlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("freshet", "serving", "replay", "learning", "bandits", "learners", "index", "monitor", "stream")


@dataclass(frozen=True)
class Source:
    """One Python file of the checkout: its path from the root, its text, its tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """The dotted name it is imported by."""
        return self.path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method, nested ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and dotted name of everything imported, `from a import b` as `a.b`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def _parse(folder: str) -> list[Source]:
    """The Python files below `folder`, in order of their paths."""
    sources = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        sources.append(Source(str(path.relative_to(ROOT)), text, ast.parse(text, str(path))))
    return sources


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def room_names() -> tuple[str, ...]:
    """The names of the rooms, the highest layer first."""
    return ROOMS


@pytest.fixture(scope="session")
def rooms() -> list[ModuleType]:
    """The rooms, imported."""
    return [importlib.import_module(name) for name in ROOMS]


@pytest.fixture(scope="session")
def product() -> list[Source]:
    """The modules that ship."""
    return [source for room in ROOMS for source in _parse(room)]


@pytest.fixture(scope="session")
def tests() -> list[Source]:
    """The tests."""
    return _parse("tests")


@pytest.fixture(scope="session")
def everything(product: list[Source], tests: list[Source]) -> list[Source]:
    """All Python of the checkout."""
    return product + tests + _parse("benchmarks") + _parse("docs")


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    """Every text file under version control (or about to be), by its path."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    found = {}
    for name in listing.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file() and path.suffix not in {".png", ".gz", ".zst", ".parquet", ".bin"}:
            found[name] = path.read_text(encoding="utf-8", errors="replace")
    return found
