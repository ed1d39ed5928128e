"""Rows as a table in the terminal, and as `docs/results.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table

from benchmarks.quality.rows import Row

__all__ = ["page", "print_table", "section"]

_COLUMNS = ("name", "mean", "95 % interval", "seeds")
_HEAD = """\
# Results

How well each policy and learner learns, with default settings, measured by

```
make install-bench
.venv/bin/python -m benchmarks.quality --write docs/results.md
```

which wrote this page; do not edit it. A figure is a mean over seeds with its 95 % interval (Student's t). On
planted worlds a seed draws the world; on tables it draws the order; on logs of ratings it takes a random half
of the users. Baselines stand in the same pass. Nothing was tuned on the real logs and tables. A part of the
suite whose data or package is not there is left out; `--only NAME --write docs/results.md` measures one part
and leaves the others as they stand, so each says when it was measured.
"""
_MARK = "<!-- part: "


def print_table(console: Console, rows: Sequence[Row]) -> None:
    """One table a world and metric."""
    for (world, metric), group in _grouped(rows):
        table = Table(title=f"{world}: {metric}", title_justify="left")
        for n, column in enumerate(_COLUMNS):
            table.add_column(column, justify="right" if n else "left")
        for row in group:
            table.add_row(*_cells(row))
        console.print(table)


def section(name: str, rows: Sequence[Row], measured_on: str) -> str:
    """What the page says of one part of the suite.

    Example:
        >>> from benchmarks.quality.rows import summary
        >>> text = section("worlds", [summary("clusters", "thompson", "regret", [1.0, 3.0])], "2026-11-28")
        >>> text.splitlines()[0], text.splitlines()[-1]
        ('*worlds*, measured on 2026-11-28', '| thompson | 2 | -10.7 to 14.7 | 2 |')
    """
    lines = [f"*{name}*, measured on {measured_on}"]
    for (world, metric), group in _grouped(rows):
        better = "more" if group[0].higher_is_better else "less"
        lines += ["", f"## {world}: {metric} ({better} is better)", ""]
        lines += ["| | mean | 95 % interval | seeds |", "|---|---:|---:|---:|"]
        lines += [f"| {' | '.join(_cells(row))} |" for row in group]
    return "\n".join(lines)


def page(sections: Mapping[str, str], before: str = "") -> str:
    """The page with these sections, and those that it had `before` of other parts.

    Example:
        >>> first = page({"worlds": "one", "drift": "two"})
        >>> page({"worlds": "three"}, first) == page({"drift": "two", "worlds": "three"})
        True
    """
    _, *found = before.split(_MARK)
    parts = {name: text.strip() for name, text in (each.split(" -->\n", 1) for each in found)}
    parts |= sections
    return _HEAD + "".join(f"\n{_MARK}{name} -->\n\n{text}\n" for name, text in sorted(parts.items()))


def _grouped(rows: Sequence[Row]) -> list[tuple[tuple[str, str], list[Row]]]:
    """Rows by world and metric, the best first."""

    def group_of(row: Row) -> tuple[str, str]:
        return row.world, row.metric

    order = list(dict.fromkeys(map(group_of, rows)))
    groups = groupby(sorted(rows, key=lambda row: order.index(group_of(row))), key=group_of)
    return [
        (which, sorted(group, key=lambda row: -row.mean if row.higher_is_better else row.mean))
        for which, group in groups
    ]


def _cells(row: Row) -> tuple[str, str, str, str]:
    return row.name, _number(row.mean), f"{_number(row.low)} to {_number(row.high)}", str(row.seeds)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}" if abs(value) >= 1 else f"{value:.4f}"
