"""Who asked to be forgotten, kept without keeping the id."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from stream.errors import FrameError
from stream.frame import Frame

__all__ = ["ForgetBook"]

_DIGEST = 16
_NEVER = -(2**62)


class ForgetBook:
    """The largest forget time of each user, under a keyed hash of the id; the id itself is never stored.

    Without the key nobody can test whether an id is in the book, so the key belongs into a file of its own
    and never into a snapshot. Grows by one entry (about 120 bytes) for each user who sent a forget, until
    `prune` drops those older than the horizon within which events may be delivered again.

    Args:
        key: 16 to 64 secret bytes.

    Example:
        >>> book = ForgetBook(b"a secret of this folder")
        >>> book.add("ann", 5_000)
        >>> book.covers("ann", 5_000), book.covers("ann", 5_001), book.covers("bob", 1)
        (True, False, False)
        >>> book.prune(6_000)
        >>> len(book)
        0
    """

    __slots__ = ("_key", "_latest", "_oldest", "_until")

    def __init__(self, key: bytes) -> None:
        if not 16 <= len(key) <= 64:
            msg = f"the key of a forget book has 16 to 64 bytes, got {len(key)}"
            raise ValueError(msg)
        self._key = key
        self._until: dict[bytes, int] = {}
        self._latest = _NEVER
        self._oldest = _NEVER

    def _hash(self, user_id: str) -> bytes:
        return blake2b(user_id.encode(), digest_size=_DIGEST, key=self._key).digest()

    def add(self, user_id: str, ts: int) -> None:
        """Note that everything of `user_id` up to `ts` (ms, included) is to be forgotten."""
        digest = self._hash(user_id)
        self._until[digest] = max(ts, self._until.get(digest, ts))
        self._latest = max(ts, self._latest)
        self._oldest = min(ts, self._oldest) if len(self._until) > 1 else self._until[digest]

    def covers(self, user_id: str, ts: int) -> bool:
        """Whether an event of `user_id` at `ts` is one to drop."""
        # Nearly every event is newer than the last forget, and needs no hash.
        if ts > self._latest:
            return False
        return ts <= self._until.get(self._hash(user_id), _NEVER)

    def prune(self, before_ts: int) -> None:
        """Drop the entries older than `before_ts`: no event that old can come any more."""
        if not self._until or self._oldest >= before_ts:
            return
        self._until = {digest: ts for digest, ts in self._until.items() if ts >= before_ts}
        self._oldest = min(self._until.values(), default=_NEVER)
        self._latest = max(self._until.values(), default=_NEVER)

    def __len__(self) -> int:
        """Number of users in the book."""
        return len(self._until)

    def snapshot(self) -> Frame:
        """Hashes, (n, 16) bytes, and their times, (n,) ms; the key is not in it."""
        digests = np.frombuffer(b"".join(self._until), np.uint8).reshape(-1, _DIGEST)
        return {"digests": digests, "ts": np.array(list(self._until.values()), np.int64)}

    def restore(self, frame: Frame) -> None:
        """Become the book that `snapshot` described; it must have been written under the same key.

        Raises:
            FrameError: the columns do not fit each other.
        """
        digests, ts = np.asarray(frame["digests"], np.uint8), np.asarray(frame["ts"], np.int64)
        if digests.shape != (ts.size, _DIGEST):
            msg = f"forget book: expected {ts.size} hashes of {_DIGEST} bytes, got the shape {digests.shape}"
            raise FrameError(msg)
        self._until = {row.tobytes(): int(t) for row, t in zip(digests, ts, strict=True)}
        self._latest = int(ts.max()) if ts.size else _NEVER
        self._oldest = int(ts.min()) if ts.size else _NEVER
