"""The two protocols that everything stateful in Freshet speaks.

A *step* turns events and time into outputs; an *engine* drives it and commits. A *stateful* part of a step
(an embedding table, a policy, the joiner) can be copied whole and can say which rows it touched since it was
last asked, so that replicas elsewhere follow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from stream.events import LoggedEvent
from stream.frame import Frame

__all__ = ["Measured", "Patient", "Replicated", "Stateful", "Step"]


class Stateful(Protocol):
    """State that can be stored and brought back without changing a bit of what follows."""

    def snapshot(self) -> Frame:
        """A copy of all state; later learning must not alter it."""

    def restore(self, frame: Frame) -> None:
        """Become the state that `snapshot` described, replacing what is here."""


class Replicated(Stateful, Protocol):
    """State that a serving worker keeps a copy of, row by row."""

    def changes(self) -> Frame:
        """The rows touched since the last call, as they are now; forgets that they were touched."""

    def apply(self, frame: Frame) -> None:
        """On a replica: take over the rows of one `changes()`; frames come in commit order."""


class Step(Stateful, Protocol):
    """A plain object: events and time in, records out. No I/O, no clock, no thread.

    The meaning is one event at a time: the same events in one batch or in a thousand give the same bits.
    """

    def on_events(self, events: Sequence[LoggedEvent], *, backfill: bool = False) -> None:
        """Take events in log order; `backfill` names the stream with a watermark of its own."""

    def on_tick(self, now_ms: int, *, backfill: bool = False) -> None:
        """Time has reached `now_ms` on that stream."""

    def take(self) -> Frame:
        """Outputs and changed rows since the last call: what one commit stores beside the new position."""


@runtime_checkable
class Measured(Protocol):
    """A step that passes on when the events behind its outputs were accepted; it learns nothing of it."""

    def accepted(self, times: Sequence[int]) -> None:
        """When each event of the next `on_events` was accepted, wall ms; 0: not known."""


@runtime_checkable
class Patient(Protocol):
    """A step some of whose work may wait until there is time, and shows in a later `take`.

    What comes of it is the same whenever that is, and a snapshot has what waits.
    """

    @property
    def waits(self) -> bool:
        """Whether there is some."""

    def work(self) -> None:
        """Do some of it, a few milliseconds at most. Not called while a log is run again."""
