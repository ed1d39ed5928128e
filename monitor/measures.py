"""Live measures of the exploration, fed by the same blocks as the learners."""

from __future__ import annotations

from stream.blocks import CLOSED, ORGANIC, SHOWN, FeedbackBlock, Slate
from stream.frame import Frame

__all__ = ["MAX_POLICIES", "Measures"]

MAX_POLICIES = 64
"""Policy names with counters of their own; the rest share the label ``other``."""

_NAMES = ("slates", "shown", "explored", "clicks", "explored_clicks", "reward", "closed")
_SLATES, _SHOWN, _EXPLORED, _CLICKS, _EXPLORED_CLICKS, _REWARD, _CLOSED = range(len(_NAMES))


class Measures:
    """Counts by policy: slates, shown places, explored places, clicks and reward, and organic clicks.

    Click rate is clicks / shown, reward rate is reward / shown, explored share is explored / shown; whoever
    reads them divides. Foreign impressions count under the policy ``(foreign)``. Labels are bounded by
    `MAX_POLICIES`, so a client that sends ever new policy names cannot grow this.

    Example:
        >>> from stream.blocks import SHOWN, FeedbackBlock, Slate
        >>> slate = Slate(request_id="r", user_id="u", ts=0, items=["a", "b"], decided=True, policy="p")
        >>> slate.explored = [1]
        >>> columns = dict(kind=[SHOWN], ref=[0], place=[-1], reward=[0.0], first=[False], ts=[0])
        >>> block = FeedbackBlock(slates=[slate], **columns)
        >>> measures = Measures()
        >>> measures.learn(block)
        >>> measures.snapshot()["policies"]["p"]["shown"], measures.explored_share("p")
        (2, 0.5)
    """

    def __init__(self) -> None:
        self._policies: dict[str, list[float]] = {}
        self._organic = 0
        self._touched = False

    def learn(self, block: FeedbackBlock) -> None:
        """Count the operations of one block."""
        slates = block.slates
        for kind, ref, place, reward, first in zip(
            block.kind, block.ref, block.place, block.reward, block.first, strict=True
        ):
            if kind == ORGANIC:
                self._organic += reward > 0
                continue
            slate = slates[ref]
            counts = self._policies.get(slate.policy) if slate.decided else None
            if counts is None:
                counts = self._counts(slate)
            if kind == SHOWN:
                counts[_SLATES] += 1
                counts[_SHOWN] += len(slate.items)
                counts[_EXPLORED] += len(slate.explored)
            elif kind == CLOSED:
                counts[_CLOSED] += 1
            else:
                counts[_REWARD] += reward
                if first and reward > 0:
                    counts[_CLICKS] += 1
                    counts[_EXPLORED_CLICKS] += place in slate.explored
        self._touched = self._touched or len(block) > 0

    def explored_share(self, policy: str) -> float:
        """Explored places of all shown places of `policy`; 0 before the first."""
        counts = self._policies.get(policy)
        return counts[_EXPLORED] / counts[_SHOWN] if counts and counts[_SHOWN] else 0.0

    def snapshot(self) -> Frame:
        """All counts: {"policies": {name: {count: value}}, "organic": n}."""
        return {
            "policies": {
                name: dict(zip(_NAMES, counts, strict=True)) for name, counts in self._policies.items()
            },
            "organic": self._organic,
        }

    def restore(self, frame: Frame) -> None:
        """Take over all counts."""
        self._policies = {
            name: [counts.get(key, 0) for key in _NAMES] for name, counts in frame["policies"].items()
        }
        self._organic = frame["organic"]
        self._touched = False

    def changes(self) -> Frame:
        """All counts if any moved since the last call; they are few."""
        touched, self._touched = self._touched, False
        return self.snapshot() if touched else {}

    def apply(self, frame: Frame) -> None:
        """On a replica: take over what `changes` gave."""
        if frame:
            self.restore(frame)

    def _counts(self, slate: Slate) -> list[float]:
        name = slate.policy if slate.decided else "(foreign)"
        counts = self._policies.get(name)
        if counts is None:
            if len(self._policies) >= MAX_POLICIES:
                name = "other"
            counts = self._policies.setdefault(name, [0] * len(_NAMES))
        return counts
