"""Every learner keeps the room's contract; nothing in the room's surface is outside the net."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

import learners
from learners import (
    Admission,
    CoOccurrence,
    EmbeddingTable,
    Histories,
    MatrixFactorisation,
    Popularity,
    Ranker,
)
from learners.testing import LearnerContract, SmallWorld, organic_rows
from stream.errors import FreshetError

EXCUSED = {
    "Catalogue": "metadata of items, not a learner; it has tests of its own",
    "Admission": "a frozen record of settings; its rules are tested with the table in test_admission.py",
    "Ask": "a request's fields; its two methods are used by every scorer, tested in test_scorers.py",
    "Column": "a tuple of a part's specification",
    "Counts": "columns of the tables, which pass this contract with it; see the contract of parts, too",
    "FeatureSchemas": "lists of names, tested in test_feature_schema.py and test_encode.py",
    "Renamed": "a scorer under another name, tested in test_scorers.py",
    "Scorer": "a protocol; its kinds are tested in test_scorers.py",
    "Learner": "the protocol itself",
    "Listed": "a tuple; what is made of it is tested with the scorers that read it",
    "Pairs": "columns without behaviour, returned by Histories.learn",
    "Part": "the base class; its example runs it",
    "PartSpec": "a frozen record; what it refuses is tested with parts",
    "RowBlock": "columns without behaviour, checked in test_encode.py",
    "Table": "a tuple of a part's specification",
    "TouchedRows": "a tuple returned by MatrixFactorisation.learn",
    "Vectors": "as Counts",
}


class TestUserTable(LearnerContract):
    kind, part = EmbeddingTable, "users"
    others: ClassVar = {
        "dim": 7,
        "seed": 5,
        "scale": 0.5,
        "admission": Admission(rule="equal", threshold=3),
        "ttl_ms": 99,
        "max_rows": 77,
        "sweep_ms": 13,
        "initial_rows": 33,
    }

    def test_every_argument_arrives_where_it_was_sent(self) -> None:
        for name, value in self.others.items():
            table = EmbeddingTable(**{"dim": 3, name: value})
            assert getattr(table, "capacity" if name == "initial_rows" else name) == value

    def planted_world(self) -> None:
        table = EmbeddingTable(3, initial_rows=1)
        assert table.rows(["a", "b", "a"], 0).tolist() == [0, 1, 0]
        assert not np.array_equal(*table.vectors(["a", "b"]))


class TestItemTable(TestUserTable):
    part = "items"


class TestMatrixFactorisation(LearnerContract):
    kind, part = MatrixFactorisation, "mf"
    fixed: ClassVar = {"users": EmbeddingTable(4), "items": EmbeddingTable(4)}
    others: ClassVar = {
        "learning_rate": 0.3,
        "l2": 0.25,
        "negatives": 7,
        "negative_weight": 0.5,
        "shown_weight": 0.75,
        "examination": 0.6,
        "power": 0.3,
        "mean": -1.0,
        "adaptive": True,
        "ring": 11,
        "seed": 9,
    }

    def planted_world(self) -> None:
        """Users and items of two camps: everybody prefers the unseen items of their own."""
        users, items = EmbeddingTable(8, seed=1), EmbeddingTable(8, seed=2)
        users.rows([f"u{n}" for n in range(40)], 0)
        items.rows([f"i{n}" for n in range(40)], 0)
        model = MatrixFactorisation(users, items)
        rng = np.random.default_rng(0)
        who = rng.integers(0, 40, 8_000)
        what = rng.integers(0, 20, 8_000) * 2 + who % 2
        seen = (who + what) % 7 != 0
        model.learn(organic_rows(np.stack([who[seen], what[seen]], axis=1).tolist()))
        scores = np.stack([model.scores(user, np.arange(40, dtype=np.int32)) for user in range(40)])
        user, item = np.indices(scores.shape)
        unseen = (user + item) % 7 == 0
        mine = scores[unseen & (user % 2 == item % 2)]
        theirs = scores[unseen & (user % 2 != item % 2)]
        assert (mine[:, None] > theirs).mean() > 0.95


class TestPopularity(LearnerContract):
    kind, part = Popularity, "popularity"
    others: ClassVar = {"half_lives_ms": (5, 6, 7), "pool": 3}

    def planted_world(self) -> None:
        """Item 1 was the fashion, item 2 is: the short memory says 2, the long one 1."""
        popular = Popularity(half_lives_ms=(1_000, 10**9))
        popular.learn(organic_rows([(0, 1)] * 100 + [(0, 2)] * 50, ts=[0] * 100 + [10_000] * 50))
        assert [popular.top(1, h).tolist() for h in (0, 1)] == [[2], [1]]


class TestHistories(LearnerContract):
    kind, part = Histories, "histories"
    others: ClassVar = {"cap": 9, "window": 2}

    def planted_world(self) -> None:
        histories = Histories(cap=3)
        histories.learn(organic_rows([(0, n) for n in (1, 2, 3, 1, 4)]))
        assert histories.recent(0, 9).tolist() == [4, 1, 3]


class TestCoOccurrence(LearnerContract):
    kind, part = CoOccurrence, "cooccurrence"
    others: ClassVar = {
        "slots": 9,
        "half_life_ms": 33,
        "gap_half_life_ms": 44,
        "rank_decay": 0.25,
        "smoothing": 7.0,
        "power": 0.3,
    }

    def planted_world(self) -> None:
        """Everybody clicks a popular item 0 and one pair (2n + 1, 2n + 2): partners find each other."""
        rng = np.random.default_rng(1)
        histories, together = Histories(), CoOccurrence(slots=5)
        for user in range(400):
            pair = 2 * int(rng.integers(10)) + 1
            clicks = [(user, int(item)) for item in rng.permutation([0, pair, pair + 1])]
            together.learn_pairs(histories.learn(organic_rows(clicks)))
        for item in range(1, 21):
            best, _ = together.recommend(np.array([item], np.int32), 1, now_ms=0)
            assert best.tolist() == [item + 1 if item % 2 else item - 1]


class TestRanker(LearnerContract):
    kind, part = Ranker, "ranker"
    fixed: ClassVar = {"scorers": SmallWorld().ranker.scorers}
    others: ClassVar = {"learning_rate": 0.2, "squares": 2.0, "weights": {"taste": 2.0}}

    def test_every_argument_arrives_where_it_was_sent(self) -> None:
        ranker = Ranker(**self.fixed, **self.others)
        assert (ranker.learning_rate, ranker.squares, ranker.weights[-1]) == (0.2, 2.0, 2.0)
        assert ranker.weights[:-1].tolist() == SmallWorld().ranker.weights[:-1].tolist()

    def planted_world(self) -> None:
        """Clicks follow one of five sources; its weight alone grows large."""
        rng = np.random.default_rng(2)
        scorers = SmallWorld().ranker.scorers
        ranker = Ranker(scorers, weights=dict.fromkeys(SmallWorld().ranker.names, 0.0))
        for _ in range(500):
            features = rng.normal(size=(6, 5)).astype(np.float32)
            ranker.learn(slate_rows(features, clicked=int(features[:, 3].argmax())))
        assert int(np.abs(ranker.weights).argmax()) == 3
        assert ranker.weights[3] > 5 * np.abs(np.delete(ranker.weights, 3)).max()


def slate_rows(features: Any, clicked: int) -> Any:
    """One slate of all rows but two, and the click on place `clicked` among them if it was shown."""
    order = np.argsort(np.arange(len(features)) != clicked, kind="stable")
    rows = organic_rows([(0, 0)])
    rows.slate_user, rows.slate_ts = np.zeros(1, np.int32), np.zeros(1, np.int64)
    rows.start, rows.other_start = np.array([0, 4], np.int32), np.array([0, 2], np.int32)
    rows.rank_features, rows.other_features = features[order[:4]], features[order[4:]]
    rows.decided = rows.ranked = np.ones(1, np.bool_)
    rows.kind, rows.slate, rows.place = np.array([1], np.int8), np.zeros(1, np.int32), np.zeros(1, np.int32)
    return rows


def test_every_public_class_is_covered_or_excused() -> None:
    covered = {case.kind.__name__ for case in LearnerContract.__subclasses__()}
    classes = {
        name
        for name in learners.__all__
        if isinstance(getattr(learners, name), type) and not issubclass(getattr(learners, name), FreshetError)
    }
    assert classes == covered | set(EXCUSED)
    assert not covered & set(EXCUSED)
