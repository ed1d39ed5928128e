"""Clicks that wait for their slate."""

from __future__ import annotations

from stream.outbox import Mark
from stream.window import Agenda

__all__ = ["Waiting"]


class Waiting:
    """Clicks by request, each with the user it names, until their slate comes or cannot come any more.

    Grows with the clicks of the last allowed lateness whose slate is unknown, at most `max_clicks` a request.

    Example:
        >>> waiting = Waiting(max_clicks=10)
        >>> waiting.add("r", (5, "", 1.0, "item", "click"), "ann")
        >>> waiting.add("r", (5, "", 1.0, "item", "click"), "ann")
        'duplicate'
        >>> waiting.take("r")
        [((5, '', 1.0, 'item', 'click'), 'ann')]
    """

    __slots__ = ("_due", "_max_clicks", "_n", "_requests", "n_bytes")

    def __init__(self, max_clicks: int) -> None:
        self._max_clicks = max_clicks
        self._requests: dict[str, dict[Mark, str | None]] = {}
        self._due: Agenda[tuple[str, Mark]] = Agenda()
        self._n = 0
        self.n_bytes = 0
        """About what the waiting clicks take."""

    def add(self, request_id: str, mark: Mark, user_id: str | None) -> str | None:
        """Let a click wait; else the outcome that it has instead."""
        marks = self._requests.setdefault(request_id, {})
        if mark in marks:
            return "duplicate"
        if len(marks) >= self._max_clicks:
            return "excess"
        marks[mark] = user_id
        self._n += 1
        self.n_bytes += _weight(request_id, mark)
        self._due.add(mark[0], (request_id, mark))
        return None

    def take(self, request_id: str) -> list[tuple[Mark, str | None]]:
        """All clicks of a request, the largest first, so that those it supersedes never leave."""
        marks = self._requests.pop(request_id, None)
        if marks is None:
            return []
        self._n -= len(marks)
        self.n_bytes -= sum(_weight(request_id, mark) for mark in marks)
        return sorted(marks.items(), key=lambda pair: pair[0], reverse=True)

    def due(self, before_ts: int) -> list[tuple[str, Mark, str | None]]:
        """Clicks from before `before_ts`, in order: their slate cannot come any more."""
        gone = []
        for _, (request_id, mark) in sorted(self._due.due(before_ts)):
            marks = self._requests.get(request_id)
            if marks is not None and mark in marks:
                gone.append((request_id, mark, marks[mark]))
                self._remove(request_id, mark)
        return gone

    def forget(self, user_id: str, ts: int) -> int:
        """Drop the clicks that name this user and are not newer than `ts`; says how many."""
        gone = [
            (request_id, mark)
            for request_id, marks in self._requests.items()
            for mark, who in marks.items()
            if who == user_id and mark[0] <= ts
        ]
        for request_id, mark in gone:
            self._remove(request_id, mark)
        return len(gone)

    def _remove(self, request_id: str, mark: Mark) -> None:
        marks = self._requests[request_id]
        del marks[mark]
        self._n -= 1
        self.n_bytes -= _weight(request_id, mark)
        if not marks:
            del self._requests[request_id]

    def __len__(self) -> int:
        """Number of clicks that wait."""
        return self._n

    def snapshot(self) -> list[list[object]]:
        """Lists of request, user and the parts of the mark."""
        requests = self._requests.items()
        return [[request_id, who, *mark] for request_id, marks in requests for mark, who in marks.items()]

    def restore(self, stored: list[list[str]]) -> None:
        """Become what `snapshot` described."""
        self._requests, self._due, self._n, self.n_bytes = {}, Agenda(), 0, 0
        for request_id, who, *mark in stored:
            self.add(request_id, tuple(mark), who)  # type: ignore[arg-type]


def _weight(request_id: str, mark: Mark) -> int:
    """About the bytes of a click: objects, and the ids that a client chose."""
    return 500 + len(request_id) + len(mark[1]) + len(mark[3])
