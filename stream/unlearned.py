"""Which accepted events nobody has learned yet: the oldest of each kind, in the logs of one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from stream.codec import decode_logged
from stream.errors import EventError
from stream.events import Click, ItemEvent, LoggedEvent
from stream.log import EventReader, Record

__all__ = ["Unlearned", "kinds_of"]

_RECORDS, _BYTES = 256, 1 << 20  # read at once; what is not found among them is looked for the next time


def kinds_of(events: Iterable[LoggedEvent]) -> set[str]:
    """The kinds of rows that wait for these events: users, policies (clicks on slates), items.

    Example:
        >>> sorted(kinds_of([Click(ts=5, item_id="a", user_id="u"), ItemEvent(item_id="a", ts=5)]))
        ['items', 'users']
    """
    kinds = set()
    for event in events:
        if isinstance(event, Click):
            kinds |= {"users"} if event.request_id is None else {"users", "policies"}
        elif isinstance(event, ItemEvent) and not event.deleted:
            kinds.add("items")
    return kinds


class Unlearned:
    """Looks behind the learner's committed positions; for one thread.

    What was found stays the oldest until it is learned, so a backlog is read once, a stretch at each look.
    History is passed over: it is no measure of how fresh rows are.

    Args:
        sources: the workers' logs by name.
        positions: how far each is learned.

    Example:
        >>> from stream.log import MemoryLog
        >>> log = MemoryLog()
        >>> click = b'[{"type": "click", "ts": 5, "user_id": "u", "item_id": "a"}]'
        >>> positions = log.append([Record("events", click, accepted_at=at) for at in (1_000, 1_010)])
        >>> learned = {}
        >>> waiting = Unlearned({"events-0": log}, lambda: learned)
        >>> before = waiting.oldest()
        >>> learned["events-0"] = positions[0]
        >>> before, waiting.oldest()
        ({'users': 1000}, {'users': 1010})
    """

    def __init__(
        self, sources: Mapping[str, EventReader], positions: Callable[[], Mapping[str, int]]
    ) -> None:
        self._positions = positions
        self._sources = [_Source(name, reader) for name, reader in sources.items()]

    def oldest(self) -> dict[str, float]:
        """When the oldest that is not learned was accepted, wall ms, by kind; no entry where nothing waits.

        Raises:
            LogError: a log cannot be read.
        """
        positions = self._positions()
        found: dict[str, float] = {}
        for source in self._sources:
            source.look(positions.get(source.name, 0))
            for kind, (_, at) in source.first.items():
                found[kind] = min(at, found.get(kind, at))
        return found


class _Source:
    """One log: `first` holds by kind the position and time of the oldest event that waits."""

    def __init__(self, name: str, reader: EventReader) -> None:
        self.name, self._reader = name, reader
        self.first: dict[str, tuple[int, int]] = {}
        self._looked = 0

    def look(self, learned: int) -> None:
        gone = {kind for kind, (pos, _) in self.first.items() if pos <= learned}
        if gone:
            self.first = {kind: found for kind, found in self.first.items() if kind not in gone}
            self._looked = learned  # what follows them was not looked for
        self._looked = max(self._looked, learned)
        if len(self.first) == len(_KINDS):
            return
        for record in self._reader.read(self._looked, _RECORDS, _BYTES):
            self._looked = record.pos
            for kind in _kinds_in(record) - self.first.keys():
                self.first[kind] = (record.pos, record.accepted_at)


_KINDS = ("users", "policies", "items")


def _kinds_in(record: Record) -> set[str]:
    if record.backfill or record.kind != "events":
        return set()
    try:
        return kinds_of(decode_logged(record.body, record.schema))
    except EventError:
        return set()
