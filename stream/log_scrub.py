"""Forget in files, stage 3: the owner of a log takes out what the learner found, see `stream.scrub`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import groupby

import msgspec

from stream.commits import CommitReader, Cuts
from stream.cuts import Span
from stream.log import Claims, SQLiteLog

__all__ = ["LogScrub"]

_AT_ONCE, _AT_ONCE_BYTES = 50, 256 << 10
_PATIENCE_S = 0.02


class _Request(msgspec.Struct):
    request_id: str | None = None


_request_decoder = msgspec.json.Decoder(_Request)


class LogScrub:
    """A log owner's part: run it in the process that writes the log, in a thread of its own.

    Appends go on meanwhile: each waits for at most one transaction, of 256 kB or one record, or 20 ms for the
    cutting of the write-ahead log, which is tried again later if readers are in the way. Only a file that an
    older program wrote in is written anew, once, while appends wait: rows moved about in it may have left
    copies.

    Args:
        source: the log's name.
        log: the log, opened for writing.
        commits: the learner's file.
        claims: where the forgotten requests are claimed, if there is such a file.
    """

    def __init__(
        self, source: str, log: SQLiteLog, commits: CommitReader, claims: Claims | None = None
    ) -> None:
        self._source = source
        self._log = log
        self._commits = commits
        self._claims = claims
        self._cut = 0

    def pending(self) -> bool:
        """Whether forgets are ready that this file has not been freed of."""
        return self._commits.ready_scrub() > self._log.database.meta("scrubbed")

    def run(self) -> bool:
        """Free the file of what is ready; false if readers were in the way and it must be run again.

        Raises:
            LogError: the file could not be written (a full disk, for instance); it stays pending.
        """
        ready, database = self._commits.ready_scrub(), self._log.database
        done = database.meta("scrubbed")
        if ready <= done:
            return True
        if self._cut < ready:
            self._cut_all(done, ready)
            if not database.meta("clean"):
                database.vacuum()
                database.set_meta("clean", 1)
            self._cut = ready
        database.checkpoint_aside()
        if not database.checkpoint(timeout_s=_PATIENCE_S):
            return False
        database.set_meta("scrubbed", ready)
        return True

    def _cut_all(self, done: int, ready: int) -> None:
        for letter, cuts in groupby(self._commits.cuts(self._source, done, ready), lambda cut: cut.letter):
            for some in _batched(cuts):
                if letter:
                    self._log.dead_letters.empty([cut.pos for cut in some])
                    continue
                self._forget_claims(some)
                spans: dict[int, list[Span]] = {}
                for cut in some:
                    spans.setdefault(cut.pos, []).extend(cut.spans)
                self._log.cut(spans)
                self._log.relieve()

    def _forget_claims(self, cuts: list[Cuts]) -> None:
        """Of requests that are about to be cut; afterwards nobody knows them."""
        if self._claims is None:
            return
        requests: set[str] = set()
        for cut in cuts:
            for record in self._log.read(cut.pos - 1, 1):
                for start, end in cut.spans if record.pos == cut.pos else []:
                    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                        event = _request_decoder.decode(record.body[start:end])
                        requests |= {event.request_id} if event.request_id else set()
        if requests:
            self._claims.forget(requests)


def _batched(cuts: Iterator[Cuts]) -> Iterator[list[Cuts]]:
    """A few at a time: records in which much is to go are large."""
    some: list[Cuts] = []
    for cut in cuts:
        some.append(cut)
        size = sum(spans[-1][1] for spans in (one.spans for one in some) if spans)
        if len(some) >= _AT_ONCE or size >= _AT_ONCE_BYTES:
            yield some
            some = []
    if some:
        yield some
