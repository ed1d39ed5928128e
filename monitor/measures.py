"""Live measures of the exploration, fed by the same blocks as the learners."""

from __future__ import annotations

from collections.abc import Mapping

from stream.blocks import CLOSED, ORGANIC, SHOWN, FeedbackBlock, Slate
from stream.frame import Frame

__all__ = ["MAX_POLICIES", "Measures"]

MAX_POLICIES = 64
"""Policy names with counters of their own; the rest share the label ``other``."""

_NAMES = (
    "slates", "empty", "shown", "explored", "clicks", "explored_clicks", "dislikes", "reward",
    "explored_reward", "gained", "lost", "closed",
)  # fmt: skip
(
    _SLATES, _EMPTY, _SHOWN, _EXPLORED, _CLICKS, _EXPLORED_CLICKS, _DISLIKES, _REWARD, _EXPLORED_REWARD,
    _GAINED, _LOST, _CLOSED,
) = range(len(_NAMES))  # fmt: skip


class Measures:
    """Counts by policy: slates, shown places, places it picked, clicks, dislikes and reward; organic clicks.

    `explored`, `explored_clicks` and `explored_reward` are of the places that the policy picked itself: its
    click rate is explored_clicks / explored, its reward rate explored_reward / explored. The rest of its
    slates was placed by the ranker, and `clicks` / `shown` is the rate of both together. `reward` and
    `explored_reward` fall with corrections and dislikes; all else only grows, `gained` and `lost` being the
    two halves of `reward`. A slate without any item is `empty` and no slate. Whoever reads them divides.

    Foreign impressions count under the policy ``(foreign)``. Labels are bounded by `MAX_POLICIES`, so a
    client that sends ever new policy names cannot grow this.

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
            if not slate.items:
                counts[_EMPTY] += kind == SHOWN
            elif kind == SHOWN:
                counts[_SLATES] += 1
                counts[_SHOWN] += len(slate.items)
                counts[_EXPLORED] += len(slate.explored)
            elif kind == CLOSED:
                counts[_CLOSED] += 1
            else:
                _add_click(counts, reward, first=first, is_own=place in slate.explored)
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
        self._policies = {name: _counted(counts) for name, counts in frame["policies"].items()}
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


def _add_click(counts: list[float], reward: float, *, first: bool, is_own: bool) -> None:
    """Count a change of the reward of one place, and a first click or dislike of it."""
    counts[_REWARD] += reward
    counts[_GAINED] += max(reward, 0.0)
    counts[_LOST] += max(-reward, 0.0)
    counts[_EXPLORED_REWARD] += reward if is_own else 0.0
    if first and reward > 0:
        counts[_CLICKS] += 1
        counts[_EXPLORED_CLICKS] += is_own
    elif first and reward < 0:
        counts[_DISLIKES] += 1


def _counted(counts: Mapping[str, float]) -> list[float]:
    """Counts in order; older frames do not have all of them."""
    reward = counts.get("reward", 0)
    older = {"gained": max(reward, 0.0), "lost": max(-reward, 0.0)}
    return [counts.get(name, older.get(name, 0)) for name in _NAMES]
