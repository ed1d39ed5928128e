"""Records of `feedback` and `item-feedback` as segments, or as dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from learning.shards.letters import letter_about
from stream.block_codec import decode_segment
from stream.blocks import Segment
from stream.engine.shard import Output, SourceRecord
from stream.errors import FrameError, LogError, NewerFrameError, PartError

__all__ = ["SegmentReader"]


class SegmentReader:
    """Reads one partition of a topic of segments; what it cannot read is a dead letter with its place.

    Args:
        topic: without prefix.
        partition: number of the partition.
        kinds: the segments that this topic holds.

    Example:
        >>> from stream.blocks import Forgotten
        >>> reader = SegmentReader("feedback", 0, (Forgotten,))
        >>> reader.read(SourceRecord(7, b"?")), [letter.key for letter in reader.take()]
        (None, [b'feedback/0/7'])
    """

    def __init__(self, topic: str, partition: int, kinds: Sequence[type[Segment]]) -> None:
        self._topic, self._partition, self._kinds = topic, partition, tuple(kinds)
        self._letters: list[Output] = []
        self.n_letters = 0
        """Dead letters since this object was made."""

    @contextmanager
    def placing(self, offset: int) -> Iterator[None]:
        """What a part raises is said with the place of the record.

        Raises:
            PartError: a part has raised.
        """
        try:
            yield
        except PartError as error:
            msg = f"in {self._topic}/{self._partition}/{offset}: {error}"
            raise PartError(msg) from error

    def read(self, record: SourceRecord) -> Segment | None:
        """The record's segment; None if it became a dead letter.

        Raises:
            LogError: a newer program wrote it.
        """
        try:
            segment = decode_segment(record.value)
        except NewerFrameError as error:
            msg = f"{self._topic}/{self._partition}/{record.offset}: {error}"
            raise LogError(msg) from error
        except FrameError as error:
            self.bury(record, str(error))
            return None
        if isinstance(segment, self._kinds):
            return segment
        self.bury(record, f"a segment of this kind does not belong here: {type(segment).__name__}")
        return None

    def bury(self, record: SourceRecord, reason: str) -> None:
        """Write a dead letter about a record."""
        self.n_letters += 1
        self._letters.append(letter_about(record, reason, self._topic, self._partition))

    def take(self) -> list[Output]:
        """The dead letters since the last call."""
        letters, self._letters = self._letters, []
        return letters
