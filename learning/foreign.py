"""Lists of others: their features as a decision would have had them, at the moment when they are shown."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from learners.ask import Ask
from learners.encoded import Encoded
from learners.errors import LearnerError
from learners.pieces import pieces
from learners.rows import RowBlock
from learning.asking import ask_of_rows
from learning.parts import Parts
from stream.blocks import Slate
from stream.outbox import revive_context
from stream.slates import item_contexts

__all__ = ["ForeignLists"]

_log = logging.getLogger(__name__)


class ForeignLists:
    """Gives lists that no policy decided their features, from what is learned of all that came before them.

    A block is learned up to each such list, which gets its features then, and on from there. So they are the
    same however events are cut into blocks, and hold nothing of the list's own outcome. What decisions log is
    made by the same scorers; a list's clicks teach the ranker as theirs do. New ids have no row before their
    list is learned, as in serving.

    Where a scorer raises, the list is learned by all others and has no features: clicks on it count as
    `unread` with the ranker.

    Args:
        parts: what scorers read; it learns in between.

    Example:
        >>> from learners.encode import encode_rows
        >>> from learning.parts import build_parts
        >>> from learning.settings import LearningSettings
        >>> from stream.blocks import FeedbackBlock
        >>> parts = build_parts(LearningSettings())
        >>> shown = Slate(request_id="r", user_id="ann", ts=5, items=["tea", "milk"])
        >>> block = FeedbackBlock([shown], [], [0], [0], [-1], [0.0], [False], [5])
        >>> lists = ForeignLists(parts)
        >>> lists.learn(encode_rows(block, parts.users, parts.items), parts.learn_both)
        [0]
        >>> len(shown.features) == 2 * 4 * parts.ranker.n_features, lists.failed
        (True, 0)
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.failed = 0
        """Lists without features since a scorer raised."""

    def learn(self, encoded: Encoded, learn: Callable[[RowBlock], Any]) -> list[int]:
        """Count a block's operations and let `learn` have them in order, in pieces; the numbers in
        `encoded.slates` of the lists that got features."""
        operations, rows = encoded.foreign(), encoded.rows
        if not operations.size:
            encoded.count(rows)
            learn(rows)
            return []
        users, items, start = encoded.before(operations)
        cuts: list[int] = operations.tolist()
        of_slates: list[int] = rows.slate[operations].tolist()
        asked = zip(
            users.tolist(), start.tolist(), start[1:].tolist(), rows.ts[operations].tolist(), strict=False
        )
        cut = pieces(rows, operations)
        self._learn(encoded, learn, next(cut))
        for n, (user, low, high, ts) in enumerate(asked):
            slate = encoded.slates[of_slates[n]]
            context, known = _context(slate), item_contexts(slate)
            ask = ask_of_rows(
                self._parts, user, items[low:high], now_ms=ts, context=context, item_context=known
            )
            if ask.viewed.size:
                ask.viewed = encoded.items_before(ask.viewed, cuts[n])
            self._give(slate, ask)
            self._learn(encoded, learn, next(cut))
        return of_slates

    def _learn(self, encoded: Encoded, learn: Callable[[RowBlock], Any], piece: RowBlock) -> None:
        if len(piece):
            encoded.count(piece)
            learn(piece)

    def _give(self, slate: Slate, ask: Ask) -> None:
        ranker, listed = self._parts.ranker, ask.listed
        assert listed is not None, "it was asked for a list"
        slate.feature_schema, slate.features = ranker.schemas.id, b""
        if not listed.rows.size:
            return
        try:
            features = ranker.features(ask, listed.rows)
        except LearnerError as error:
            self.failed += 1
            if self.failed & (self.failed - 1) == 0:  # the first, the second, the fourth, …
                _log.error("list %s of somebody else has no features: %s", slate.request_id, error)
            return
        slate.features = features.tobytes()


def _context(slate: Slate) -> Mapping[str, Any] | None:
    if slate.context is None:
        return None
    found: Any = revive_context(slate.context)
    return found if isinstance(found, dict) else None
