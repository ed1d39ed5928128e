"""What JOIN hands to learning: outcomes in order, as columns.

JOIN turns events into *segments*, in order: `FeedbackBlock` (outcomes of shown items and organic clicks),
`ItemsBlock` (items as last sent) and `Forgotten` (a user to erase). A segment boundary has no meaning: the
same events cut into other segments must give the same state, bit for bit. Where the steps run apart there are
more of them, see `stream.item_blocks`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from stream.events import ItemEvent
from stream.item_blocks import ItemOutcomes, Ticked
from stream.ops.kinds import CLICK, CLOSED, ORGANIC, SHOWN, TAKEN_BACK
from stream.parcels import Parcel
from stream.training import HandedOver, Sampled, TrainingLists

__all__ = [
    "CLICK",
    "CLOSED",
    "ORGANIC",
    "SHOWN",
    "TAKEN_BACK",
    "FeedbackBlock",
    "Forgotten",
    "ItemsBlock",
    "Segment",
    "Slate",
]


class Slate(msgspec.Struct, kw_only=True, gc=False):
    """One shown slate with the context its decision used; lives in JOIN until its window closes.

    `rewards` maps a place to the reward counted for it so far. `features` is float32 bytes of shape
    (n_items + n_others, n_features), and `feature_schema` the id of the list of their names. `item_context`
    is what is known of each item in this list: a JSON array parallel to `items`, of objects and nulls, and
    empty where nothing is; a segment has it for the slates that are shown in it. `decided` is false for
    somebody else's impression: no policy learns from it, and whoever learns it works out its features when it
    is shown. `eligible` counts all items that could have been shown, 0 where that is not known; it stays with
    JOIN and replay. `rows` is a scratch pad of the learner (row numbers); it is not part of the state.
    """

    request_id: str
    user_id: str
    ts: int
    items: list[str]
    item_context: bytes = b""
    propensities: list[float | None] | None = None
    decided: bool = False
    policy: str = ""
    eligible: int = 0
    clusters: list[int] = []
    weights: list[float] = []
    context: bytes | None = None
    features: bytes = b""
    feature_schema: str = ""
    others: list[str] = []
    explored: list[int] = []
    placement: str | None = None
    rewards: dict[int, float] = {}
    rows: Any = None


@dataclass(slots=True)
class FeedbackBlock:
    """Outcomes in order: parallel lists with an entry an operation, and the slates and organics they name.

    `kind[o]` is SHOWN, CLICK, CLOSED or ORGANIC. `ref[o]` indexes `slates` (SHOWN, CLICK, CLOSED) or
    `organic`, pairs of user and item (ORGANIC). `place[o]` is the place in the slate for CLICK, else -1.
    `reward[o]`: change of reward for CLICK, reward for ORGANIC, else 0. `ts[o]`: event time in ms.
    `action[o]`: for CLICK and ORGANIC the kind of the click, a number in `JoinSettings.kinds`, whose 0 is
    "click", or `TAKEN_BACK` where nobody clicked and a reward is taken back; else 0; empty where all are 0.
    `before[o]`: for CLICK the place's reward before the change, else 0; empty where all are 0, as they
    nearly always are. `accepted[o]`: for CLICK and ORGANIC when the click was accepted, wall ms, else 0;
    measured and never learned; empty where all are 0.
    """

    slates: list[Slate] = field(default_factory=list)
    organic: list[tuple[str, str]] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    ref: list[int] = field(default_factory=list)
    place: list[int] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)
    first: list[bool] = field(default_factory=list)
    ts: list[int] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    action: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        """Number of operations."""
        return len(self.kind)


@dataclass(slots=True)
class ItemsBlock:
    """Items as last sent, in order; `deleted` ones are learned and never served.

    `accepted` says when each was accepted, wall ms, 0 where that is not known; empty where none is.
    """

    items: list[ItemEvent] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Forgotten:
    """Erase this user's rows and history now."""

    user_id: str
    ts: int


Segment = (
    FeedbackBlock
    | ItemsBlock
    | Forgotten
    | Ticked
    | ItemOutcomes
    | Parcel
    | TrainingLists
    | HandedOver
    | Sampled
)
"""The first three come out of JOIN; the others pass between steps that run apart."""
