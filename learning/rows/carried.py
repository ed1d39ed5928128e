"""Which parts the rows on Kafka can carry: what nothing carries is refused at startup, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from learners.part import PartSpec
from learning.errors import SettingsError
from stream.frame import Frame

__all__ = ["is_carried", "require_carried"]


class _Stateful(Protocol):
    @property
    def spec(self) -> PartSpec: ...

    def snapshot(self) -> Frame: ...


def is_carried(part: _Stateful) -> bool:
    """Whether what a part learns comes to the servers: its specification says what, or it learns nothing.

    Example:
        >>> from bandits import LinUcb, Uniform
        >>> is_carried(Uniform()), is_carried(LinUcb(4))
        (True, True)
    """
    return bool(part.spec.sides) or not part.snapshot()


def require_carried(policies: Mapping[str, _Stateful]) -> None:
    """Refuse policies that would learn on the shards and never reach a server.

    Raises:
        SettingsError: names them.

    Example:
        >>> from bandits.arms import ArmCounts
        >>> class Alone(ArmCounts):
        ...     spec = PartSpec()
        >>> require_carried({"alone": Alone()})
        Traceback (most recent call last):
            ...
        learning.errors.SettingsError: settings: policy: alone cannot run on Kafka: its `spec` names no \
columns, so servers would play it untrained; write them, or use `freshet up`
    """
    lost = [name for name, policy in policies.items() if not is_carried(policy)]
    if lost:
        msg = (
            f"settings: policy: {', '.join(lost)} cannot run on Kafka: its `spec` names no columns, so "
            "servers would play it untrained; write them, or use `freshet up`"
        )
        raise SettingsError(msg)
