"""Lists that were shown and whose windows are not over, in a ring that is bounded in bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from stream.errors import SnapshotError
from stream.frame import Frame
from stream.training import TrainingLists

__all__ = ["OpenList", "OpenLists", "give_inputs"]

_INPUTS = frozenset({"keys", "request"})

_OVERHEAD = 700  # bytes that the objects of one list take beside their contents, measured and rounded up


class OpenList(msgspec.Struct, gc=False):
    """One shown list: the features of its `n_shown` and `n_others` candidates are little-endian float16.

    It was kept at `rate`, so it stands for 1 / rate of its kind; with a click on it, for itself. `rewards`
    has what was counted for places so far. Where they are asked for, `keys` are those of its items, 8 bytes
    each, and `request` the features of its request, as float16; empty where they are not known.
    """

    user: str
    ts: int
    feature_schema: str
    n_shown: int
    n_others: int
    half: bytes
    rate: float = 1.0
    rewards: dict[int, float] | None = None
    keys: bytes = b""
    request: bytes = b""

    def add(self, place: int, change: float) -> None:
        """Count a click on a place: its reward changes by so much."""
        rewards = self.rewards = self.rewards or {}
        rewards[place] = rewards.get(place, 0.0) + change

    @property
    def features(self) -> bytes:
        """The features as little-endian float32."""
        return np.frombuffer(self.half, "<f2").astype("<f4").tobytes()


class OpenLists:
    """Open lists by request, oldest first; beyond `max_bytes` the oldest close as they are.

    Args:
        max_bytes: of the lists with what their objects take.

    Example:
        >>> lists = OpenLists(2_000)
        >>> for request in ("r1", "r2", "r3"):
        ...     lists.put(request, OpenList("ann", 5, "", 1, 0, bytes(100)))
        >>> lists.get("r1"), len(lists), lists.n_closed_early
        (None, 2, 1)
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lists: dict[str, OpenList] = {}
        self._of_user: dict[str, dict[str, None]] = {}
        self.n_bytes = 0
        """Bytes of all that is open."""
        self.n_closed_early = 0
        """Lists that closed before their window was over, since there was no room."""

    def __len__(self) -> int:
        """How many are open."""
        return len(self._lists)

    def get(self, request: str) -> OpenList | None:
        """The list of a request, if it is open."""
        return self._lists.get(request)

    def put(self, request: str, shown: OpenList) -> None:
        """Open a list, and close the oldest where there is no room; one alone always has room."""
        self.close(request)
        self._lists[request] = shown
        self._of_user.setdefault(shown.user, {})[request] = None
        self.n_bytes += _size(request, shown)
        while self.n_bytes > self._max_bytes and len(self._lists) > 1:
            self.close(next(iter(self._lists)))
            self.n_closed_early += 1

    def close(self, request: str) -> OpenList | None:
        """Drop a list, if it is open; what it was."""
        found = self._lists.pop(request, None)
        if found is not None:
            self.n_bytes -= _size(request, found)
            mine = self._of_user[found.user]
            del mine[request]
            if not mine:
                del self._of_user[found.user]
        return found

    def forget(self, user: str, ts: int) -> None:
        """Drop the lists of a user that are not newer than `ts`.

        Example:
            >>> lists = OpenLists(2_000)
            >>> lists.put("r", OpenList("ann", 5, "", 1, 0, b""))
            >>> lists.forget("ann", 5)
            >>> len(lists), lists.n_bytes
            (0, 0)
        """
        for request in list(self._of_user.get(user, ())):
            if self._lists[request].ts <= ts:
                self.close(request)

    def snapshot(self) -> Frame:
        """All lists, as columns."""
        lists = list(self._lists.values())
        counted = [(n, *pair) for n, one in enumerate(lists) for pair in sorted((one.rewards or {}).items())]
        numbers, places, rewards = zip(*counted, strict=True) if counted else ((),) * 3
        return {
            "requests": list(self._lists),
            "users": [one.user for one in lists],
            "schemas": [one.feature_schema for one in lists],
            "ts": np.array([one.ts for one in lists], np.int64),
            "shown": np.array([one.n_shown for one in lists], np.int32),
            "others": np.array([one.n_others for one in lists], np.int32),
            "sizes": np.array([len(one.half) for one in lists], np.int64),
            "half": b"".join(one.half for one in lists),
            "rates": np.array([one.rate for one in lists], np.float64),
            "rewarded": np.array([numbers, places], np.int32),
            "rewards": np.array(rewards, np.float64),
            "closed_early": self.n_closed_early,
            **_inputs_of(lists),
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described.

        Raises:
            SnapshotError: it does not fit together.
        """
        self._lists, self._of_user, self.n_bytes = {}, {}, 0
        half, ends = frame["half"], np.cumsum(frame["sizes"]).tolist()
        if len(half) != (ends[-1] if ends else 0):
            msg = f"open lists: expected {ends[-1] if ends else 0} bytes of features, got {len(half)}"
            raise SnapshotError(msg)
        numbers: list[Any] = [frame[name].tolist() for name in ("ts", "shown", "others")]
        # The first snapshots have no rates: nothing was left out.
        rates = frame["rates"].tolist() if "rates" in frame else [1.0] * len(ends)
        columns = zip(frame["users"], numbers[0], frame["schemas"], numbers[1], numbers[2], strict=True)
        places = zip(frame["requests"], columns, [0, *ends][:-1], ends, rates, strict=True)
        for request, plain, low, high, rate in places:
            self.put(request, OpenList(*plain, half[low:high], rate))
        self.n_closed_early = frame["closed_early"]
        if "rewards" in frame:
            lists = list(self._lists.values())
            counted = zip(*frame["rewarded"].tolist(), frame["rewards"].tolist(), strict=True)
            for number, place, reward in counted:
                lists[number].add(place, reward)
        self._restore_inputs(frame)

    def _restore_inputs(self, frame: Frame) -> None:
        for name in _INPUTS & frame.keys():
            _cut(self._lists.values(), name, frame[name], np.cumsum(frame[f"{name}_sizes"]).tolist())
        self.n_bytes = sum(_size(request, one) for request, one in self._lists.items())


def give_inputs(lists: Sequence[OpenList], block: TrainingLists, layout: str) -> None:
    """Give the lists that a block shows the keys of their items and the features of their requests.

    Only where the block has them, and features only if they go by `layout`: those of other names are not
    known.

    Example:
        >>> nothing, one = np.zeros(0), np.ones(1, np.int32)
        >>> block = TrainingLists(["r"], np.zeros(1, np.int8), 0 * one, -one, np.zeros(1), one > 1,
        ...                       np.array([5]), ["ann"], [""], one, 0 * one, 0 * one, nothing.astype("<f2"))
        >>> block.keys, lists = np.array([7], np.uint64), [OpenList("ann", 5, "", 1, 0, b"")]
        >>> give_inputs(lists, block, "")
        >>> lists[0].keys[0], lists[0].request
        (7, b'')
    """
    if block.keys.size:
        _cut(lists, "keys", block.keys.tobytes(), (8 * block.shown.cumsum(dtype="i8")).tolist())
    if block.request.size and block.layout == layout:
        raw = block.request.tobytes()
        size = len(raw) // len(lists)
        _cut(lists, "request", raw, [size * (n + 1) for n in range(len(lists))])


def _cut(lists: Iterable[OpenList], name: str, raw: bytes, ends: list[int]) -> None:
    for one, low, high in zip(lists, [0, *ends], ends, strict=False):
        setattr(one, name, raw[low:high])


def _inputs_of(lists: Sequence[OpenList]) -> Frame:
    """Their keys and features for a snapshot; nothing where nobody asks for them."""
    frame: Frame = {}
    for name in _INPUTS:
        columns = [getattr(one, name) for one in lists]
        if any(columns):
            frame |= {name: b"".join(columns), f"{name}_sizes": np.array([*map(len, columns)], np.int64)}
    return frame


def _size(request: str, shown: OpenList) -> int:
    inputs = len(shown.keys) + len(shown.request)
    return len(shown.half) + inputs + len(request) + len(shown.user) + _OVERHEAD
