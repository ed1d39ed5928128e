"""Rows by id in tests: a learner that publishes what shards would, a server that follows, comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bandits import Context, DiagLinUcb
from bandits.arms import ArmCounts
from freshet.config import Settings, load_settings
from index import LiveIndex
from learning.parts import Parts, build_parts
from learning.pipeline import Pipeline
from learning.rows.codec import ROW_VERSION, ItemRow, PolicyRow, UserRow, encode_row
from learning.rows.follow import RowFollower
from learning.rows.packed_cells import Cells
from learning.rows.publish import ItemRows, TrainedRows, UserRows
from learning.rows.shared import SharedRows
from serving.decisions import Circumstances, DecisionMaker
from serving.item_index import ItemIndex
from serving.requests import RecommendRequest
from serving.settings import ServeSettings
from stream.block_codec import encode_item
from stream.engine.shard import Output
from stream.events import Click, Decision, ItemEvent, LoggedEvent, Tick
from stream.frame import Frame, pack, unpack
from stream.kafka.partitioning import partition_of
from stream.step import Stateful, Step
from stream.testing import ScriptedEvents, drive
from tests.harness.cells import history, in_table

__all__ = [
    "DIM",
    "RowPublisher",
    "RowServer",
    "assert_same_answers",
    "assert_same_state",
    "assert_same_tables",
    "candidates",
    "item_row",
    "known_items",
    "make_settings",
    "names_of",
    "row_record",
    "scripted",
    "user_row",
]

_KEY = b"a key for tests, no secret"
DIM = 8
"""Numbers of a vector in these tests."""


SCORERS_BEFORE = tuple({"kind": kind} for kind in ("popular", "together", "together_by_history", "taste"))
"""The default ones when what is stored in `tests/learning/data` was written: logs hold five features."""


def make_settings(**learn: Any) -> Settings:
    """Small ones, with every policy; further settings of ``[learn]``."""
    return load_settings(
        environ={},
        flags={
            "learn": {
                "embedding_dim": DIM,
                "maintain_ms": 2_000,
                "max_items": 4_096,
                "max_users": 4_096,
                **learn,
            },
            "policy": {"centroids": 6, "others": ["uniform", "thompson", "epsilon_greedy"]},
            "scorers": SCORERS_BEFORE,
        },
    )


class RowPublisher:
    """An embedded learner whose parts are published as those of shards would be."""

    def __init__(self, settings: Settings | None = None, n_partitions: int = 1) -> None:
        self.pipeline = Pipeline(settings or make_settings(), _KEY)
        self.n_partitions = n_partitions
        parts = self.pipeline.parts
        self._users, self._items = UserRows(parts, 0), ItemRows(parts, 0, lambda _: 0)
        self._trained = TrainedRows({"ranker": parts.ranker})
        of_all = {**parts.learners(), **parts.policy_parts(), **parts.measures}
        self._shared = SharedRows(of_all, "items", 0)
        self.stateful: Sequence[Stateful] = (self._users, self._items)

    @property
    def parts(self) -> Parts:
        """What it has learned."""
        return self.pipeline.parts

    def learn(self, events: Sequence[LoggedEvent]) -> list[Output]:
        """What is written while these events are learned: the catalogue by JOIN, the rest by shards."""
        outputs = []
        for event in events:
            if isinstance(event, ItemEvent):
                value = None if event.deleted else encode_item(event)
                outputs.append(Output("catalogue", 0, value, event.item_id.encode()))
        drive(cast(Step, self.pipeline), events)
        return [self._placed(output) for output in [*outputs, *self.taken()]]

    def taken(self) -> list[Output]:
        """What the publishers have to say since they were last asked."""
        return [
            self._placed(output)
            for rows in (self._users, self._items, self._trained, self._shared)
            for output in rows.take()
        ]

    def _placed(self, output: Output) -> Output:
        if output.topic == "control":
            return output
        return output._replace(partition=partition_of((output.key or b"").decode(), self.n_partitions))


class RowServer:
    """A serving worker's parts and what keeps them up to date."""

    def __init__(self, settings: Settings | None = None) -> None:
        settings = settings or make_settings()
        self.follower, self.parts = RowFollower(settings), build_parts(settings)
        self.frames: list[Frame] = []

    def follow(self, outputs: Sequence[Output], every: int = 0) -> None:
        """Take these records, with a frame after `every` so many, or one at the end."""
        every = every or max(1, len(outputs))
        for low in range(0, len(outputs), every):
            came = [(o.topic, o.partition, o.key or b"", o.value) for o in outputs[low : low + every]]
            for error in self.follower.add_all(came):
                raise error
            self.apply()

    def apply(self) -> None:
        """Give the parts what was gathered, as bytes and back."""
        frame = unpack(pack(self.follower.take()))
        assert not frame.keys() - self.parts.named().keys()
        for name, part in self.parts.named().items():
            if frame.get(name):
                part.apply(frame[name])
        self.frames.append(frame)


def known_items(parts: Parts) -> list[str]:
    """The ids in the item table, in order."""
    return sorted(name for name in parts.items.ids_of(parts.items.live) if name is not None)


def names_of(parts: Parts, rows: NDArray[np.int32]) -> list[str | None]:
    """The ids of item rows."""
    return parts.items.ids_of(rows)


def assert_same_state(mine: Parts, theirs: Parts, now: int) -> None:
    """That two workers know the same, by id, whatever their rows."""
    names, users = known_items(theirs), [u for u in theirs.users.ids_of(theirs.users.live) if u is not None]
    assert known_items(mine) == names
    assert sorted(mine.users.ids_of(mine.users.live), key=str) == sorted(users)
    assert_same_tables(mine, theirs, names, users)
    for name in names:
        _assert_same_item(mine, theirs, name)
    for user in users:
        a, b = mine.users.row_of(user), theirs.users.row_of(user)
        assert names_of(mine, mine.history.clicked(a)) == names_of(theirs, theirs.history.clicked(b))
        np.testing.assert_array_equal(mine.history.recent_ts(a, 99), theirs.history.recent_ts(b, 99))
    at, them = mine.items.find(names), theirs.items.find(names)
    for h in range(2):
        np.testing.assert_allclose(mine.popularity.scores(now, h, at), theirs.popularity.scores(now, h, them))
    np.testing.assert_array_equal(mine.catalogue.servable(at, now), theirs.catalogue.servable(them, now))
    np.testing.assert_array_equal(mine.ranker.weights, theirs.ranker.weights)
    np.testing.assert_array_equal(mine.centroids.vectors, theirs.centroids.vectors)
    for name, measure in theirs.measures.items():
        assert mine.measures[name].by_labels() == measure.by_labels(), name


def assert_same_tables(mine: Parts, theirs: Parts, names: list[str], users: list[str]) -> None:
    """That users and items have the same vectors, biases and counts."""
    for table, other, ids in ((mine.items, theirs.items, names), (mine.users, theirs.users, users)):
        a, b = table.find(ids), other.find(ids)
        for column in ("data", "clicks", "impressions", "version", "touched_at"):
            np.testing.assert_array_equal(getattr(table, column)[a], getattr(other, column)[b])
    np.testing.assert_array_equal(
        mine.mf.item_bias(mine.items.find(names)), theirs.mf.item_bias(theirs.items.find(names))
    )
    np.testing.assert_array_equal(
        mine.mf.user_bias(mine.users.find(users)), theirs.mf.user_bias(theirs.users.find(users))
    )


def _assert_same_item(mine: Parts, theirs: Parts, name: str) -> None:
    a, b = mine.items.row_of(name), theirs.items.row_of(name)
    rows, shares = mine.cooccurrence.neighbours(a, 100)
    other_rows, other_shares = theirs.cooccurrence.neighbours(b, 100)
    ours = dict(zip(names_of(mine, rows), shares.tolist(), strict=True))
    others = dict(zip(names_of(theirs, other_rows), other_shares.tolist(), strict=True))
    assert ours.keys() == others.keys()
    np.testing.assert_allclose([ours[key] for key in others], list(others.values()))
    for x, y in zip(_diag(mine).edges(a), _diag(theirs).edges(b), strict=True):
        np.testing.assert_array_equal(x, y)
    assert _diag(mine).shown(np.array([a])) == _diag(theirs).shown(np.array([b]))
    np.testing.assert_array_equal(mine.graph.clusters_of(a), theirs.graph.clusters_of(b))
    for policy in ("thompson", "epsilon_greedy"):
        arms, other_arms = (
            cast(ArmCounts, mine.policies[policy]),
            cast(ArmCounts, theirs.policies[policy]),
        )
        assert arms.of(np.array([a], np.int32)) == other_arms.of(np.array([b], np.int32))
    if theirs.catalogue.known[b] and not theirs.catalogue.deleted[b]:
        assert mine.catalogue.attributes(a) == theirs.catalogue.attributes(b)
        assert mine.catalogue.group_name(a) == theirs.catalogue.group_name(b)
        assert mine.catalogue.entered_ms[a] == theirs.catalogue.entered_ms[b]


def _diag(parts: Parts) -> DiagLinUcb:
    policy = parts.policies["diag_lin_ucb"]
    assert isinstance(policy, DiagLinUcb)
    return policy


def candidates(parts: Parts) -> dict[int, dict[str | None, float]]:
    """Scores by item of what the policy may choose in each cluster."""
    found = {}
    for cluster in [0, *parts.centroids.ids.tolist()]:
        context = Context(np.array([cluster], np.int32), np.ones(1, np.float32))
        rows = parts.graph.candidates(context.clusters)
        scores = _diag(parts).ucb(context, rows)
        found[cluster] = dict(zip(names_of(parts, rows), scores.tolist(), strict=True))
    return found


def _decisions(parts: Parts, now: int) -> list[Decision]:
    index = ItemIndex(LiveIndex(DIM, 4_096), parts.items, parts.catalogue)
    index.rebuild()
    # The ranker decides everything: a draw among equals would depend on row numbers.
    maker = DecisionMaker(parts, index, ServeSettings(), epsilon=0.0, seed=1)
    return [
        maker.decide(
            RecommendRequest(user_id=f"u{user}", k=12), Circumstances(f"r{user}", now, now, False, "")
        )
        for user in range(14)
    ]


def assert_same_answers(mine: Parts, theirs: Parts, now: int) -> None:
    """That the same requests get the same items at the same scores."""
    assert candidates(mine) == candidates(theirs)
    for ours, other in zip(_decisions(mine, now), _decisions(theirs, now), strict=True):
        assert len(ours.items) == len(other.items) > 0
        np.testing.assert_allclose(ours.scores or [], other.scores or [], atol=1e-6)
        assert ours.clusters == other.clusters
        # Of equal scores the lower row comes first, and rows are numbered otherwise.
        assert _distinct(ours) == _distinct(other)


def _distinct(decision: Decision) -> dict[str, float]:
    """Items whose score no other has, and which a tie at the end could therefore not push out."""
    scores = [round(score, 6) for score in decision.scores or []]
    pairs = zip(decision.items, scores, strict=True)
    return {item: score for item, score in pairs if scores.count(score) == 1 and score != scores[-1]}


def scripted(seed: int, n: int = 500) -> list[LoggedEvent]:
    """A log with decisions, clicks, deletions and forgets."""
    n_features = build_parts(make_settings()).ranker.n_features
    events = ScriptedEvents(seed, n_features=n_features).take(n)
    first = next(event for event in events if isinstance(event, ItemEvent))
    gone = [ItemEvent(item_id=f"i{item}", ts=events[-1].ts, deleted=True) for item in (3, 7)]
    late: list[LoggedEvent] = [
        ItemEvent(
            item_id="late", ts=events[-1].ts, group="c", attributes={"title": "new"}, available_from=first.ts
        ),
        Click(ts=events[-1].ts, user_id="u1", item_id="never sent"),
    ]
    return [*events, *gone, *late, Tick(ts=events[-1].ts + 45 * 60_000)]


def user_row(name: str, *clicked: str, more: Cells | None = None, **columns: Any) -> UserRow:
    """A user who has clicked these items; `more` is of the factorisation."""
    layout = columns.pop("layout", ROW_VERSION)
    parts = {"history": history(clicked, np.arange(len(clicked))), "mf": more or {}}
    parts |= in_table(np.full(DIM, float(len(clicked))), **columns)
    return UserRow(user_id=name, layout=layout, parts=parts)


def item_row(
    name: str, *, entered_at: int = 0, parts: dict[str, Cells] | None = None, **columns: Any
) -> ItemRow:
    """An item with a vector of ones."""
    return ItemRow(
        item_id=name, entered_at=entered_at, parts={**(parts or {}), **in_table(np.ones(DIM), **columns)}
    )


def row_record(topic: str, row: UserRow | ItemRow | PolicyRow, partition: int = 0) -> Output:
    """The record of a row in a topic."""
    key = row.user_id if isinstance(row, UserRow) else row.item_id
    return Output(topic, partition, encode_row(row), key.encode())
