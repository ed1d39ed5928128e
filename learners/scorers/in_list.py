"""How an item stands in a list that somebody else made: its place, and its numbers among the others'."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from learners.ask import Ask
from learners.catalogue import Catalogue
from learners.errors import LearnerError
from learners.item_numbers import ItemNumbers
from learners.ops.in_list import place_features, standing
from learners.world import World

__all__ = ["InList", "Settings", "build", "needs"]

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    numbers: Annotated[tuple[Name, ...], msgspec.Meta(max_length=16)] = ("price",)
    """Numbers of `item_context`, or of items' attributes, that have features of their own."""
    more: Annotated[int, msgspec.Meta(ge=0, le=16)] = 3
    """Slots for all other numbers, by a hash of their names; name those that matter in `numbers`."""
    weight: float = 0.0
    """Starting weight of each."""


class InList:
    """Of lists that somebody else made, and NaN throughout for other candidates:

    * `list_place`: minus the log of the place as displayed, from 1; `list_first`: 1 for the first one;
    * for each of `numbers`, here `price`: `list_price_rank`, minus the log of 1 + how many items of the list
      have a lower one, and `list_price_z`, how many standard deviations its logarithm lies above their mean;
    * `list_number_1_rank`, `list_number_1_z`, …: the same for other numbers, by a hash of their names.

    A number is one of the item's `item_context`, or else an attribute of the catalogue (where the learner has
    that: not on Kafka). A number that is missing, a word or not finite has NaN.

    Example:
        >>> from learners.ask import Listed
        >>> scorer = InList(Settings(more=0), Catalogue())
        >>> listed = Listed(np.array([3, 9], np.int32), [{"price": 20.0}, {"price": 10.0}])
        >>> scorer.names
        ('list_place', 'list_first', 'list_price_rank', 'list_price_z')
        >>> scorer.features(Ask(0, 5, listed=listed), listed.rows).astype(float).round(2).tolist()
        [[0.0, 1.0, -0.69, 1.0], [-0.69, 0.0, 0.0, -1.0]]
        >>> scorer.features(Ask(0, 5), listed.rows)[0].tolist()
        [nan, nan, nan, nan]
    """

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        slots = [*settings.numbers, *(f"number_{n + 1}" for n in range(settings.more))]
        if twice := sorted({name for name in slots if slots.count(name) > 1}):
            msg = f"in_list: numbers: {twice[0]!r} stands twice, or is the name of a slot"
            raise LearnerError(msg)
        self._numbers = ItemNumbers(catalogue, settings.numbers, settings.more)
        self._has_numbers = bool(slots)
        of_each = (f"list_{name}_{what}" for name in slots for what in ("rank", "z"))
        self.names = ("list_place", "list_first", *of_each)
        self.weights = (settings.weight,) * len(self.names)

    def features(self, ask: Ask, rows: Int32) -> Float32:
        """See `learners.scorer.Scorer`."""
        out = np.empty((rows.size, len(self.names)), np.float32)
        if ask.listed is None or rows is not ask.listed.rows:
            out[:] = np.nan
            return out
        place_features(out)
        if self._has_numbers:
            standing(self._numbers(rows, ask.listed.contexts), out[:, 2:])
        return out


def needs(settings: Settings) -> dict[str, type]:  # noqa: ARG001
    """The parts that it reads, and what they must be."""
    return {"catalogue": Catalogue}


def build(settings: Settings, world: World) -> InList:
    """Make it from the parts of this process."""
    return InList(settings, world.parts["catalogue"])
