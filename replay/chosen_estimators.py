"""The estimators that the settings choose, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from learners.world import World
from learning.catalogue import Kinds
from learning.choices import build_chosen, chosen_parts
from learning.errors import SettingsError
from replay.estimator import Estimator

__all__ = ["ESTIMATORS", "REPORTED", "build_estimators", "estimator_entries"]

ESTIMATORS = Kinds("estimators", "replay.estimators", serves=False)

REPORTED = frozenset(
    {
        "rounds", "effective_sample_size", "rewarded", "effective_rewarded", "max_weight_share",
        "unsupported_share", "mean_weight", "left_out", "warnings",
    }
)  # fmt: skip
"""What a report says of a log beside its estimates: no estimator may be called so."""

_DEFAULT = ("ips", "snips")


def estimator_entries(
    entries: Sequence[Mapping[str, Any]], names: Sequence[str] = ()
) -> Sequence[Mapping[str, Any]]:
    """The entries of `[[estimators]]`, IPS and SNIPS where there are none; with `names` only these, each a
    name among the entries or else a kind.

    Raises:
        SettingsError: a name is neither.

    Example:
        >>> [entry["kind"] for entry in estimator_entries(())]
        ['ips', 'snips']
        >>> estimator_entries([{"kind": "ips", "name": "plain"}], ["beta_ips", "plain"])
        [{'kind': 'beta_ips'}, {'kind': 'ips', 'name': 'plain'}]
    """
    known = entries or [{"kind": kind} for kind in _DEFAULT]
    if not names:
        return known
    named = {str(entry.get("name") or entry.get("kind")): entry for entry in known}
    return [named[name] if name in named else _of_kind(name, list(named)) for name in dict.fromkeys(names)]


def _of_kind(name: str, known: list[str]) -> Mapping[str, Any]:
    try:
        ESTIMATORS.load(name)
    except SettingsError as error:
        msg = f"estimator {name!r} is not configured ({', '.join(known)}), and {error}"
        raise SettingsError(msg) from error
    return {"kind": name}


def build_estimators(entries: Sequence[Mapping[str, Any]] = ()) -> dict[str, Estimator]:
    """The estimators by name, in the order of their entries; IPS and SNIPS where there are none.

    Raises:
        SettingsError: an entry does not fit, or its estimator cannot be built.

    Example:
        >>> list(build_estimators([{"kind": "snips"}, {"kind": "ips", "name": "plain"}]))
        ['snips', 'plain']
    """
    chosen = chosen_parts(ESTIMATORS, estimator_entries(entries))
    if taken := next((one for one in chosen if one.name in REPORTED), None):
        msg = f"settings: {taken.where}.name: reports say something else by {taken.name!r}; take another"
        raise SettingsError(msg)
    return build_chosen(chosen, World(), Estimator)
