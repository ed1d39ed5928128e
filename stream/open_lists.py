"""Lists that were shown and whose windows are not over, in a ring that is bounded in bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stream.errors import SnapshotError
from stream.frame import Frame
from stream.ops.kinds import CLICK, SHOWN
from stream.ops.numbering import number_by_first_use
from stream.ops.open_lists import follow_operations
from stream.training import TrainingLists

__all__ = ["Followed", "OpenList", "OpenLists", "give_inputs"]

_INPUTS = frozenset({"keys", "request"})

_OVERHEAD = 700  # bytes that the objects of one list take beside their contents, measured and rounded up


class OpenList(msgspec.Struct, gc=False):
    """One shown list: the features of its `n_shown` and `n_others` candidates are little-endian float16.

    It was kept at `rate`, so it stands for 1 / rate of its kind; with a click on it, for itself. `rewards`
    has what was counted for places so far. Where they are asked for, `keys` are those of its items, 8 bytes
    each, and `request` the features of its request, as float16; empty where they are not known. `decided` is
    false for somebody else's list.
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
    decided: bool = True

    def add(self, place: int, change: float) -> None:
        """Count a click on a place: its reward changes by so much."""
        rewards = self.rewards = self.rewards or {}
        rewards[place] = rewards.get(place, 0.0) + change

    @property
    def features(self) -> bytes:
        """The features as little-endian float32."""
        return np.frombuffer(self.half, "<f2").astype("<f4").tobytes()


class Followed(NamedTuple):
    """Which lists the operations of a block mean.

    `lists` stand in the order in which operations first name them. Of each operation: the `number` of its
    list in there, -1 where there is nothing to do, and for how many lists of its kind that `stands_for`.
    `n_missed` clicks were on lists that are not open.
    """

    lists: list[OpenList]
    number: npt.NDArray[np.int32]
    stands_for: npt.NDArray[np.float64]
    n_missed: int

    def of_clicks(self, kind: npt.NDArray[np.int8]) -> Followed:
        """The same without lists that no click names; `kind` (O,) is that of the operations.

        Example:
            >>> lists = [OpenList("ann", n, "", 1, 0, b"") for n in (5, 6)]
            >>> found = Followed(lists, np.array([0, 1], np.int32), np.ones(2), 0)
            >>> clicks = found.of_clicks(np.array([SHOWN, CLICK], np.int8))
            >>> [one.ts for one in clicks.lists], clicks.number.tolist()
            ([6], [-1, 0])
        """
        is_click = (kind == CLICK) & (self.number >= 0)
        numbers, distinct = number_by_first_use(self.number[is_click])
        number = np.full_like(self.number, -1)
        number[is_click] = numbers
        return self._replace(lists=[self.lists[n] for n in distinct.tolist()], number=number)


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
        self._of_user: dict[str, list[str]] | None = None  # of those who forget; lists may have closed since
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
        self._open([request], [shown])
        self._make_room()

    def close(self, request: str) -> OpenList | None:
        """Drop a list, if it is open; what it was."""
        found = self._lists.get(request)
        if found is not None:
            self._close([request])
        return found

    def follow(self, block: TrainingLists, layout: str | None = None) -> Followed:
        """Open the lists that a block shows, count its clicks and close what it closes, in order.

        Room is made behind the block: until then all of its lists are open. With a `layout` they keep what
        `give_inputs` gives them.

        Example:
            >>> nothing, half = np.zeros(2), np.zeros(1, "<f2")
            >>> one = np.ones(1, np.int32)
            >>> block = TrainingLists(
            ...     ["r"], np.array([SHOWN, CLICK], np.int8), np.zeros(2, np.int32),
            ...     np.array([-1, 0], np.int32), np.array([0.0, 2.0]), nothing > 0, np.array([5, 6]), ["ann"],
            ...     [""], one, 0 * one, one, half)
            >>> lists = OpenLists(2_000)
            >>> lists.follow(block).number.tolist(), lists.get("r").rewards
            ([0, 0], {0: 2.0})
        """
        requests, ref = _each_once(block)
        before = [*map(self._lists.get, requests)]
        lists = [*before, *_lists_of(block, layout)]
        current = np.array([-1 if one is None else n for n, one in enumerate(before)], np.int32)
        known = [(0, 1.0) if one is None else (one.n_shown, one.rate) for one in before]
        n_shown = np.append(np.array([n for n, _ in known], np.int32), block.shown)
        rate = np.append(np.array([rate for _, rate in known]), block.rates)
        number, used, stands_for = np.empty(len(block), np.int32), np.empty_like(n_shown), np.ones(len(block))
        now, rates = current.copy(), rate.copy()
        n_used, n_missed = follow_operations(
            block.kind, ref, block.place, now, n_shown, rates, number, used, stands_for
        )
        for n in np.flatnonzero(rates != rate).tolist():
            lists[n].rate = 1.0  # type: ignore[union-attr]
        named: list[Any] = [lists[n] for n in used[:n_used].tolist()]
        _count_clicks(block, named, number)
        self._close([requests[n] for n in np.flatnonzero((current >= 0) & (now != current)).tolist()])
        # As they were shown: the oldest are the first to close where room is short.
        order = np.argsort(now)[np.count_nonzero(now < len(before)) :]
        self._open([requests[r] for r in order.tolist()], [lists[n] for n in now[order].tolist()])
        self._make_room()
        return Followed(named, number, stands_for, n_missed)

    def _open(self, requests: Sequence[str], lists: Sequence[Any]) -> None:
        self._lists.update(zip(requests, lists, strict=True))
        self.n_bytes += _size(requests, lists)
        self._of_user = None

    def _close(self, requests: Sequence[str]) -> None:
        self.n_bytes -= _size(requests, [self._lists.pop(request) for request in requests])

    def _make_room(self) -> None:
        if self.n_bytes <= self._max_bytes:
            return
        oldest, over = [], self.n_bytes - self._max_bytes
        for request, shown in islice(self._lists.items(), len(self._lists) - 1):
            if over <= 0:
                break
            oldest.append(request)
            over -= _size([request], [shown])
        self._close(oldest)
        self.n_closed_early += len(oldest)

    def forget(self, user: str, ts: int) -> None:
        """Drop the lists of a user that are not newer than `ts`.

        Example:
            >>> lists = OpenLists(2_000)
            >>> lists.put("r", OpenList("ann", 5, "", 1, 0, b""))
            >>> lists.forget("ann", 5)
            >>> len(lists), lists.n_bytes
            (0, 0)
        """
        if self._of_user is None:
            self._of_user = {}
            for request, shown in self._lists.items():
                self._of_user.setdefault(shown.user, []).append(request)
        for request in self._of_user.get(user, ()):
            found = self._lists.get(request)
            if found is not None and found.ts <= ts:
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
            "decided": np.array([one.decided for one in lists], np.bool_),
            **_inputs_of(lists),
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described.

        Raises:
            SnapshotError: it does not fit together.
        """
        self._lists, self._of_user, self.n_bytes = {}, None, 0
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
        # Before there were lists of others, policies had decided all.
        for one, is_decided in zip(
            self._lists.values(), frame.get("decided", np.zeros(0)).tolist(), strict=False
        ):
            one.decided = is_decided
        self._restore_inputs(frame)

    def _restore_inputs(self, frame: Frame) -> None:
        for name in _INPUTS & frame.keys():
            _cut(self._lists.values(), name, frame[name], np.cumsum(frame[f"{name}_sizes"]).tolist())
        self.n_bytes = _size([*self._lists], [*self._lists.values()])


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


def _size(requests: Sequence[str], lists: Sequence[OpenList]) -> int:
    n_bytes = sum([len(one.half) + len(one.user) + len(one.keys) + len(one.request) for one in lists])
    return _OVERHEAD * len(lists) + n_bytes + sum(map(len, requests))


def _each_once(block: TrainingLists) -> tuple[list[str], npt.NDArray[np.int32]]:
    """The requests of a block and the numbers of those that its operations name; none stands there twice."""
    requests = block.requests
    at = dict(zip(requests, range(len(requests)), strict=True))
    if len(at) == len(requests):
        return requests, block.ref
    last = np.fromiter(map(at.__getitem__, requests), np.int32, len(requests))
    return requests, last[block.ref]


def _lists_of(block: TrainingLists, layout: str | None) -> list[OpenList]:
    """The lists that the block shows, in order."""
    half, ends = block.features.tobytes(), (2 * block.sizes.cumsum(dtype="i8")).tolist()
    ts = block.ts[block.kind == SHOWN].tolist()
    columns = zip(
        block.users, ts, block.schemas, block.shown.tolist(), block.others.tolist(), [0, *ends], ends,
        block.rates.tolist(), strict=False,
    )  # fmt: skip
    lists = [
        OpenList(user, at, schema, n_shown, n_others, half[low:high], rate)
        for user, at, schema, n_shown, n_others, low, high, rate in columns
    ]
    for n in np.flatnonzero(~block.decided).tolist():
        lists[n].decided = False
    if layout is not None:
        give_inputs(lists, block, layout)
    return lists


def _count_clicks(block: TrainingLists, lists: Sequence[OpenList], number: npt.NDArray[np.int32]) -> None:
    is_click = (block.kind == CLICK) & (number >= 0)
    columns = (number[is_click], block.place[is_click], block.reward[is_click])
    for n, place, reward in zip(*(column.tolist() for column in columns), strict=True):
        rewards = lists[n].rewards
        if rewards is None:
            rewards = lists[n].rewards = {}
        rewards[place] = rewards.get(place, 0.0) + reward
