"""Slates, places, clicks and reward by policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from learners.world import World
from learning.measure import Figure, Labels, Measure
from stream.blocks import CLOSED, ORGANIC, SHOWN, FeedbackBlock

__all__ = ["PolicyCounts", "Settings", "build"]

_NAMES = (
    "slates", "empty", "shown", "explored", "clicks", "explored_clicks", "dislikes", "reward",
    "explored_reward", "gained", "lost", "closed",
)  # fmt: skip
(
    _SLATES, _EMPTY, _SHOWN, _EXPLORED, _CLICKS, _EXPLORED_CLICKS, _DISLIKES, _REWARD, _EXPLORED_REWARD,
    _GAINED, _LOST, _CLOSED,
) = range(len(_NAMES))  # fmt: skip
_FALLING = ("reward", "explored_reward")
_SHOWN_AS = {"empty": "empty_slates", "gained": "reward_gained", "lost": "reward_lost"}
_RATIOS = {
    "click_rate": ("explored_clicks", "explored"),
    "reward_rate": ("explored_reward", "explored"),
    "answer_click_rate": ("clicks", "shown"),
    "answer_reward_rate": ("reward", "shown"),
    "explored_share": ("explored", "shown"),
}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing can be set."""


class PolicyCounts(Measure):
    """Counts by policy: slates, shown places, places it picked, clicks, dislikes and reward.

    `explored`, `explored_clicks` and `explored_reward` are of the places that the policy picked itself: its
    click rate is explored_clicks / explored, its reward rate explored_reward / explored. The rest of its
    slates was placed by the ranker, and `clicks` / `shown` is the rate of both together. `reward` and
    `explored_reward` fall with corrections and dislikes; all else only grows, `gained` and `lost` being the
    two halves of `reward`. A slate without any item is `empty` and no slate.

    Foreign impressions count under the policy ``(foreign)``. Labels are bounded by `most`, so a client that
    sends ever new policy names cannot grow this.

    Example:
        >>> from stream.blocks import Slate
        >>> slate = Slate(request_id="r", user_id="u", ts=0, items=["a", "b"], decided=True, policy="p")
        >>> slate.explored = [1]
        >>> columns = dict(kind=[SHOWN], ref=[0], place=[-1], reward=[0.0], first=[False], ts=[0])
        >>> measure = PolicyCounts()
        >>> measure.learn(FeedbackBlock(slates=[slate], **columns))
        >>> measure.of("p")["shown"], measure.of("p")["explored"]
        (2.0, 1.0)
    """

    labels, sums = ("policy",), _NAMES

    def learn(self, block: FeedbackBlock) -> None:
        """Count the operations of one block."""
        slates = block.slates
        known: dict[str, list[float]] = {}
        for kind, ref, place, reward, first in zip(
            block.kind, block.ref, block.place, block.reward, block.first, strict=True
        ):
            if kind == ORGANIC:
                continue
            slate = slates[ref]
            policy = slate.policy if slate.decided else "(foreign)"
            counts = known.get(policy)
            if counts is None:
                counts = known[policy] = self.at(policy)
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

    def figures(self) -> Iterator[Figure]:
        """Each count, and the rates; a rate of a policy that has nothing to divide by is left out."""
        found = self.by_labels()
        for name in sorted(self.sums):
            values = {labels: counts[name] for labels, counts in found.items()}
            shown_as = f"policy_{_SHOWN_AS.get(name, name)}"
            yield Figure(shown_as, f"Learned {name} by policy.", self.labels, values, name not in _FALLING)
        for name, (above, below) in _RATIOS.items():
            rates = _rates(found, above, below)
            yield Figure(f"policy_{name}", f"{above} / {below} by policy.", self.labels, rates)


def _rates(found: Mapping[Labels, Mapping[str, float]], above: str, below: str) -> dict[Labels, float]:
    return {labels: counts[above] / counts[below] for labels, counts in found.items() if counts[below]}


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


def build(settings: Settings, world: World) -> PolicyCounts:
    """The measure, empty."""
    return PolicyCounts()
