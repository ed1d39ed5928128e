"""What a replay could not use or could not tell, and why, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from replay.drive import Driven
from replay.off_policy import LEFT_OUT
from replay.prequential import PrequentialResult
from stream.join_settings import OUTCOMES, JoinSettings

__all__ = ["left_out_note", "policy_note", "prediction_notes", "refused_note", "unused_note"]

_UNUSED = (
    "late",
    "duplicate",
    "conflicting_decision",
    "superseded",
    "expired_decision",
    "unknown_kind",
    "unrewarded",
    "excess",
    "forgotten",
)
_WORTH_SAYING = 0.01
_KINDS = {"ItemEvent": "item"}


def unused_note(driven: Driven, join: JoinSettings, skipped: int = 0, unit: str = "rows") -> str:
    """How much of a log was not used and why, from one row in a hundred on; empty where it was.

    Example:
        >>> driven = Driven(events=100, outcomes={"late": 98}, leap=(2, 0, 4_102_444_800_000))
        >>> print(unused_note(driven, JoinSettings()))
        98 % of the log was not used: 98 of 100 rows. 98 late (events older than the watermark less the \
allowed lateness of 10 minutes): sort the log by ts. Event 2 moved time on by 1,139,568.0 hours, from \
1970-01-01 00:00 to 2100-01-01 00:00: is its clock right?
    """
    counts = {name: n for name in _UNUSED if (n := driven.outcomes.get(name, 0))}
    if skipped:
        counts["unreadable"] = skipped
    total, unused = driven.events + skipped, sum(counts.values())
    if not total or unused < _WORTH_SAYING * total:
        return ""
    reasons = "; ".join(f"{n:,} {_why(name, join)}" for name, n in counts.items())
    said = f"{_share(unused, total)} of the log was not used: {unused:,} of {total:,} {unit}. {reasons}."
    if counts.get("late") and _is_one_event(driven, join):
        said = f"{said} {_leap(driven)}"
    return said


def refused_note(refused: int, rows: int) -> str:
    """How many rows of a file were refused where a row may be several events; empty below one in a hundred.

    Example:
        >>> refused_note(17, 100), refused_note(1, 1_000)
        ('17 % of the file was not used: 17 of 100 rows were refused (see the reasons)', '')
    """
    if not rows or refused < _WORTH_SAYING * rows:
        return ""
    said = f"{refused:,} of {rows:,} rows {'was' if refused == 1 else 'were'} refused (see the reasons)"
    return f"{_share(refused, rows)} of the file was not used: {said}"


def _why(name: str, join: JoinSettings) -> str:
    if name == "late":
        minutes = join.lateness_ms / 60_000
        return f"late ({OUTCOMES[name]} of {minutes:g} minutes): sort the log by ts"
    if name == "unreadable":
        return "unreadable (see the reasons)"
    return f"{name.replace('_', ' ')} ({OUTCOMES[name]})"


def _is_one_event(driven: Driven, join: JoinSettings) -> bool:
    """Whether a single event moved time on by more than all others together, and so made others late."""
    _, before, after = driven.leap
    return after - before > max(join.lateness_ms, (driven.last_ts - driven.first_ts) // 2)


def _leap(driven: Driven) -> str:
    number, before, after = driven.leap
    hours = (after - before) / 3_600_000
    return (
        f"Event {number:,} moved time on by {hours:,.1f} hours, from {_date(before)} to {_date(after)}: is "
        "its clock right?"
    )


def _date(ts: int) -> str:
    return f"{datetime.fromtimestamp(ts / 1000, UTC):%Y-%m-%d %H:%M}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %"


def prediction_notes(driven: Driven, scored: PrequentialResult) -> list[str]:
    """Why nothing was predicted, or no order within slates was scored.

    Example:
        >>> prediction_notes(Driven(events=3, kinds={"ItemEvent": 3}), PrequentialResult(20))
        ['nothing was predicted: the log holds no click (3 items)', \
'no AUC: no slate was shown (an impression, or a decision, of items)']
    """
    notes = []
    if not scored.positives:
        clicks = driven.kinds.get("Click", 0)
        why = f"no click of {clicks:,} is a positive; see JOIN" if clicks else "the log holds no click"
        notes.append(f"nothing was predicted: {why} ({_contents(driven)})")
    if not scored.slates_with_auc:
        shown = driven.outcomes.get("shown", 0)
        why = (
            f"no slate of {shown:,} has both an item that was clicked and one that was not"
            if shown
            else "no slate was shown (an impression, or a decision, of items)"
        )
        notes.append(f"no AUC: {why}")
    return notes


def _contents(driven: Driven) -> str:
    held = [f"{n:,} {_KINDS.get(kind, kind.lower())}{'s' * (n > 1)}" for kind, n in driven.kinds.items()]
    return ", ".join(held) or "no event at all"


def policy_note(driven: Driven, left_out: Mapping[str, int]) -> str:
    """Why there is no table of what policies would have earned.

    Example:
        >>> policy_note(Driven(events=2, kinds={"Click": 2}), {})
        'no policy was evaluated: the log holds no decision and no impression (2 clicks)'
    """
    if any(left_out.values()):
        return f"no policy was evaluated: {left_out_note(left_out)}"
    if driven.kinds.get("Decision") or driven.kinds.get("Impression"):
        unused = "none of its decisions and impressions counts as shown; see JOIN"
        return f"no policy was evaluated: {unused} ({_contents(driven)})"
    return f"no policy was evaluated: the log holds no decision and no impression ({_contents(driven)})"


def left_out_note(left_out: Mapping[str, int]) -> str:
    """What was left out of the comparison of policies, and why; empty where nothing was.

    Example:
        >>> left_out_note({"never_shown": 3})
        '3 slates were left out: decisions that were never shown (3)'
    """
    counts = {name: n for name, n in left_out.items() if n}
    if not counts:
        return ""
    reasons = "; ".join(f"{LEFT_OUT[name]} ({n:,})" for name, n in counts.items())
    total = sum(counts.values())
    return f"{total:,} {'slate was' if total == 1 else 'slates were'} left out: {reasons}"
