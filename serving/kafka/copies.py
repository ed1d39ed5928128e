"""All rows on disk, with the offsets behind them: what a restarted worker goes on from."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from learning.choices import in_one_way
from learning.settings import LearningSettings
from stream.errors import SnapshotError
from stream.frame import Frame
from stream.snapshot import read_snapshot, write_snapshot

__all__ = ["MAX_AGE_MS", "Copies", "fingerprint"]

_log = logging.getLogger(__name__)

_KIND = "served-rows-2"
MAX_AGE_MS = 12 * 3_600_000
"""Brokers drop the notice of a deletion a day after it was written: who has not looked for so long may have
missed one. Half of that is on the safe side."""


def fingerprint(settings: LearningSettings) -> str:
    """What must be equal for a copy to fit: the sizes of the parts, and the topics' names."""
    whole = in_one_way(settings)
    fitting = (
        whole.learn,
        whole.policy,
        whole.policies,
        whole.learners,
        whole.measures,
        whole.kafka.prefix,
        whole.kafka.partitions,
    )
    return hashlib.sha256(msgspec.json.encode(fitting, order="deterministic")).hexdigest()


class Copies:
    """One file, written aside and renamed, by a thread that the caller does not wait for.

    A frame has ``at`` (wall ms), ``fingerprint``, ``topics`` (name → id of the topic as the brokers have it),
    ``offsets`` (name → next offset by partition), and whatever the caller adds.

    Example:
        See `tests/serving/test_kafka_copies.py`.
    """

    def __init__(self, path: Path, settings: LearningSettings) -> None:
        self._path = path
        self._fingerprint = fingerprint(settings)
        self._thread: threading.Thread | None = None
        self.written = 0

    def load(self, now_ms: float, topics: Mapping[str, str] | None) -> Frame | None:
        """The copy, if there is one that can be gone on from; what is wrong with it is told of.

        `topics` are the ids of the topics that are there now; None while nobody can be asked.
        """
        for leftover in self._path.parent.glob(f"{self._path.name}.*.aside"):
            leftover.unlink(missing_ok=True)
        if not self._path.exists():
            return None
        try:
            frame = read_snapshot(self._path, _KIND)
        except SnapshotError as error:
            _log.warning("%s; all rows are read again", error)
            return None
        reason = self._unfit(frame, now_ms, topics)
        if reason:
            _log.warning("%s is not used: %s; all rows are read again", self._path.name, reason)
            return None
        return frame

    def _unfit(self, frame: Frame, now_ms: float, topics: Mapping[str, str] | None) -> str:
        if frame.get("fingerprint") != self._fingerprint:
            return "it was written under other settings of [learn], [policy] or [kafka]"
        if now_ms - frame["at"] > MAX_AGE_MS:
            return "it is older than 12 hours, and deletions since may have been cleared away"
        if topics is not None and frame["topics"] != dict(topics):
            return "the topics were made anew since"
        return ""

    def write(self, frame: Mapping[str, Any]) -> None:
        """Write `frame` (whose arrays are nobody else's) beside the caller, unless that is still going on."""
        if self.busy:
            return
        self._thread = threading.Thread(target=self._write, args=(frame,), name="copies", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether one is being written."""
        return self._thread is not None and self._thread.is_alive()

    def finish(self) -> None:
        """Wait for the one that is being written."""
        if self._thread is not None:
            self._thread.join()

    def _write(self, frame: Mapping[str, Any]) -> None:
        try:
            write_snapshot(self._path, _KIND, {**frame, "fingerprint": self._fingerprint})
        except SnapshotError as error:
            _log.warning("%s", error)
            return
        self.written += 1
