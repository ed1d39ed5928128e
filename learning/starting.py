"""What is looked at before anything is served or learned: parts can be built, run here, and do their first
work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from learning.choices import Chosen, chosen_learners, chosen_measures, chosen_policies, chosen_scorers
from learning.errors import SettingsError
from learning.parts import Parts, build_parts
from learning.rows.carried import require_carried, require_framed
from learning.settings import LearningSettings
from stream.errors import PartError

__all__ = ["refusing_parts", "startable_parts"]


def startable_parts(
    settings: LearningSettings,
    sources: Sequence[Chosen] = (),
    *,
    kafka: bool,
    trains: bool,
    learns: bool | None = None,
) -> Parts:
    """Empty parts, as the settings say, that a system can run, embedded or on Kafka; none of them trains.

    Where this process does, or one that it starts (`trains`), what is needed for that is installed; and where
    items are learned (`learns`; as `trains` when left out), what that needs.

    Raises:
        SettingsError: a part cannot be built or trained, is not meant for serving, or would be served
            untrained.

    Example:
        >>> list(startable_parts(LearningSettings(), kafka=True, trains=True).policies)
        ['diag_lin_ucb', 'uniform']
    """
    parts = build_parts(settings)
    listed = (chosen_policies, chosen_learners, chosen_measures, chosen_scorers)
    for one in (*(one for chosen in listed for one in chosen(settings)), *sources):
        if not one.kind.servable:
            msg = (
                f"settings: {one.where}: {one.kind.title} is not for serving (SERVABLE is False); it is for "
                "`freshet replay` and `freshet simulate`"
            )
            raise SettingsError(msg)
        # Looked for and not imported: the process that looks need not be the one that trains.
        missing = one.kind.lacks() if trains else ""
        if trains if learns is None else learns:
            missing = missing or one.kind.lacks_to_learn(one.settings)
        if missing:
            msg = f"settings: {one.where}: {missing}"
            raise SettingsError(msg)
    (require_carried if kafka else require_framed)(parts.policies, parts.more)
    return parts


@contextmanager
def refusing_parts() -> Iterator[None]:
    """For the first work of all, on made-up events: a part that raises already then would always.

    Raises:
        SettingsError: one does.

    Example:
        >>> with refusing_parts():
        ...     raise PartError("part 'mine' raised while it learned: ValueError('no')")
        Traceback (most recent call last):
        learning.errors.SettingsError: part 'mine' raised while it learned: ValueError('no'); that \
was on made-up events, before anything is served: mend it, or take it out of the settings
    """
    try:
        yield
    except PartError as error:
        msg = (
            f"{error}; that was on made-up events, before anything is served: mend it, or take it out of the "
            "settings"
        )
        raise SettingsError(msg) from error
