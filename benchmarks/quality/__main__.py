"""``python -m benchmarks.quality [--quick] [--only NAME] [--write FILE] [--bands]``: the quality suite."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import track

import benchmarks.quality as suite
from benchmarks.quality.bands import outside, read_bands, write_bands
from benchmarks.quality.rows import Row
from benchmarks.quality.suite import modules, rows_of
from benchmarks.quality.table import page, print_table, section
from stream.clock import WallClock


def main() -> int:
    """Run what was asked for; 1 where a figure is worse than its band."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=suite.__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, as the tests do; not for a claim")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="a part of the suite; may be repeated"
    )
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="write what was measured into this page, as Markdown"
    )
    parser.add_argument(
        "--bands", action="store_true", help="with --quick: write the bands of the tests anew"
    )
    asked = parser.parse_args()
    names = modules()
    if wrong := set(asked.only or ()) - set(names):
        parser.error(f"no part is called {', '.join(sorted(wrong))}; there are {', '.join(names)}")
    if asked.bands and not asked.quick:
        parser.error("--bands are those of the quick figures: add --quick")
    console = Console(width=None if sys.stdout.isatty() else 110)
    rows: list[Row] = []
    for name in track(asked.only or names, description="quality", console=console, transient=True):
        found = rows_of(name, asked.quick)
        rows += found
        if not found:
            console.print(f"[yellow]left out[/] {name}: its data or a package is not there")
        elif asked.write is not None:
            # After each part: a long run that is stopped has written what it had.
            before = asked.write.read_text("utf-8") if asked.write.exists() else ""
            today = datetime.fromtimestamp(WallClock().now_ms() / 1_000, UTC).date().isoformat()
            asked.write.write_text(page({name: section(name, found, today)}, before), "utf-8")
    print_table(console, rows)
    if asked.bands:
        write_bands(rows)
    worse = outside(rows, read_bands()) if asked.quick else []
    for line in worse:
        console.print(f"[red]worse[/] {line}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
