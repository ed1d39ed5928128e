"""Which parts rows and frames can carry: what nothing carries is refused at startup, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from learners.part import Part, PartSpec
from learning.errors import SettingsError
from stream.frame import Frame

__all__ = ["is_carried", "require_carried", "require_framed"]

_HOOKS = ("learn_users", "learn_items", "learn_both", "learn_lists")
_NO_COLUMNS = {
    "policy": "its `spec` names no columns, so servers would play it untrained; write them",
    "learner": "its `spec` names no columns, so servers would read it untrained; write them",
}
_NO_LEARNERS: Mapping[str, Part] = {}


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


def require_carried(policies: Mapping[str, _Stateful], learners: Mapping[str, Part] = _NO_LEARNERS) -> None:
    """Refuse policies and learners that would learn on the shards and never reach a server.

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
columns, so servers would play it untrained; write them
    """
    for what, parts in (("policy", policies), ("learner", learners)):
        _refuse(what, [name for name, part in parts.items() if not is_carried(part)], _NO_COLUMNS[what])
    _refuse(
        "learner",
        [name for name, part in learners.items() if _learns_rows_of_lists(part)],
        "it learns columns of users or items in `learn_lists` alone, and there lists name neither on Kafka; "
        "keep shared columns, learn the others in `learn_users` and `learn_items`, or use `freshet up`",
    )


def require_framed(policies: Mapping[str, Part], learners: Mapping[str, Part]) -> None:
    """Refuse those that would learn embedded and never reach a worker: without columns and without a
    `changes` of their own.

    Raises:
        SettingsError: names them.
    """
    for what, parts in (("policy", policies), ("learner", learners)):
        lost = [name for name, p in parts.items() if not is_carried(p) and type(p).changes is Part.changes]
        _refuse(what, lost, _NO_COLUMNS[what], "be served")


def _refuse(what: str, names: Iterable[str], why: str, cannot: str = "run on Kafka") -> None:
    # In `Parts` the name of a learner may say its kind as well.
    if named := ", ".join(name.partition(":")[0] for name in names):
        msg = f"settings: {what}: {named} cannot {cannot}: {why}"
        raise SettingsError(msg)


def _learns_rows_of_lists(part: Part) -> bool:
    own = {hook for hook in _HOOKS if getattr(type(part), hook) is not getattr(Part, hook)}
    return own == {"learn_lists"} and not part.spec.sides.keys() <= {"shared"}
