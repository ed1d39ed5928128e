"""The whole learning side as one step: join, learn users, learn items, measure.

The same object runs live, in replay and in benchmarks. A list of somebody else gets its features in
between, from what was learned before it was shown (`learning.foreign`). Order matters only where one part
reads another: history before co-occurrence (it names the pairs), embeddings before centroids and graph (they
look at vectors, at ticks). Policies read nothing but the block: what they learn from was logged.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from learners.encode import encode_rows
from learners.encode_inputs import as_it_travels
from learners.part import naming
from learning.foreign import ForeignLists
from learning.parts import Parts, build_parts
from learning.put_items import put_items
from learning.settings import LearningSettings
from learning.waiting_lists import WaitingLists
from stream.accepted import AcceptedTimes, policy_clicks, read_times, served_items
from stream.blocks import FeedbackBlock, Forgotten, ItemsBlock
from stream.events import LoggedEvent
from stream.forget import ForgetBook
from stream.frame import Frame
from stream.join import Joiner
from stream.steady import AHEAD_MS

__all__ = ["Pipeline"]

_log = logging.getLogger(__name__)

_ONE_ROW = np.zeros(1, np.int32)


class Pipeline:
    """A `stream.step.Step` made of the joiner, the learners, the policies and the measures.

    `take()` gives one frame with the changes of every part, by name; `learning.parts.Parts` on the serving
    side applies it to the same classes. `forget_key` keys the hashes of forgotten users; one that does not
    train (`World.trains`) is for warming up where nothing is learned. With `late` it is a step with patience
    (`stream.step.Patient`): what may learn whole lists late does so in `work`.

    Example:
        >>> from learning.settings import LearningSettings
        >>> from stream.events import Click
        >>> pipeline = Pipeline(LearningSettings(), b"sixteen bytes or more")
        >>> pipeline.on_events([Click(ts=5, user_id="u", item_id="a")])
        >>> pipeline.parts.items.find(["a"]).tolist(), pipeline.joiners[False].counters["organic"]
        ([0], 1)
    """

    def __init__(
        self, settings: LearningSettings, forget_key: bytes, *, trains: bool = True, late: bool = False
    ) -> None:
        self.settings = settings
        self.forgotten = ForgetBook(forget_key)
        self.joiners = {backfill: Joiner(settings.join, self.forgotten) for backfill in (False, True)}
        self.parts: Parts = build_parts(settings, trains=trains)
        parts = self.parts
        self._foreign = ForeignLists(parts)
        self._noting = {**parts.learners(), **parts.list_learners(), **parts.policy_rows()}
        self._late = parts.late_learners()
        # Without `late` it only takes up what another process has left.
        self._is_late = late and bool(self._late)
        layout = f"{parts.request_features.layout}|{','.join(parts.ranker.names)}"
        self._lists = WaitingLists(lambda block: parts.learn_lists(block, late=True), layout)
        self._has_worked = self._tells_all = False
        self._maintained_ms = 0
        self._times: Sequence[int] = ()
        self._accepted = {kind: AcceptedTimes() for kind in ("users", "items", "policies")}

    # -- the step --------------------------------------------------------------------------------------------

    def on_events(self, events: Sequence[LoggedEvent], *, backfill: bool = False) -> None:
        """Take events in log order."""
        joiner = self.joiners[backfill]
        times, self._times = self._times, ()
        joiner.on_events(events, times)
        self._learn(joiner)

    def accepted(self, times: Sequence[int]) -> None:
        """When each event of the next `on_events` was accepted, see `stream.step.Measured`."""
        self._times = times

    def on_tick(self, now_ms: int, *, backfill: bool = False) -> None:
        """Close windows; on the live stream also keep tables, centroids and graph in shape."""
        joiner = self.joiners[backfill]
        joiner.on_tick(now_ms)
        self._learn(joiner)
        if not backfill:
            self.maintain(now_ms)
            self.parts.read_notes(self._noting)

    def maintain(self, now_ms: int) -> None:
        """Keep tables, centroids and graph in shape, if it is time again."""
        if now_ms - self._maintained_ms >= self.settings.learn.maintain_ms:
            self._maintained_ms = now_ms
            self._maintain(now_ms)

    def take(self) -> Frame:
        """Changed rows of every part since the last call, and the joiner's outcomes."""
        frame = self.parts.changes()
        if self._tells_all:
            self._tells_all = False
            for name, part in self._late.items():
                if "shared" in part.spec.sides:
                    frame[name] = {
                        **frame[name],
                        "shared": {"rows": _ONE_ROW, **part.export("shared", _ONE_ROW)},
                    }
        frame["join"] = self._join_figures()
        accepted = {kind: read_times(times.take()) for kind, times in self._accepted.items()}
        if any(accepted.values()):
            frame["accepted"] = accepted
        return frame

    def snapshot(self) -> Frame:
        """All state."""
        return {
            **self.parts.snapshot(),
            "forgotten": self.forgotten.snapshot(),
            "live": self.joiners[False].snapshot(),
            "backfill": self.joiners[True].snapshot(),
            "maintained_ms": self._maintained_ms,
            "join": self._join_figures(),
            **({"waiting_lists": waiting} if (waiting := self._lists.snapshot()) else {}),
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        if new := self.parts.new_beside(frame):
            _log.warning("nothing was learned of these yet, so they start afresh: %s", ", ".join(new))
        self.parts.restore(frame)
        self.forgotten.restore(frame["forgotten"])
        self.joiners[False].restore(frame["live"])
        self.joiners[True].restore(frame["backfill"])
        self._maintained_ms = frame["maintained_ms"]
        self._lists.restore(frame.get("waiting_lists", {}))
        while self._lists and not self._is_late:
            self._lists.work()
        if "moved_users" in frame:  # written before the centroids were a part
            self.parts.centroids.moved.put(frame["moved_users"])

    def rewind(self, now_ms: int) -> None:
        """Time was wrong and is `now_ms`: both streams begin again from there, with all that was learned."""
        for joiner in self.joiners.values():
            joiner.rewind(now_ms, now_ms + AHEAD_MS)
        self._maintained_ms = min(self._maintained_ms, now_ms)

    # -- what may wait ---------------------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """See `stream.step.Patient`."""
        return bool(self._lists)

    def work(self) -> None:
        """See `stream.step.Patient`. The first time all that late learners share is told again: what they had
        learned by some commit before a restart need not be what they have learned by it now."""
        if not self._has_worked:
            self._has_worked = self._tells_all = True
        self._lists.work()

    # -- learning --------------------------------------------------------------------------------------------

    def _learn(self, joiner: Joiner) -> None:
        for segment in joiner.take():
            if isinstance(segment, FeedbackBlock):
                self._learn_block(segment, joiner)
            elif isinstance(segment, ItemsBlock):
                put_items(self.parts, segment.items)
                self._accepted["items"].add(served_items(segment))
            elif isinstance(segment, Forgotten):
                self._forget(segment)

    def _learn_block(self, block: FeedbackBlock, joiner: Joiner) -> None:
        parts = self.parts
        self._accepted["users"].add(block.accepted)
        self._accepted["policies"].add(policy_clicks(block))
        encoded = encode_rows(
            block,
            parts.users,
            parts.items,
            max_clusters=self.settings.policy.context_clusters,
            policies=tuple(parts.policies),
            request=parts.request_features,
            item_keys=parts.item_keys if parts.reads_inputs else None,
        )
        if numbers := self._foreign.learn(encoded, parts.learn_both):
            joiner.weigh_again([encoded.slates[n] for n in numbers])
        # Nothing above reads what is learned from whole lists, so that may wait for the block's end.
        rows = encoded.put_features(parts.ranker.schemas)
        parts.learn_lists(rows, travelled=False, late=False if self._is_late else None)
        if self._is_late:
            self._lists.put(as_it_travels(rows))
        for name, part in parts.deciders().items():
            with naming(name):
                part.learn_items(rows, {})
        parts.measure(block)
        if known := [slate for slate in block.slates if slate.item_context]:
            joiner.weigh_again(known)

    def _forget(self, user: Forgotten) -> None:
        self.parts.remove_users(self.parts.users.remove([user.user_id]))

    def _maintain(self, now_ms: int) -> None:
        parts = self.parts
        parts.remove_items(parts.items.tick(now_ms, parts.catalogue.listed))
        parts.remove_users(parts.users.tick(now_ms))
        parts.tick_both(now_ms)

    def _join_figures(self) -> Frame:
        live, backfill = self.joiners[False], self.joiners[True]
        counters = {name: live.counters[name] + backfill.counters[name] for name in live.counters}
        return {
            "counters": counters,
            "pressure": max(live.pressure, backfill.pressure),
            "history_watermark": max(-1, backfill.watermark),
        }
