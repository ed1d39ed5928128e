"""What items' owners share of the parts that scorers read, in a process that learns users."""

from __future__ import annotations

from learners.part import Part
from learning.parts import Parts
from learning.rows.codec import decode_control
from learning.rows.shared import SharedFrames
from stream.errors import FrameError
from stream.frame import MALFORMED, Frame

__all__ = ["FollowedShares", "followed_shares"]

_STEP = "/items/"


class FollowedShares:
    """The columns that rows of such a part share, merged over all items' owners, each as of its newest row.

    Shares of users' owners are left out: each has its own at hand, and what it takes over from here it must
    not publish as its own.

    Args:
        parts: say which are followed, and what fits.

    Example:
        >>> from learning.parts import build_parts
        >>> from learning.settings import LearningSettings
        >>> shares = FollowedShares(build_parts(LearningSettings()))
        >>> shares.put("part/popularity/items/0", None), shares.since(0)
        (None, ({}, 0))
    """

    def __init__(self, parts: Parts) -> None:
        self._prefixes = tuple(f"part/{name}{_STEP}" for name in followed_shares(parts))
        self._frames = SharedFrames(followed_shares(parts), {})
        self._newest: dict[str, tuple[int, Frame]] = {}
        self._n = 0
        self.unreadable = 0
        """Rows that could not be read, and were passed over."""

    def put(self, key: str, value: bytes | None) -> None:
        """Take a row of `control`; those of other things are passed over."""
        if not key.startswith(self._prefixes):
            return
        try:
            if value is None:
                self._frames.drop(key)
            else:
                self._frames.put(key, decode_control(value)[1])
        except (FrameError, *MALFORMED):
            self.unreadable += 1
            return
        for name, frame in self._frames.take().items():
            self._n += 1
            self._newest[name] = self._n, frame["shared"]

    def since(self, seen: int) -> tuple[Frame, int]:
        """By part what came after `seen` (0: all), and what to ask with the next time."""
        if seen == self._n:
            return {}, seen
        return {name: frame for name, (n, frame) in self._newest.items() if n > seen}, self._n


def followed_shares(parts: Parts) -> dict[str, Part]:
    """The parts that scorers read and whose rows share columns, by name.

    Example:
        >>> from learning.parts import build_parts
        >>> from learning.settings import LearningSettings
        >>> list(followed_shares(build_parts(LearningSettings())))
        ['item_rates']
    """
    return {
        name: part
        for name, part in parts.learners().items()
        if "shared" in part.spec.sides and name.partition(":")[0] in parts.scored
    }
