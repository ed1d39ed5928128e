"""Which policies the rows on Kafka can carry: what nothing carries is refused at startup, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bandits import DiagLinUcb, Policy
from bandits.arms import ArmCounts
from learning.errors import SettingsError

__all__ = ["Carrier", "carrier_of", "require_carried"]

Carrier = Literal["edges", "arms", "nothing"]
"""What of a `PolicyRow` holds a policy's state: its edges, its arms; `nothing` where there is no state."""

_COLUMNS: Mapping[Carrier, frozenset[str]] = {
    "edges": frozenset({"version", "rows", "shown", "edges", "clusters", "b", "d", "retired"}),
    "arms": frozenset({"rows", "shown", "reward"}),
}
"""The columns that followers are given (`follow_policies`); `control` names retired clusters."""


def carrier_of(policy: Policy) -> Carrier | None:
    """What carries a policy's state from the shards to the servers; None where nothing does.

    A policy that keeps columns which no row has is not carried, whatever its class.

    Example:
        >>> from bandits import LinUcb, Uniform
        >>> carrier_of(Uniform()), carrier_of(LinUcb(4))
        ('nothing', None)
    """
    columns = policy.snapshot().keys()
    if not columns:
        return "nothing"
    if isinstance(policy, DiagLinUcb) and columns <= _COLUMNS["edges"]:
        return "edges"
    if isinstance(policy, ArmCounts) and columns <= _COLUMNS["arms"]:
        return "arms"
    return None


def require_carried(policies: Mapping[str, Policy]) -> None:
    """Refuse policies that would learn on the shards and never reach a server.

    Raises:
        SettingsError: names them.

    Example:
        >>> from bandits import LinUcb, Uniform
        >>> require_carried({"uniform": Uniform(), "lin_ucb": LinUcb(4)})
        Traceback (most recent call last):
            ...
        learning.errors.SettingsError: settings: policy: lin_ucb cannot run on Kafka: no row carries what it \
learns, so servers would play it untrained; take it out of [policy] name and others, or use `freshet up`
    """
    found = {name: carrier_of(policy) for name, policy in policies.items()}
    # A row has edges of one policy.
    edges = [name for name, carrier in found.items() if carrier == "edges"][1:]
    lost = [name for name, carrier in found.items() if carrier is None] + edges
    if lost:
        msg = (
            f"settings: policy: {', '.join(lost)} cannot run on Kafka: no row carries what it learns, so "
            "servers would play it untrained; take it out of [policy] name and others, or use `freshet up`"
        )
        raise SettingsError(msg)
