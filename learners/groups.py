"""Names of groups, as small numbers that columns and kernels can hold."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from learners.base import Int32
from stream.frame import Frame

__all__ = ["GroupNames"]


class GroupNames:
    """A number for each group that has items; one that has none any more is given to the next new group.

    So it grows with the groups that have items at one time, not with all that were ever named. Which number
    a group gets depends on the order of calls alone.

    Example:
        >>> groups = GroupNames()
        >>> groups.enter("film"), groups.enter("book"), groups.enter("film")
        (0, 1, 0)
        >>> groups.leave(1)
        >>> groups.enter("music"), groups.code_of("book"), groups.name_of(1)
        (1, -1, 'music')
    """

    def __init__(self) -> None:
        self._names: list[str | None] = []
        self._codes: dict[str, int] = {}
        self._members: list[int] = []
        self._free: list[int] = []
        self._renamed: set[int] = set()

    def __len__(self) -> int:
        """Groups that have items."""
        return len(self._codes)

    def code_of(self, name: str) -> int:
        """The number of a group, -1 where it has no items."""
        return self._codes.get(name, -1)

    def name_of(self, code: int) -> str | None:
        """The group of a number; None for -1."""
        return self._names[code] if code >= 0 else None

    def enter(self, name: str) -> int:
        """One more item is in the group: its number."""
        code = self._codes.get(name, -1)
        if code < 0:
            code = self._give(name)
        self._members[code] += 1
        return code

    def _give(self, name: str) -> int:
        if self._free:
            code = self._free.pop()
            self._names[code] = name
        else:
            code = len(self._names)
            self._names.append(name)
            self._members.append(0)
        self._codes[name] = code
        self._renamed.add(code)
        return code

    def leave(self, code: int) -> None:
        """One item less is in the group of this number; -1 is none."""
        name = self.name_of(code)
        if name is None:
            return
        self._members[code] -= 1
        if self._members[code] == 0:
            del self._codes[name]
            self._names[code] = None
            self._free.append(code)
            self._renamed.add(code)

    # -- copying ---------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """All state."""
        return {
            "names": list(self._names),
            "members": list(self._members),
            "free": list(self._free),
            "renamed": sorted(self._renamed),
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self._names = list(frame["names"])
        self._codes = {name: code for code, name in enumerate(self._names) if name is not None}
        self._members, self._free = list(frame["members"]), list(frame["free"])
        self._renamed = set(frame["renamed"])

    def restore_names(self, names: Iterable[str], codes: Int32, published: int) -> None:
        """Become what a program wrote in which groups never left: `names` by number, of which the first
        `published` have been passed on; `codes` (n,) are those of the items."""
        kept = list(names)
        members = np.bincount(codes[codes >= 0], minlength=len(kept))
        gone = np.flatnonzero(members == 0).tolist()
        for code in gone:
            kept[code] = None  # type: ignore[call-overload]
        renamed = [*gone, *range(published, len(kept))]
        self.restore({"names": kept, "members": members.tolist(), "free": gone, "renamed": renamed})

    def changes(self) -> Frame:
        """Numbers (n,) whose group is another since the last call, and its name, None for nobody."""
        codes, self._renamed = sorted(self._renamed), set()
        return {
            "group_codes": np.array(codes, np.int32),
            "group_names": [self._names[code] for code in codes],
        }

    def apply(self, frame: Frame) -> None:
        """On a replica: take over what `changes` gave."""
        codes = frame["group_codes"].tolist()
        self._names += [None] * (max(codes, default=-1) + 1 - len(self._names))
        for code in codes:
            name = self._names[code]
            if name is not None:
                self._codes.pop(name, None)
        for code, name in zip(codes, frame["group_names"], strict=True):
            self._names[code] = name
            if name is not None:
                self._codes[name] = code
