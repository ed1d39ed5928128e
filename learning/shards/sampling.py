"""How much of what nobody clicked goes to TRAIN: found where it is read, applied where it is written.

A list with a click always goes there, whole. Of the others a share does, drawn by their request ids, and each
stands for the reciprocal of that share: an importance weight. A model that is fitted without weights adds the
logarithm of the share to its log-odds instead (Wang et al., 2021). So nothing that is learned from clicks
changes, and what is learned from lists without one stays unbiased.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from stream.frame import Frame

__all__ = ["RatesInUse", "SamplingRate", "drawn"]

MOST_BEHIND_MS = 5_000
"""What TRAIN is kept within."""

_FAR_MS, _NEAR_MS = MOST_BEHIND_MS / 2, MOST_BEHIND_MS / 2.5
_LEAST = 1 / 64
_ON_THEIR_WAY_MS = (
    1_000  # until a new rate has come to the owners of users, and what they write by it is read
)
_CALM_MS = 30_000
_CATCHING_UP = 1.25  # seconds of the log in a second: then patience is enough
_ROOM = 0.8  # of the pace that was measured, so that the end is reached again
_LARGER = 1.25


def drawn(requests: Sequence[str]) -> npt.NDArray[np.float64]:
    """A number from 0 to 1 for each request id, the same for good: a list is kept at a rate above its number.

    Example:
        >>> drawn(["r1", "r2", "r1"]).round(3).tolist()
        [0.483, 0.713, 0.483]
    """
    digests = b"".join(blake2b(one.encode(), digest_size=8, person=b"train").digest() for one in requests)
    return np.frombuffer(digests, "<u8") / 2.0**64


class SamplingRate:
    """Finds the share of lists without a click with which TRAIN keeps up, by how far behind the log it is.

    More than half of `MOST_BEHIND_MS` behind at two looks, and not catching up, the share falls at once to
    what the pace between them can carry; it falls again only when records written after that were read. After
    30 s near the end it grows by a quarter, and so on up to 1.

    Args:
        rate: that is in use.

    Example:
        >>> rate = SamplingRate()
        >>> rate.look(12_000, 2_700), rate.look(14_000, 3_700), rate.rate
        (False, True, 0.4)
    """

    def __init__(self, rate: float = 1.0) -> None:
        self.rate = rate
        """The share to keep."""
        self._before = (-math.inf, 0.0)
        self._changed_ms, self._calm_since = -math.inf, math.inf

    def look(self, now_ms: float, lag_ms: float) -> bool:
        """At `now_ms` the newest record that was read is `lag_ms` old (0: there is none to read); whether the
        rate has changed."""
        lag_ms = max(0.0, lag_ms)
        (then_ms, lag_then), self._before = self._before, (now_ms, lag_ms)
        self._calm_since = min(self._calm_since, now_ms) if lag_ms <= _NEAR_MS else math.inf
        if now_ms <= then_ms or then_ms - lag_then < self._changed_ms + _ON_THEIR_WAY_MS:
            return False
        if min(lag_ms, lag_then) > _FAR_MS:
            pace = 1 - (lag_ms - lag_then) / (now_ms - then_ms)
            smaller = min(max(_ROOM * pace, 1 / 16), 1 / 2)
            return pace < _CATCHING_UP and self._change(now_ms, self.rate * smaller)
        return now_ms - self._calm_since >= _CALM_MS and self._change(now_ms, self.rate * _LARGER)

    def _change(self, now_ms: float, rate: float) -> bool:
        before, self.rate = self.rate, min(max(rate, _LEAST), 1.0)
        if self.rate == before:
            return False
        self._changed_ms, self._calm_since = now_ms, math.inf
        return True


class RatesInUse:
    """The rate at which an owner of users passes lists on, and those by which open lists were passed on.

    Args:
        horizon_ms: of event time that an old rate matters, for a list may be clicked until then.

    Example:
        >>> rates = RatesInUse(1_000)
        >>> rates.change(0.25, 5_000)
        >>> rates.change(1.0, 6_000)
        >>> rates.now, rates.lowest
        (1.0, 0.25)
        >>> rates.tick(7_001)
        >>> rates.lowest
        1.0
    """

    def __init__(self, horizon_ms: int) -> None:
        self.now = 1.0
        """A list is passed on where the number of its request is below this."""
        self._horizon_ms = horizon_ms
        self._past: list[tuple[float, int]] = []

    @property
    def lowest(self) -> float:
        """Below this every open list was passed on when it was shown."""
        return min([self.now, *(rate for rate, _ in self._past)])

    def change(self, rate: float, now_ms: int) -> None:
        """From event time `now_ms` on."""
        self._past.append((self.now, now_ms))
        self.now = rate
        self.tick(now_ms)

    def tick(self, now_ms: int) -> None:
        """Drop the rates of lists that are closed, and those that a lower and later one makes idle."""
        past: list[tuple[float, int]] = []
        for rate, until in reversed(self._past):
            if now_ms - until <= self._horizon_ms and rate < min([self.now, *(other for other, _ in past)]):
                past.append((rate, until))
        self._past = past[::-1]

    def snapshot(self) -> Frame:
        """The rates."""
        return {"now": self.now, "past": [list(one) for one in self._past]}

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self.now = float(frame["now"])
        self._past = [(float(rate), int(until)) for rate, until in frame["past"]]
