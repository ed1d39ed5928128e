"""Learned rows from the compacted topics, as commits that `serving.replica.Replica` follows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from learning.parts import Parts
from learning.rows.follow import RowFollower
from learning.rows.marks import Marks
from serving.kafka.consumer import Came, LostRowsError, RowConsumer, topic_ids
from serving.kafka.copies import Copies
from serving.settings import ServingSettings
from stream.clock import Clock
from stream.commits import Delta
from stream.engine import Nudge
from stream.errors import BrokerAwayError, BrokerError, FrameError
from stream.frame import Frame, pack

__all__ = ["RowReader", "passed_over"]

_log = logging.getLogger(__name__)

_CATCHING_UP, _WHILE_SERVING = 5_000, 1_000  # records a commit: taking one over must not hold answers up
_FIGURES_S = 0.5
_RETRY_S = 1.0
_MAX_TOLD = 20


class RowReader:
    """Reads rows, numbers what changes as commits of its own, and keeps copies on disk.

    It is a `DeltaReader`, a `SnapshotReader` and `Nudges`, for one thread but for `load`, which comes before
    it, `applied` and `keep`. A commit is all that one poll gave. Rows that cannot be read are counted, told
    of and passed over.

    Args:
        settings: of everything.
        parts: what the commits are applied to; read for copies when nothing is on its way.
        copies: where to begin, and where to keep what came.
        topics: ids of the topics, or why nobody could be asked: then a copy is needed, and is compared later.
        heard: called whenever something came from the brokers.

    Attributes:
        lost: why nothing more can be followed before a restart; empty while it can.
        trouble: what the brokers said last instead of rows; empty while they give them.
        n_rows, n_refused, n_left, n_lag: records taken, passed over, to come until caught up, not read yet.
    """

    def __init__(
        self,
        settings: ServingSettings,
        parts: Parts,
        copies: Copies,
        clock: Clock,
        *,
        topics: Mapping[str, str] | BrokerAwayError,
        heard: Callable[[], None],
    ) -> None:
        self._settings, self._parts, self._copies, self._clock = settings, parts, copies, clock
        self._topics = None if isinstance(topics, BrokerAwayError) else topics
        self._away = topics if isinstance(topics, BrokerAwayError) else None
        self._heard = heard
        self._follower = RowFollower(settings)
        self._said: set[str] = set()  # parts that are not configured, of which the log has told
        self._differs: set[str] = set()  # parts under other settings, likewise
        self._consumer: RowConsumer | None = None
        self._offsets: dict[str, list[int]] | None = None
        self._seq = self._applied = 0
        self._changed = False
        self._stop = threading.Event()
        self._looked_s = float("-inf")
        self._kept_s = clock.monotonic_s()
        self._kept_seq = 0
        self.caught_up = self._away is not None  # a copy is served at once when nobody can say what is new
        self.lost = self.trouble = ""
        self.n_rows = self._n_unreadable = self.n_lag = 0
        self.n_left = 0

    @property
    def n_refused(self) -> int:
        """Records passed over: unreadable ones, and rows that do not fit or hold what is no finite number."""
        return self._n_unreadable + self._follower.refused

    @property
    def n_waiting(self) -> int:
        """Items of the catalogue that find no row."""
        return self._follower.waiting

    @property
    def misfits(self) -> dict[str, str]:
        """By part how the settings differ under which its rows were written."""
        return self._follower.misfits

    @property
    def connected(self) -> bool:
        """Whether a consumer is there."""
        return self._consumer is not None

    @property
    def marks(self) -> Marks:
        """As the partitions' progress rows have it."""
        return self._follower.marks

    def history(self, partition: int) -> int:
        """The watermark (ms) that history has in a partition of `events`; -1 where there is none."""
        return self._follower.history.get(partition, -1)

    # --- where to begin ---

    def load(self) -> tuple[Frame | None, list[str]]:
        """The copy on disk in the form of a learner's snapshot; None where there is none that fits.

        Raises:
            BrokerAwayError: there is none, and nobody to read rows from.
        """
        frame = self._copies.load(self._clock.now_ms(), self._topics)
        if frame is None:
            if self._away is not None:
                raise self._away
            return None, []
        self._follower.restore(frame["follower"])
        self._offsets = {name: list(offsets) for name, offsets in frame["offsets"].items()}
        self._seq = self._applied = self._kept_seq = frame["seq"]
        self._topics = self._topics or frame["topics"]
        return frame, []

    # --- commits ---

    def last_seq(self) -> int:
        """The number of the last commit."""
        return self._seq

    def read_deltas(self, after_seq: int, limit: int = 1, max_bytes: int = 0) -> list[Delta]:
        """What has come since, as one commit."""
        if not self._changed:
            return []
        self._changed = False
        frame = self._follower.take()
        frame["marks"] = self._follower.marks.frame()
        if not self.caught_up:
            frame.pop("accepted", None)  # what was served by others before this worker was there
        self._seq = after_seq + 1
        return [Delta(self._seq, self._follower.absorbed_at, self._follower.watermark, pack(frame))]

    def wait(self, timeout_s: float) -> Nudge | None:
        """Block until rows come or the time has passed; take them."""
        consumer = self._connected(timeout_s)
        if consumer is None:
            return None
        try:
            came = consumer.poll(timeout_s, _WHILE_SERVING if self.caught_up else _CATCHING_UP)
            self._take(came)
            self._look(consumer, full=bool(came))
        except LostRowsError as error:
            self._lose(error)
        except BrokerError as error:
            self._tell(str(error))
            self._stop.wait(timeout_s)
        if not self._changed and self._is_due():
            self.keep()
        return None

    def _take(self, came: list[Came]) -> None:
        if not came:
            return
        self._heard()
        self.trouble = ""
        for error in self._follower.add_all(came):
            self._refuse(error)
        self.n_rows += len(came)
        self._changed = True
        for name in sorted(self._follower.unknown - self._said):
            _log.warning("rows tell of %r, which is not configured here; they stay and are passed over", name)
        self._said |= self._follower.unknown
        for name, why in self.misfits.items():
            if name not in self._differs:
                _log.warning("%s", passed_over(name, why))
        self._differs |= self.misfits.keys()

    def _refuse(self, error: FrameError) -> None:
        self._n_unreadable += 1
        if self._n_unreadable <= _MAX_TOLD:
            _log.warning("%s; passed over", error)

    # --- the brokers ---

    def _connected(self, timeout_s: float) -> RowConsumer | None:
        if self._consumer is None and not self.lost:
            try:
                self._require_same_topics()
                self._consumer = RowConsumer(self._settings.kafka, self._offsets)
            except LostRowsError as error:
                self._lose(error)
            except BrokerError as error:
                self._tell(str(error))
        if self._consumer is None:
            self._stop.wait(min(timeout_s, _RETRY_S))
        return self._consumer

    def _require_same_topics(self) -> None:
        """Those of the copy, where the brokers were away when it was taken over."""
        if self._away is None:
            return
        if topic_ids(self._settings.kafka) != self._topics:
            msg = "the topics were made anew since the rows that are served; restart this worker to read them"
            raise LostRowsError(msg)
        self._away = None

    def _look(self, consumer: RowConsumer, *, full: bool) -> None:
        """How much is still to come; not at every poll, for it asks about each partition."""
        now_s = self._clock.monotonic_s()
        if (full or self.caught_up) and now_s - self._looked_s < _FIGURES_S:
            return
        self._looked_s = now_s
        self.n_lag = consumer.lag()
        if not self.caught_up:
            self.n_left = consumer.left()
            self.caught_up = self.n_left == 0 and not self._changed and self._applied == self._seq

    def _lose(self, error: LostRowsError) -> None:
        self.lost = str(error)
        _log.error("%s", error)
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _tell(self, trouble: str) -> None:
        if trouble != self.trouble:
            _log.warning("%s; trying again", trouble)
        self.trouble = trouble

    # --- copies ---

    def applied(self, seq: int) -> None:
        """The commits up to `seq` are in the parts."""
        self._applied = seq

    def _is_due(self) -> bool:
        now_s = self._clock.monotonic_s()
        return self.caught_up and now_s - self._kept_s >= self._settings.serve.snapshot_s

    def keep(self) -> bool:
        """Write a copy, if all that was read is in the parts; by the reading thread, or after its end."""
        if self._applied != self._seq or self._changed or self._copies.busy or self._consumer is None:
            return False
        self._kept_s = self._clock.monotonic_s()
        if self._seq == self._kept_seq:
            return False
        self._kept_seq = self._seq
        self._copies.write(
            {
                "at": int(self._clock.now_ms()),
                "topics": dict(self._topics or {}),
                "offsets": self._consumer.offsets(),
                "follower": self._follower.snapshot(),
                "seq": self._seq,
                "absorbed_at": self._follower.marks.absorbed_at,
                "tickers": {"live": self._follower.watermark},
                "step": {**self._parts.snapshot(), "marks": self._follower.marks.frame()},
            }
        )
        return True

    # --- the end ---

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._stop.set()

    def close(self) -> None:
        """Let go of the brokers."""
        if self._consumer is not None:
            self._consumer.close()


def passed_over(part: str, why: str) -> str:
    """That rows of a part were written under other settings, for people.

    Example:
        >>> passed_over("clicks", "half_life_ms: expected 5, the row has 9; give server and workers the same")
        "rows of part 'clicks' are passed over: half_life_ms: expected 5, the row has 9; give server and \
workers the same"
    """
    return f"rows of part {part!r} are passed over: {why}"
