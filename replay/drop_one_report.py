"""Which features carry the order, as bars in the terminal and numbers for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from replay.drop_one import DropOne, Dropped
from replay.report import cells, numbers

__all__ = ["drop_one_json", "leak_notes", "print_drop_one"]

_BAR = 16
_SMALL, _MOST_SHARES = 0.01, 6
_BLOCKS = " ▏▎▍▌▋▊▉█"


def drop_one_json(found: DropOne) -> dict[str, Any]:
    """What the log loss of the click gains without each feature and each scorer, the largest first."""
    return {
        "lists": found.lists,
        "left_out": found.left_out,
        "mixture": dict(found.shares),
        "features": [
            {"name": each.name, "loss": numbers(each.loss), "auc_alone": each.alone, "is_leak": each.is_leak}
            for each in found.features()
        ],
        "scorers": [{"name": each.name, "loss": numbers(each.loss)} for each in found.scorers()],
    }


def leak_notes(found: DropOne) -> list[str]:
    """A sentence for each feature that knows the click nearly always."""
    return [
        f"feature {each.name} alone tells which item was clicked (AUC {each.alone:.3f}): is it known before "
        "the click? If not, it is of no use when a list is shown; leave it out."
        for each in found.features()
        if each.is_leak
    ]


def print_drop_one(console: Console, found: DropOne) -> None:
    """Bars of the features and of the scorers, longest first; nothing where no list was scored."""
    if not found.lists:
        return
    title = f"log loss of the click gained without it, over {found.lists:,} lists"
    # The same throughout each list, as the columns of numbers that nothing carries, or without weight.
    idle = [each.name for each in found.features() if each.loss == (0.0, 0.0, 0.0) and not each.is_leak]
    console.print(_bars("feature", [each for each in found.features() if each.name not in idle], title))
    if idle:
        console.print(escape(f"say nothing here: {', '.join(idle)}"))
    console.print()
    console.print(_bars("scorer (all its features)", found.scorers(), ""))
    if found.shares:
        told = [f"{name} {share:.2f}" for name, share in found.shares.items() if share >= _SMALL][
            :_MOST_SHARES
        ]
        console.print(escape(f"at the end of the log the mixture goes by {', '.join(told)}"))


def _bars(head: str, found: Sequence[Dropped], title: str) -> Table:
    table = Table(title=title or None, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column(head)
    table.add_column("without it", justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    table.add_column("", no_wrap=True)
    has_alone = any(each.alone is not None for each in found)
    if has_alone:
        table.add_column("AUC alone", justify="right")
    most = max((each.loss.mean for each in found), default=0.0)
    for each in found:
        mean, interval = cells(each.loss)
        alone = [] if not has_alone else ["" if each.alone is None else f"{each.alone:.3f}"]
        style = "red" if each.is_leak else None
        table.add_row(escape(each.name), mean, interval, _bar(each.loss.mean, most), *alone, style=style)
    return table


def _bar(value: float, most: float) -> str:
    """A bar of up to sixteen characters, in eighths of one; none for what is not above 0.

    Example:
        >>> _bar(0.5, 2.0), _bar(0.11, 2.0), _bar(-1.0, 2.0)
        ('████', '▉', '')
    """
    eighths = round(8 * _BAR * max(value, 0.0) / most) if most > 0 else 0
    return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()
