"""The contract kit of this room: small worlds, and what every learner must pass in them.

A `SmallWorld` drives all learners the way a pipeline does. `LearnerContract` is inherited once for each
learner; it cuts, stops, resumes and replicates the same random stream and compares bits.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from learners.admission import Admission
from learners.ask import Ask
from learners.default_scorers import default_scorers
from learners.encode import encode
from learners.parts.cooccurrence import CoOccurrence
from learners.parts.factorisation import MatrixFactorisation
from learners.parts.history import Histories
from learners.parts.popularity import Popularity
from learners.parts.ranker import Ranker
from learners.parts.table_columns import Counts, Vectors
from learners.rows import RowBlock
from learners.table import EmbeddingTable
from stream.blocks import CLICK, CLOSED, ORGANIC, SHOWN, FeedbackBlock, Slate
from stream.frame import Frame, pack, unpack
from stream.step import Replicated

__all__ = ["LearnerContract", "Operation", "SmallWorld", "blocks", "digest", "organic_rows", "random_stream"]

TICK = -1


class Operation(NamedTuple):
    """One operation of a stream before it is cut into blocks; kind -1 is a tick."""

    kind: int
    ts: int
    slate: Slate | None = None
    pair: tuple[str, str] = ("", "")
    place: int = -1
    reward: float = 0.0


def organic_rows(
    pairs: Sequence[tuple[int, int]], ts: Sequence[int] | None = None, rewards: Sequence[float] | None = None
) -> RowBlock:
    """A block of organic clicks on (user row, item row), at `ts` (0, 1, 2, ... ms if not given).

    `rewards` are 1 each if not given; a negative one is a dislike.

    Example:
        >>> organic_rows([(0, 3), (1, 4)]).item
        array([3, 4], dtype=int32)
    """
    n = len(pairs)
    none, floats = np.zeros(0, np.int32), np.zeros(0, np.float32)
    table = np.array(pairs, np.int32).reshape(-1, 2)
    return RowBlock(
        slate_user=none,
        slate_ts=np.zeros(0, np.int64),
        start=np.zeros(1, np.int32),
        clusters=np.zeros((0, 1), np.int32),
        weights=np.zeros((0, 1), np.float32),
        decided=np.zeros(0, np.bool_),
        policy=np.zeros(0, np.int8),
        items=none,
        propensity=floats,
        rewards=floats,
        rank_features=np.zeros((0, 0), np.float32),
        explored=np.zeros(0, np.bool_),
        other_start=np.zeros(1, np.int32),
        other_features=np.zeros((0, 0), np.float32),
        kind=np.full(n, ORGANIC, np.int8),
        slate=np.full(n, -1, np.int32),
        place=np.full(n, -1, np.int32),
        user=np.ascontiguousarray(table[:, 0]),
        item=np.ascontiguousarray(table[:, 1]),
        reward=np.ones(n) if rewards is None else np.array(rewards, np.float64),
        first=np.ones(n, np.bool_),
        ts=np.arange(n, dtype=np.int64) if ts is None else np.array(ts, np.int64),
    )


def random_stream(seed: int, n: int, *, n_users: int = 30, n_items: int = 40) -> list[Operation]:
    """A stream of about `n` operations with everything in it: slates that overlap, clicks, organics."""
    rng = np.random.default_rng(seed)
    out: list[Operation] = []
    pending: list[Slate] = []
    ts = 1_000
    while len(out) < n:
        ts += int(rng.integers(0, 2_000))
        user = f"u{rng.integers(n_users)}"
        draw = rng.random()
        if draw < 0.35:
            items = [f"i{i}" for i in rng.choice(n_items, 5, replace=False)]
            features = rng.normal(size=(5, 5)).astype("<f4").tobytes()
            slate = Slate(
                request_id=f"r{len(out)}", user_id=user, ts=ts, items=items[:3], others=items[3:],
                decided=True,
                features=features, rewards={}, propensities=[0.5, None, 0.1],
            )  # fmt: skip
            pending.append(slate)
            out.append(Operation(SHOWN, ts, slate))
        elif draw < 0.6 and pending:
            slate = pending[int(rng.integers(len(pending)))]
            place = int(rng.integers(3))
            if place not in slate.rewards:
                slate.rewards[place] = reward = float(rng.choice([1.0, 1.0, -1.0]))
                out.append(Operation(CLICK, ts, slate, place=place, reward=reward))
        elif draw < 0.75 and pending:
            out.append(Operation(CLOSED, ts, pending.pop(0)))
        elif draw < 0.95:
            reward = float(rng.choice([1.0, 1.0, 1.0, 0.0, -1.0]))
            out.append(Operation(ORGANIC, ts, pair=(user, f"i{rng.integers(n_items)}"), reward=reward))
        else:
            out.append(Operation(TICK, ts))
    return out


def blocks(stream: Sequence[Operation], cuts: Sequence[int] = ()) -> Iterator[FeedbackBlock | int]:
    """Blocks of the stream, cut before the operations numbered in `cuts` and at ticks (an int)."""
    block = FeedbackBlock()
    places: dict[int, int] = {}
    for n, op in enumerate(stream):
        if (op.kind == TICK or n in cuts) and len(block):
            yield block
            block, places = FeedbackBlock(), {}
        if op.kind == TICK:
            yield op.ts
            continue
        if op.slate is None:
            ref = len(block.organic)
            block.organic.append(op.pair)
        else:
            ref = places.setdefault(id(op.slate), len(block.slates))
            if ref == len(block.slates):
                block.slates.append(op.slate)
        block.kind.append(op.kind)
        block.ref.append(ref)
        block.place.append(op.place)
        block.reward.append(op.reward)
        block.first.append(op.reward != 0)
        block.ts.append(op.ts)
    if len(block):
        yield block


def digest(frame: Frame) -> str:
    """A fingerprint of all bits of a frame."""
    return hashlib.blake2b(pack(frame)).hexdigest()


class SmallWorld:
    """All learners together, driven as a pipeline drives them; small, and with every bound in reach.

    Example:
        >>> world = SmallWorld()
        >>> world.run(random_stream(seed=1, n=50))
        >>> len(world.users) > 0
        True
    """

    def __init__(
        self, *, max_rows: int = 64, admission: Admission | None = None, ttl_ms: int = 40_000
    ) -> None:
        rule = admission or Admission(rule="share", threshold=2, width=64)
        self.users = EmbeddingTable(4, seed=1, ttl_ms=ttl_ms, max_rows=max_rows, sweep_ms=1, initial_rows=2)
        self.items = EmbeddingTable(
            4, seed=2, admission=rule, ttl_ms=ttl_ms, max_rows=max_rows, sweep_ms=1, initial_rows=2
        )
        self.vectors, self.counts = Vectors(self.users, self.items), Counts(self.users, self.items)
        self.mf = MatrixFactorisation(self.users, self.items, ring=32, seed=3)
        self.popularity = Popularity(half_lives_ms=(100, 5_000), pool=4)
        self.histories = Histories(cap=6, window=3)
        self.cooccurrence = CoOccurrence(slots=3, half_life_ms=1_000)
        self.ranker = Ranker(default_scorers(self.popularity, self.cooccurrence, self.mf))

    @property
    def parts(self) -> Mapping[str, Any]:
        """The learners by name, in the order in which they are restored."""
        return vars(self)

    def run(self, stream: Sequence[Operation], cuts: Sequence[int] = ()) -> None:
        """Learn the stream, cut into blocks at `cuts`."""
        for block in blocks(stream, cuts):
            self.step(block)

    def step(self, block: FeedbackBlock | int) -> None:
        """Learn one block, or let time reach a tick."""
        if isinstance(block, int):
            users, items = self.users.tick(block), self.items.tick(block)
            for learner in (self.mf, self.popularity, self.histories, self.cooccurrence, self.ranker):
                learner.remove_users(users)
                learner.remove_items(items)
            return
        rows = encode(block, self.users, self.items, schemas=self.ranker.schemas)
        self.mf.learn(rows)
        self.popularity.learn(rows)
        self.cooccurrence.learn_pairs(self.histories.learn(rows))
        self.ranker.learn(rows)

    def snapshot(self) -> Frame:
        """All learners, through bytes and back."""
        return unpack(pack({name: part.snapshot() for name, part in self.parts.items()}))

    def restore(self, frame: Frame) -> None:
        """All learners from `snapshot`."""
        for name, part in self.parts.items():
            part.restore(frame[name])

    def publish(self, replica: SmallWorld) -> None:
        """Send everybody's changes to `replica`, through bytes and back."""
        frame = unpack(pack({name: part.changes() for name, part in self.parts.items()}))
        for name, part in replica.parts.items():
            part.apply(frame[name])

    def answers(self, ids: Sequence[str], now_ms: int) -> dict[str, Frame]:
        """What a reader can ask of each learner about these ids of users and items."""
        users, items = self.users.find(ids), self.items.find(ids)
        ranked = [
            self.ranker.features(Ask(user, now_ms, history=self.histories.clicked(user)), items)
            for user in users.tolist()[:5]
        ]
        near = [self.cooccurrence.neighbours(row, 3) for row in items.tolist()]
        return {
            "users": {
                "rows": users,
                "vectors": self.users.vectors(ids),
                "clicks": self.users.clicks[users[users >= 0]],
            },
            "items": {
                "rows": items,
                "vectors": self.items.vectors(ids),
                "seen": self.items.impressions[items[items >= 0]],
            },
            "mf": {"scores": [self.mf.scores(user, items) for user in users.tolist()]},
            "popularity": {
                "top": [self.popularity.top(k, h) for k in (3, 50) for h in (0, 1)],
                "scores": [self.popularity.scores(now_ms, h, items) for h in (0, 1)],
            },
            "histories": {"recent": [self.histories.recent(user, 4) for user in users.tolist()]},
            "cooccurrence": {"near": [list(pair) for pair in near]},
            "ranker": {"scores": [self.ranker.score(features) for features in ranked]},
        }


class LearnerContract:
    """Inherit and name `kind`, the `part` of `SmallWorld` that it is, and another value of each parameter."""

    kind: ClassVar[type[Any]]
    part: ClassVar[str]
    others: ClassVar[Mapping[str, Any]]
    fixed: ClassVar[Mapping[str, Any]] = {}

    def learner(self, world: SmallWorld) -> Replicated:
        """The learner under test."""
        learner: Replicated = getattr(world, self.part)
        return learner

    def planted_world(self) -> None:
        """Learn a world whose answer is known by construction, and find it."""
        raise NotImplementedError

    def test_it_finds_the_planted_answer(self) -> None:
        """Each learner says what it is for."""
        self.planted_world()

    def test_every_argument_arrives_where_it_was_sent(self) -> None:
        """No parameter is dropped, swapped or left at its default."""
        names = set(inspect.signature(self.kind).parameters) - set(self.fixed)
        assert names == set(self.others), "name another value for each parameter"
        for name, value in self.others.items():
            assert getattr(self.kind(**self.fixed, **{name: value}), name) == value, name

    def test_blocks_may_be_cut_anywhere(self) -> None:
        """One operation at a time or all at once: the same bits."""
        whole = SmallWorld()
        whole.run(random_stream(7, 400))
        for step in (1, 7):
            cut = SmallWorld()
            cut.run(random_stream(7, 400), range(0, 400, step))
            assert digest(self.learner(cut).snapshot()) == digest(self.learner(whole).snapshot())

    def test_it_resumes_anywhere(self) -> None:
        """Stopped after any block and restored from bytes, it goes on as if nothing had happened."""
        straight = SmallWorld()
        straight.run(random_stream(3, 200))
        for stop in range(0, 200, 23):
            stream = random_stream(3, 200)
            before, after = SmallWorld(), SmallWorld()
            before.run(stream[:stop])
            after.restore(before.snapshot())
            after.run(stream[stop:])
            assert digest(self.learner(after).snapshot()) == digest(self.learner(straight).snapshot()), stop

    def test_a_snapshot_is_a_copy(self) -> None:
        """What is learned later does not reach into it."""
        world, stream = SmallWorld(), random_stream(5, 300)
        world.run(stream[:200])
        frame = self.learner(world).snapshot()
        before = digest(frame)
        world.run(stream[200:])
        assert digest(frame) == before

    def test_a_replica_answers_like_its_owner(self) -> None:
        """However often changes are published, removed and reused rows included."""
        ids = [f"{kind}{n}" for kind in "ui" for n in range(40)]
        for every in (1, 5, 40):
            owner, replica = SmallWorld(), SmallWorld()
            for n, block in enumerate(blocks(random_stream(11, 400), range(0, 400, 6))):
                owner.step(block)
                if n % every == 0:
                    owner.publish(replica)
            owner.publish(replica)
            theirs, ours = (world.answers(ids, 500_000)[self.part] for world in (replica, owner))
            assert digest(theirs) == digest(ours), every

    def test_published_changes_are_published_once(self) -> None:
        """A second call without learning in between has no rows."""
        world = SmallWorld()
        world.run(random_stream(2, 100))
        self.learner(world).changes()
        again = self.learner(world).changes()
        assert not any(value.size for key, value in again.items() if key.endswith("rows") or key == "removed")

    def test_reading_never_writes(self) -> None:
        """A thousand unknown ids leave every bit as it was."""
        world = SmallWorld()
        world.run(random_stream(4, 200))
        before = digest(self.learner(world).snapshot())
        world.answers([f"stranger-{n}" for n in range(1_000)], 10**12)
        assert digest(self.learner(world).snapshot()) == before

    def test_state_stays_bounded_under_ever_new_ids(self) -> None:
        """Ten times as many ids make no larger state than the tables allow."""
        sizes = []
        for n in (1_500, 6_000):
            world = SmallWorld(admission=Admission())
            world.run(random_stream(6, n, n_users=10**6, n_items=10**6))
            assert max(len(world.users), len(world.items)) <= 64
            world.publish(SmallWorld())
            sizes.append(len(pack(self.learner(world).snapshot())))
        assert sizes[1] <= 1.25 * sizes[0] + 1_000
