"""A request's features: from the `context` of a request to a vector of numbers, the same at serving and in
learning."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from struct import Struct
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from learners.errors import LearnerError

__all__ = ["RequestFeatures"]

_log = logging.getLogger(__name__)

Float32 = npt.NDArray[np.float32]

_MOST = 1e6
_MOST_NAMES, _MOST_DIM = 256, 1_024
_KEPT_CONTEXTS, _KEPT_WORDS = 8_192, 32_768
_LONG = 1_024  # bytes of a context or a word from which it is computed again each time
_WIDE = 1 << 63

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class RequestFeatures:
    """The vector x (R,) of a context: 1, then a number for each of `names`, then `dim` slots for words.

    * x[0] is 1, so that a linear model has an intercept.
    * x[1 + n] is the number under `names[n]`; `true` is 1, `false` 0. What is missing, null or no number is
      0. Numbers are clipped to -1e6..1e6, infinite ones too, which is said once for each name where
      decisions are learned; NaN is 0.
    * A word sets one of the last `dim` entries to 1, and a list sets one for each of its words and whole
      numbers. The entry of a word is ``int(blake2b("name=word", 8 bytes), little-endian) % dim``, which never
      changes; two words may meet in one. Nothing else in a list counts, nor do objects.

    R = 1 + len(names) + dim, and 1 when there are no names. A context that is no JSON object is an empty one.

    Args:
        names: keys of the context, in this order.
        dim: entries for words; 0 for none.

    Bounded: it keeps the vectors of the last 8,192 short contexts at most, and the entries of 32,768 words.

    Raises:
        LearnerError: a name is empty or given twice, or there are too many names or entries.

    Example:
        >>> features = RequestFeatures(["hour", "device"], dim=4)
        >>> features.of({"hour": 14, "device": "phone", "page": "home"}).tolist()
        [1.0, 14.0, 0.0, 0.0, 1.0, 0.0, 0.0]
        >>> features.many([b'{"hour": 2.5}', None]).tolist()
        [[1.0, 2.5, 0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, names: Sequence[str] = (), *, dim: int = 16) -> None:
        wrong = [name for i, name in enumerate(names) if not name or name in names[:i]]
        if wrong or len(names) > _MOST_NAMES or not 0 <= dim <= _MOST_DIM:
            msg = (
                f"request features need at most {_MOST_NAMES} names, each given once and not empty, and dim "
                f"in 0..{_MOST_DIM}; got {len(names)} names and dim={dim}"
                + (f"; see {wrong[0]!r}" if wrong else "")
            )
            raise LearnerError(msg)
        self.names = tuple(names)
        self.dim = dim if names else 0
        self.width = 1 + len(self.names) + self.dim
        self._places = tuple(enumerate(self.names, start=1))
        self._first = 1 + len(self.names)
        self._record = Struct(f"<{self.width}f")
        self._empty = self._record.pack(1.0, *[0.0] * (self.width - 1))
        self._entries: dict[tuple[str, str | int], int] = {}
        self._contexts: dict[bytes, bytes] = {}
        self._told: set[str] = set()  # of `names`

    @property
    def layout(self) -> str:
        """Tells one layout of x from another; empty where x is the intercept alone."""
        if not self.names:
            return ""
        return blake2b(msgspec.json.encode([self.names, self.dim]), digest_size=8).hexdigest()

    def of(self, context: Mapping[str, Any] | None) -> Float32:
        """The vector (R,) of one context."""
        return np.array(self._numbers(context or {}, tell=False), np.float32)

    def many(self, contexts: Sequence[bytes | None]) -> Float32:
        """The vectors (S, R) of contexts as JSON; contexts that repeat are read once."""
        # A bytearray, so that the array may be written to: kernels are compiled apart for read-only ones.
        rows = bytearray().join([self._row(context) if context else self._empty for context in contexts])
        return np.frombuffer(rows, "<f4").reshape(len(contexts), self.width)

    def _row(self, context: bytes) -> bytes:
        row = self._contexts.get(context)
        if row is not None:
            return row
        try:
            row = self._record.pack(*self._numbers(_decode(context), tell=True))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            row = self._empty
        if len(context) <= _LONG:
            if len(self._contexts) >= _KEPT_CONTEXTS:
                self._contexts.clear()
            self._contexts[context] = row
        return row

    def _numbers(self, context: Mapping[str, Any], *, tell: bool) -> list[float]:
        x = [0.0] * self.width
        x[0] = 1.0
        for at, name in self._places:
            value = context.get(name)
            if value is None:
                continue
            if type(value) is float and -_MOST <= value <= _MOST:  # what most are
                x[at] = value
            elif isinstance(value, str):
                self._mark(name, value, x)
            elif isinstance(value, int | float):
                # A number of four hundred digits is compared as it is, for no float could hold it.
                x[at] = float(value) if -_MOST <= value <= _MOST else self._clipped(name, value, tell)
            elif isinstance(value, list):
                for word in value:
                    self._mark(name, word, x)
        return x

    def _clipped(self, name: str, value: float, tell: bool) -> float:
        """A number that counts as less than it is: a time in ms, say, of which nothing is left then. Whoever
        learns tells of it; whoever serves, perhaps in many processes, does not."""
        if value != value:
            return 0.0
        if tell and name not in self._told:
            self._told.add(name)
            _log.warning(
                "feature %r: a number beyond 1,000,000 came, which counts as 1,000,000, as do all beyond it; "
                "send it in a larger unit, or as a word. Said once for each feature",
                name,
            )
        return _MOST if value > 0 else -_MOST

    def _mark(self, name: str, word: Any, x: list[float]) -> None:
        if type(word) is not str and (type(word) is not int or abs(word) >= _WIDE):
            return
        if not self.dim:
            return
        at = self._entries.get((name, word))
        if at is None:
            text = f"{name}={word}".encode("utf-8", "surrogatepass")
            at = self._first + int.from_bytes(blake2b(text, digest_size=8).digest(), "little") % self.dim
            if len(text) <= _LONG:
                if len(self._entries) >= _KEPT_WORDS:
                    self._entries.clear()
                self._entries[name, word] = at
        x[at] = 1.0
