"""Several logs as one sequence, by the time at which they accepted each record."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import accumulate, groupby
from operator import itemgetter

from stream.commits import Span
from stream.log import Record

__all__ = ["merge_reads", "spans"]


def merge_reads(
    reads: Mapping[str, Sequence[Record]], unfinished: Mapping[str, bool]
) -> tuple[list[tuple[str, Record]], int | None]:
    """Order what was read from each source by (`accepted_at`, source, position).

    A source that was not read to its end (`unfinished`) may hold more records from its last `accepted_at` on;
    whatever is newer than that is left for the next time, so a long backlog of one source is not overtaken
    by the present of another. Returns the sequence and that bound (ms), or None when all ends were reached.

    Example:
        >>> a = [Record("events", b"", 1, pos=1), Record("events", b"", 9, pos=2)]
        >>> b = [Record("events", b"", 5, pos=1)]
        >>> order, bound = merge_reads({"a": a, "b": b}, {"a": False, "b": True})
        >>> [(source, record.pos) for source, record in order], bound
        ([('a', 1), ('b', 1)], 5)
    """
    # Never falling within a log, also where a clock was wrong and was mended: no record overtakes another.
    times = {name: list(accumulate((r.accepted_at for r in read), max)) for name, read in reads.items()}
    bound = min((times[name][-1] for name, more in unfinished.items() if more), default=None)
    queues = [
        [(at, name, record) for at, record in zip(times[name], reads[name], strict=True)]
        for name in sorted(reads)
        if reads[name]
    ]
    merged = queues[0] if len(queues) == 1 else heapq.merge(*queues, key=lambda entry: entry[:2])
    return [(name, record) for at, name, record in merged if bound is None or at <= bound], bound


def spans(order: Sequence[tuple[str, Record]], positions: Mapping[str, int]) -> list[Span]:
    """The sequence in brief: runs of one source, starting behind `positions`.

    Example:
        >>> one, two = Record("events", b"", 1, pos=4), Record("events", b"", 2, pos=9)
        >>> spans([("a", one), ("a", two)], {"a": 3})
        [Span(source='a', after=3, last=9, count=2)]
    """
    reached = dict(positions)
    found: list[Span] = []
    for source, group in groupby(order, key=itemgetter(0)):
        records = list(group)
        last = records[-1][1].pos
        found.append(Span(source, reached.get(source, 0), last, len(records)))
        reached[source] = last
    return found
