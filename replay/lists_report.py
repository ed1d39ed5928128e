"""Whether Freshet's order of lists beats the simple ones: a sentence, two tables, and numbers for scripts."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monitor import Interval
from replay.drive import Driven
from replay.lists import FRESHET, LIST_METRICS, ListsResult
from replay.paired import PairedSums
from replay.report import numbers

__all__ = ["Verdict", "lists_json", "print_lists", "print_verdict", "verdict", "without_clicks"]

_MRR, _AUC, _LOSS = (LIST_METRICS.index(name) for name in ("mrr", "auc", "log_loss"))
_FEW = 30
"""From so many lists on an interval may be believed."""
_PERFECT = 0.98
"""From this MRR on in long lists a feature rather knows the click than foretells it."""
_HEADS = ("MRR", "NDCG@5", "NDCG@10", "hit@1", "hit@5", "AUC")


class Verdict(NamedTuple):
    """Whether Freshet's order beats the simple ones on some lists, by MRR.

    `best` is the simple order with the largest MRR, `hardest` the one that Freshet is least surely above, and
    `minus` what Freshet has above `best`. `outcome` is ``above`` (of every simple order, each interval above
    0), ``below`` (of one, its interval below 0), ``level`` (neither can be told) or ``few`` (fewer than 30
    lists that can tell). `against` says in words which simple order is above it by AUC, where there is one,
    and `doubt` what makes it look too good. Of `lists` with a click those are `telling` that have an item
    without one, too: in the others all orders are alike.
    """

    outcome: str
    best: str
    hardest: str
    against: str
    ours: float
    theirs: float
    minus: Interval
    lists: int = _FEW
    telling: int = _FEW
    doubt: str = ""


def verdict(found: ListsResult, sums: PairedSums) -> Verdict | None:
    """The verdict on some of the lists; None without a list or a simple order."""
    others = range(1, len(found.orders))
    differences = {at: minus for at in others if (minus := sums.minus(at, _MRR)) is not None}
    if not differences:
        return None
    best = max(differences, key=lambda at: sums.mean(at, _MRR))
    hardest = min(differences, key=lambda at: differences[at].low)
    telling = sums.count(0, _AUC)
    if telling < _FEW:
        outcome = "few"
    elif any(each.high < 0.0 for each in differences.values()):
        outcome = "below"
    else:
        outcome = "above" if differences[hardest].low > 0.0 else "level"
    names = found.orders
    ours, theirs, against = sums.mean(0, _MRR), sums.mean(best, _MRR), _against(found, sums)
    doubt = _doubt(found) if sums is found.whole else ""
    minus = differences[best]
    return Verdict(
        outcome, names[best], names[hardest], against, ours, theirs, minus, sums.lists, telling, doubt
    )


def _against(found: ListsResult, sums: PairedSums) -> str:
    """The simple order with the largest AUC, if it is surely above Freshet's; else nothing."""
    best = max(range(1, len(found.orders)), key=lambda at: np.nan_to_num(sums.mean(at, _AUC)))
    minus = sums.minus(best, _AUC)
    if minus is None or minus.high >= 0.0:
        return ""
    return f"{sums.mean(0, _AUC):.3f}, {found.orders[best]} {sums.mean(best, _AUC):.3f}"


def _doubt(found: ListsResult) -> str:
    """That the order of long lists is nearly perfect, if it is, and where to look; else nothing."""
    if found.n_long < _FEW or found.mrr_long < _PERFECT * found.n_long:
        return ""
    if found.without is not None:
        return "that is nearly perfect: see above whether a feature knows the click"
    return "that is nearly perfect: see --features, which says whether a feature knows the click"


_SENTENCES = {
    "above": "On your log Freshet's order beats every simple order",
    "below": "On your log Freshet's order does not beat the simple orders",
    "level": "On your log it cannot be told whether Freshet's order beats every simple order",
    "few": "There are too few lists with a click to tell whether Freshet's order beats the simple orders",
}


def _sentence(found: Verdict) -> str:
    """The verdict in plain words.

    Example:
        >>> minus = Interval(0.16, 0.15, 0.17)
        >>> print(_sentence(Verdict("above", "click rate", "click rate", "", 0.61, 0.45, minus)))
        On your log Freshet's order beats every simple order: MRR 0.610, the best of them (click rate) \
0.450, difference 0.160 [0.150, 0.170].
    """
    if not found.telling:
        return (
            f"Nothing can be said of the order: lists of one item cannot tell anything, and none of the "
            f"{_lists(found.lists)} with a click has an item that was not clicked."
        )
    minus = found.minus
    said = (
        f"{_SENTENCES[found.outcome]}{_needed(found)}: MRR {found.ours:.3f}, the best of them ({found.best}) "
        f"{found.theirs:.3f}, difference {minus.mean:.3f} [{minus.low:.3f}, {minus.high:.3f}]"
    )
    said += f"; {found.doubt}." if found.doubt else "."
    if found.outcome == "level" and found.hardest != found.best:
        said += f" Hardest to tell from: {found.hardest}."
    if found.outcome == "above" and found.against:
        said += f" By AUC, which looks at the whole list, it does not: {found.against}."
    return said


def _needed(found: Verdict) -> str:
    """How many lists there are and how many are needed, where there are too few."""
    if found.outcome != "few":
        return ""
    alike = found.lists - found.telling
    more = f"; in {alike:,} more every item was clicked, as in lists of one item, which cannot tell"
    return f" ({found.telling:,} of the {_FEW} that are needed{more if alike else ''})"


def _lists(n: int) -> str:
    return f"{n:,} list{'s' * (n != 1)}"


def without_clicks(found: ListsResult, driven: Driven) -> str:
    """Why nothing can be said where lists were shown and none has a click; else nothing.

    Example:
        >>> driven = Driven(kinds={"Click": 60}, outcomes={"not_in_slate": 60})
        >>> print(without_clicks(ListsResult(shown=60), driven))
        60 lists were shown and none had a click on one of its items (60 clicks named items that were not in \
their list): nothing can be said of the order.
    """
    if found.whole.lists or not found.shown:
        return ""
    looked = "shown" if found.every == 1 else f"looked at, one in {found.every:,}"
    were = "was" if found.shown == 1 else "were"
    return (
        f"{_lists(found.shown)} {were} {looked} and none had a click on one of its items "
        f"({_clicks_elsewhere(driven)}): nothing can be said of the order."
    )


def _clicks_elsewhere(driven: Driven) -> str:
    """What became of the clicks that met no list."""
    clicks, strangers = driven.kinds.get("Click", 0), driven.outcomes.get("not_in_slate", 0)
    if not clicks:
        return "the log holds no click"
    if strangers == 1:
        return "1 click named an item that was not in its list"
    if strangers:
        return f"{strangers:,} clicks named items that were not in their list"
    return f"see JOIN for what became of the {clicks:,} click{'s' * (clicks > 1)}"


def lists_json(found: ListsResult) -> dict[str, Any] | None:
    """All figures: for each part of the lists the verdict, and the metrics of every order with what Freshet
    has above it. None where no list has a click."""
    if not found.whole.lists:
        return None
    return {
        "lists": found.whole.lists,
        "clicks_without_score": found.unscored,
        "parts": {name: _part_json(found, sums) for name, sums in found.by_part().items() if sums.lists},
    }


def _part_json(found: ListsResult, sums: PairedSums) -> dict[str, Any]:
    told = verdict(found, sums)
    orders: dict[str, Any] = {}
    for at, name in enumerate(found.orders):
        orders[name] = {
            metric: numbers(sums.interval(at, m, None if m == _LOSS else (0.0, 1.0)))
            for m, metric in enumerate(LIST_METRICS)
        }
        if at:
            orders[name]["freshet_minus_it"] = {
                metric: numbers(sums.minus(at, m, None if m == _LOSS else (-1.0, 1.0)))
                for m, metric in enumerate(LIST_METRICS)
            }
    return {
        "lists": sums.lists,
        "verdict": None
        if told is None
        else {"outcome": told.outcome, "best": told.best, "text": _sentence(told)},
        "orders": orders,
    }


def print_lists(console: Console, found: ListsResult) -> None:
    """Freshet and the simple orders over all lists, and Freshet beside the best of them in each part;
    nothing where no list has a click."""
    if verdict(found, found.whole) is None:
        return
    for table in (_orders_table(found), _parts_table(found)):
        console.print()
        console.print(table)
    if found.whole.count(0, _LOSS):
        console.print(_loss_line(found))


def print_verdict(console: Console, found: ListsResult, driven: Driven) -> None:
    """The sentence, or why there is none; nothing where no list was shown."""
    told = verdict(found, found.whole)
    colour = {"above": "green", "below": "red"}.get(told.outcome, "yellow") if told else "yellow"
    said = _sentence(told) if told else without_clicks(found, driven)
    if said:
        console.print(f"[{colour}]lists[/] {escape(said)}")


def _orders_table(found: ListsResult) -> Table:
    sums = found.whole
    table = _table(f"order within {sums.lists:,} lists with a click, each scored before it was learned")
    table.add_column("order", no_wrap=True)
    for head in (*_HEADS, "Freshet's MRR less it"):
        table.add_column(head, justify="right", no_wrap=True)
    for at in sorted(range(len(found.orders)), key=lambda at: -sums.mean(at, _MRR)):
        values = [_figure(sums.mean(at, m)) for m in range(len(_HEADS))]
        style = "bold" if at == 0 else None
        table.add_row(found.orders[at], *values, _difference(sums.minus(at, _MRR)) if at else "", style=style)
    return table


def _parts_table(found: ListsResult) -> Table:
    table = _table("MRR by part of the log")
    table.add_column("lists")
    for head in ("number", FRESHET, "best simple one", "has", "Freshet's less it"):
        justify: Literal["left", "right"] = "left" if head == "best simple one" else "right"
        table.add_column(head, justify=justify, no_wrap=True)
    for name, sums in found.by_part().items():
        told = verdict(found, sums)
        if told is not None:
            cells = _figure(told.ours), told.best, _figure(told.theirs), _difference(told.minus)
            table.add_row(escape(name), f"{sums.lists:,}", *cells)
    return table


def _table(title: str) -> Table:
    """Narrow enough for a terminal of 80 columns."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)


def _loss_line(found: ListsResult) -> str:
    sums = found.whole
    ours, alike = (sums.mean(at, _LOSS) for at in (0, len(found.orders) - 1))
    n = sums.count(0, _LOSS)
    return f"log loss of the click over {n:,} lists: Freshet {ours:.3f}, all items alike {alike:.3f}"


def _figure(value: float) -> str:
    return "" if value != value else f"{value:.3f}"


def _difference(value: Interval | None) -> str:
    return "" if value is None else escape(f"{value.mean:+.3f} [{value.low:.3f}, {value.high:.3f}]")
