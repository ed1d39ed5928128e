"""New items that fit the user by what they are, before anybody has clicked them."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from learners.ask import Ask
from learners.parts.content_map import ContentMap
from learners.world import World
from serving.item_index import ItemIndex
from serving.source import NO_ROWS, Role, Source

__all__ = ["Kindred", "Settings", "build", "needs"]

Int32 = npt.NDArray[np.int32]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    of: str = "content_map"
    """The learner whose map it reads."""
    size: Annotated[int, msgspec.Meta(ge=0)] = 20
    """Items that it offers, at most; 0 switches it off."""
    youngest: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 512
    """The newest items that it looks at, at most."""
    below: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    """Feedback from which an item is no longer new: then others find it."""


class Kindred(Source):
    """Scores the youngest items with content and little feedback, all at once: there is no second index.

    Bounded: it keeps the rows of at most `youngest` items between two changes of what is learned.
    """

    role: Role = "personal"

    def __init__(self, settings: Settings, index: ItemIndex, content: ContentMap) -> None:
        self._settings, self._index, self._content = settings, index, content
        self._rows: Int32 | None = None

    def refresh(self) -> None:
        """Something was learned or sent: forget which items are new."""
        self._rows = None

    def offer(self, ask: Ask) -> Int32:
        """New items by the score of their content, best first; of equal ones the newer."""
        size = self._settings.size
        if size == 0 or ask.vector is None:
            return NO_ROWS
        if self._rows is None:
            self._rows = self._new()
        rows = self._rows[~np.isin(self._rows, ask.blocked)] if ask.blocked.size else self._rows
        best = np.argsort(-self._content.scores(ask.vector, rows), kind="stable")
        # Of which groups they are is looked at later, for all sources at once.
        return rows[best[:size] if ask.groups is None else best]

    def _new(self) -> Int32:
        rows = self._index.newest[: self._settings.youngest]
        rows = rows[self._content.has_content(rows)]
        return rows[self._content.feedback(rows) < self._settings.below]


def needs(settings: Settings) -> dict[str, type]:
    """The parts that it reads, and what they must be."""
    return {"index": object, settings.of: ContentMap}


def build(settings: Settings, world: World) -> Kindred:
    """Make it from the parts of this worker."""
    return Kindred(settings, world.parts["index"], world.parts[settings.of])
