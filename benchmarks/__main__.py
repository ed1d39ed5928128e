"""``python -m benchmarks [--json FILE] [--only NAME] [--quick]``: every benchmark, each in a process of its
own."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

import benchmarks
from benchmarks.report import print_rows, write_rows

_NOT_BENCHMARKS = {"__main__", "report", "targets"}


def _names() -> list[str]:
    """Modules of this folder that may hold a benchmark."""
    found = (module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.ispkg)
    return sorted(name for name in found if name not in _NOT_BENCHMARKS and not name.startswith("_"))


def _is_wanted(module: str, only: list[str]) -> bool:
    """A benchmark may be asked for by its module or by one of its rows, which begin with the module's
    name."""
    return not only or any(name.startswith(module) or module.startswith(name) for name in only)


def _run_here(module: str, quick: bool, out: Path) -> None:
    """In the child: run one benchmark and leave its rows in a file."""
    run = getattr(importlib.import_module(f"benchmarks.{module}"), "run", None)
    write_rows(run(quick) if run is not None else [], out)


def _run_apart(module: str, quick: bool) -> tuple[list[dict[str, Any]], str]:
    """Rows of one benchmark from a fresh process, and what went wrong, if anything."""
    with tempfile.TemporaryDirectory(prefix="freshet-bench-") as folder:
        out = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "benchmarks", "--child", module, "--json", str(out)]
        ran = subprocess.run([*command, *(["--quick"] if quick else [])], check=False)
        if ran.returncode != 0 or not out.exists():
            return [], f"ended with exit code {ran.returncode}"
        rows: list[dict[str, Any]] = json.loads(out.read_text("utf-8"))
        return rows, ""


def main() -> int:
    """Run what was asked for; 1 when a benchmark failed, though the others are run all the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows here")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="a benchmark or a row; may be repeated"
    )
    parser.add_argument(
        "--quick", action="store_true", help="smaller and shorter; for a look, not for a claim"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        _run_here(asked.child, asked.quick, asked.json)
        return 0
    console = Console(width=None if sys.stdout.isatty() else 170)
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    wanted = [name for name in _names() if _is_wanted(name, asked.only or [])]
    if not wanted:
        parser.error(f"no benchmark is called {', '.join(asked.only)}; there are {', '.join(_names())}")
    for name in wanted:
        console.print(f"[bold]{name}[/] ...")
        found, problem = _run_apart(name, asked.quick)
        rows += found
        failed += [f"{name} {problem}"] if problem else []
    print_rows(console, rows)
    for problem in failed:
        console.print(f"[red]failed[/]: {problem}")
    if asked.json is not None:
        write_rows(rows, asked.json)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
