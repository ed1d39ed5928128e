"""Identities that were seen, remembered until they would be late."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from stream.window import Agenda

__all__ = ["Seen", "identity"]


def identity(*parts: str | float) -> bytes:
    """Sixteen bytes that stand for an identity, so that no id has to be kept.

    Example:
        >>> identity("ab", "c") == identity("a", "bc")
        False
    """
    return blake2b(msgspec.msgpack.encode(parts), digest_size=16).digest()


class Seen:
    """What was seen and in which scope; grows by about 200 bytes for each identity, until `expire` drops it.

    Example:
        >>> seen = Seen()
        >>> seen.add(identity("event", "e1"), 5_000, "r1"), seen.add(identity("event", "e1"), 5_000, "r2")
        (None, 'r1')
        >>> seen.expire(5_001)
        >>> len(seen)
        0
    """

    __slots__ = ("_due", "_scopes")

    def __init__(self) -> None:
        self._scopes: dict[bytes, str] = {}
        self._due: Agenda[bytes] = Agenda()

    def add(self, name: bytes, ts: int, scope: str = "") -> str | None:
        """Remember `name` as long as an event at `ts` can come; the scope of the first, if it was seen."""
        before = self._scopes.get(name)
        if before is None:
            self._scopes[name] = scope
            self._due.add(ts, name)
        return before

    def scope_of(self, name: bytes) -> str | None:
        """The scope in which `name` was first seen, None where it was not."""
        return self._scopes.get(name)

    def expire(self, before_ts: int) -> None:
        """Drop those whose time is before `before_ts`."""
        for _, name in self._due.due(before_ts):
            del self._scopes[name]

    def __contains__(self, name: object) -> bool:
        """Whether `name` is remembered."""
        return name in self._scopes

    def __len__(self) -> int:
        """Number of identities remembered."""
        return len(self._scopes)

    def snapshot(self) -> list[list[object]]:
        """Triples of time, identity and scope."""
        return [[ts, name, self._scopes[name]] for ts, name in self._due]

    def restore(self, triples: list[tuple[int, bytes, str]]) -> None:
        """Become what `snapshot` described."""
        self._scopes, self._due = {}, Agenda()
        for ts, name, scope in triples:
            self.add(name, ts, scope)
