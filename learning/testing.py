"""The contract that every part must pass; inherit `PartContract`, or `PolicyPartContract` for a policy.

    class TestBoltzmann(PolicyPartContract):
        name, policies = "boltzmann", ({"kind": "boltzmann"},)

The same log comes to the part on every way that there is: embedded, cut anywhere, from a restart, as frames,
as rows in topics, on several partitions; and the part must hold the same. What it holds is compared by id
and column, to the bit. Only what depends on the order across partitions may say otherwise (`order_free`,
`apart`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from bandits import Context
from learners.part import SIDES, Part, check_columns
from learning.measure import Measure
from learning.parts import Parts, build_parts
from learning.rows.part_columns import to_cells
from learning.rows.shared import merged_shares
from learning.settings import LearningSettings, LearnSettings, PolicySettings
from learning.testing_chain import Chain
from learning.testing_engines import Embedded
from learning.testing_runs import (
    PAUSE_MS,
    Cut,
    follower,
    learned,
    log_of,
    partitions,
    partitions_follower,
    replica,
)
from learning.testing_told import Told, rows_of, told
from stream.events import LoggedEvent
from stream.frame import Frame, pack, unpack

__all__ = ["MeasureContract", "PartContract", "PolicyPartContract"]

_STRANGERS = np.array([5_000, 5_001], np.int32)


class PartContract(ABC):
    """What every part promises; each check is one sentence of the contract."""

    name: ClassVar[str]
    """Its name in the settings, or of one that is always there in `learning.parts.Parts`."""
    policies: ClassVar[Sequence[Mapping[str, Any]]] = ({"kind": "uniform"},)
    """The entries of `[[policies]]` that it is run with."""
    learners: ClassVar[Sequence[Mapping[str, Any]]] = ()
    """Those of `[[learners]]`."""
    measures: ClassVar[Sequence[Mapping[str, Any]]] = ()
    """Those of `[[measures]]`; none are the default ones."""
    order_free: ClassVar[bool] = True
    """Whether it holds the same in whatever order the records of several partitions come. If not, it is
    compared where they come in the order of the log."""
    of_lists: ClassVar[bool] = False
    """Whether it learns whole lists, so that of several partitions TRAIN alone holds it."""
    of_a_sample: ClassVar[bool] = False
    """Whether one partition learns it, from its own users: then several hold something else than one machine,
    and only whoever follows them holds the same."""
    apart: ClassVar[Mapping[str, float]] = {}
    """By column, how far partitions may be from one machine: mean distance by mean size; of what learns whole
    lists also one partition, for features of lists of others come from items' rows, which lag. All others:
    not at all."""

    def settings(self) -> LearningSettings:
        """Small ones; without drawn negatives, since partitions draw others."""
        return LearningSettings(
            learn=LearnSettings(
                embedding_dim=4, maintain_ms=2_000, negatives=0, max_items=4_096, max_users=4_096
            ),
            policy=PolicySettings(centroids=6, features=("device", "hour"), feature_dim=4),
            policies=tuple(map(dict, self.policies)),
            learners=tuple(map(dict, self.learners)),
            measures=tuple(map(dict, self.measures)),
        )

    def short_lived(self) -> LearningSettings:
        """The same where rows are freed soon."""
        settings = self.settings()
        return msgspec.structs.replace(
            settings, learn=msgspec.structs.replace(settings.learn, ttl_ms=PAUSE_MS // 4)
        )

    @abstractmethod
    def answers(self, part: Any, parts: Parts, names: Sequence[str]) -> list[npt.NDArray[Any]]:
        """What others read of the part, for the items `names`: scores, probabilities."""

    # --- helpers ---

    def part_of(self, parts: Parts) -> Part:
        """The part among all; of a chosen learner `Parts` says the kind as well."""
        learners = {**parts.list_learners(), **parts.learners()}
        found = {name.partition(":")[0]: part for name, part in learners.items()}
        return {**found, **parts.deciders()}[self.name]

    def told(self, parts: Parts) -> dict[str, Told]:
        """What it holds, by side."""
        part = self.part_of(parts)
        return {side: told(part, parts, side) for side in part.spec.sides}

    def frame(self, parts: Parts) -> Frame:
        """All that a replica needs that knows nothing of the part yet."""
        part = self.part_of(parts)
        frame: Frame = {}
        for side, columns in part.spec.sides.items():
            rows = rows_of(parts, side)
            exported = part.export(side, rows)
            known = {column.name for column in columns} | {column.ragged for column in columns}
            only = {name: array for name, array in exported.items() if name in known}
            frame[side] = {"rows": rows, **only}
        return frame

    def _answers(self, parts: Parts) -> list[npt.NDArray[Any]]:
        names = sorted(str(name) for name in parts.names_of("item", rows_of(parts, "item")))
        return self.answers(self.part_of(parts), parts, names)

    def _learned(self, settings: LearningSettings) -> Parts:
        return learned(msgspec.json.encode(settings)).parts

    def _assert_same(self, found: Parts, expected: Parts) -> None:
        """The same columns and the same answers, whatever the rows are numbered."""
        _compare(self.told(found), self.told(expected), {})
        for ours, theirs in zip(self._answers(found), self._answers(expected), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    # --- the spec ---

    def test_what_is_exported_fits_the_spec_also_of_rows_that_nobody_owns(self) -> None:
        parts = self._learned(self.settings())
        part = self.part_of(parts)
        for side, columns in part.spec.sides.items():
            for rows in (rows_of(parts, side), _STRANGERS, _STRANGERS[:0]):
                check_columns(columns, rows.size, part.export(side, rows), shared=side == "shared")

    def test_there_is_something_to_compare(self) -> None:
        held = self.told(self._learned(self.settings()))
        assert all(any(columns for columns in side.values()) for side in held.values())

    def test_a_row_of_which_nothing_is_known_holds_nothing(self) -> None:
        fresh, taught = build_parts(self.settings()), Embedded(self.settings()).learn([self._log()]).parts
        for parts in (fresh, taught):
            part = self.part_of(parts)
            for side in set(part.spec.sides) - {"shared"}:
                rows = rows_of(parts, side)
                part.remove(side, rows)
                for empty in (rows, _STRANGERS):
                    exported = part.export(side, empty)
                    cells = to_cells(part.spec.sides[side], empty.size, exported, parts.names_of)
                    assert cells == [{}] * empty.size

    def test_removed_rows_are_touched_once_and_rows_come_in_order(self) -> None:
        parts = Embedded(self.settings()).learn([self._log()]).parts
        part = self.part_of(parts)
        held = self.told(parts)
        for side in set(part.spec.sides) - {"shared"}:
            rows = rows_of(parts, side)
            names = parts.names_of(side, rows)
            full = rows[[bool(held[side][str(name)]) for name in names]]
            part.touched(side)
            part.remove(side, full[::-1].copy())
            touched = part.touched(side)
            assert set(full.tolist()) <= set(touched.tolist())
            assert touched.dtype == np.int32 and (np.diff(touched) > 0).all()
            assert part.touched(side).size == 0
        assert part.changes() == {} or set(part.changes()) <= {"shared"}

    def test_a_replica_that_adopts_what_is_exported_answers_alike(self) -> None:
        parts = self._learned(self.settings())
        fresh = build_parts(self.settings())
        for name, part in fresh.named().items():
            if part is not self.part_of(fresh):
                part.restore(unpack(pack(parts.named()[name].snapshot())))
        self.part_of(fresh).apply(unpack(pack(self.frame(parts))))
        self._assert_same(fresh, parts)

    # --- one machine ---

    def _log(self) -> list[LoggedEvent]:
        return log_of(self.settings())

    @pytest.mark.parametrize("seed", [1, 2])
    def test_batches_have_no_meaning(self, seed: int) -> None:
        found = learned(self._key(), Cut(seed)).parts
        self._assert_same(found, self._learned(self.settings()))

    @pytest.mark.parametrize("kind", ["", "new owners"])
    def test_it_goes_on_from_restarts(self, kind: str) -> None:
        found = learned(self._key(kind), Cut(3, kind, most=90, restarts=True)).parts
        self._assert_same(found, learned(self._key(kind), Cut(3, kind, most=90)).parts)

    @pytest.mark.parametrize("kind", ["", "new owners"])
    def test_embedded_replicas_hold_the_same(self, kind: str) -> None:
        cut = Cut(4, kind, keeps="frames")
        self._assert_same(replica(self._key(kind), cut), learned(self._key(kind), cut).parts)

    @pytest.mark.parametrize(("kind", "restarts"), [("", False), ("", True), ("new owners", False)])
    def test_whoever_reads_rows_in_topics_holds_the_same(self, kind: str, restarts: bool) -> None:
        cut = Cut(5, kind, keeps="rows", restarts=restarts)
        for seed in (1, 2):
            found = follower(self._key(kind), cut, seed)
            self._assert_same(found, learned(self._key(kind), cut).parts)

    def case(self, kind: str) -> tuple[LearningSettings, list[LoggedEvent]]:
        """Settings and a log; "new owners": one in which every row changes hands."""
        settings = self.short_lived() if kind else self.settings()
        return settings, log_of(settings, kind)

    def _key(self, kind: str = "") -> bytes:
        """The settings of a case, as runs are kept by."""
        return msgspec.json.encode(self.short_lived() if kind else self.settings())

    # --- several ---

    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_partitions_hold_what_one_machine_does_and_so_do_their_followers(self, n: int) -> None:
        found, expected = self._of(partitions(self._key(), n)), self.told(self._learned(self.settings()))
        if n == 1 or not self.of_a_sample:
            _compare(found, expected, self.apart if n > 1 or self.of_lists else {})
        for seed in (1, 2):
            _compare(self.told(partitions_follower(self._key(), n, seed)), found, {})

    def test_the_order_across_partitions_has_no_meaning_nor_have_restarts(self) -> None:
        chain = partitions(self._key(), 3, in_order=False)
        if self.order_free:
            _compare(self._of(chain), self.told(learned(self._key(), Cut(forgets=False)).parts), self.apart)
        _compare(self.told(partitions_follower(self._key(), 3, 6, in_order=False)), self._of(chain), {})

    def _of(self, chain: Chain) -> dict[str, Told]:
        """What the owners of all partitions hold together."""
        if self.of_lists:
            return self.told(chain.train.parts)
        out: dict[str, Told] = {side: {} for side in self.part_of(chain.items[0].parts).spec.sides}
        for owner in range(chain.n):
            users, items = self.told(chain.users[owner].parts), self.told(chain.items[owner].parts)
            for side in set(out) - {"shared"}:
                held = (users if side == "user" else items)[side]
                out[side] |= {name: columns for name, columns in held.items() if chain.home(name) == owner}
        if "shared" in out:
            out["shared"] = {"": self._merged(chain)}
        return out

    def _merged(self, chain: Chain) -> dict[str, Any]:
        """The shares of shared columns as one; what has one owner is that of partition 0."""
        shares = [self.told(parts)["shared"][""] for parts in self.sharing(chain)]
        columns = self.part_of(chain.items[0].parts).spec.sides["shared"]
        return merged_shares(columns, shares)

    def sharing(self, chain: Chain) -> list[Parts]:
        """Those that have a share of shared columns."""
        return [shard.parts for shard in chain.items]


class MeasureContract(PartContract):
    """A measure's: its answers are its figures. It counts where users are owned, and reads notes of all."""

    def part_of(self, parts: Parts) -> Measure:
        """The measure among all."""
        return {name.partition(":")[0]: measure for name, measure in parts.measures.items()}[self.name]

    def sharing(self, chain: Chain) -> list[Parts]:
        """All steps."""
        return [shard.parts for shard in chain.users] + super().sharing(chain) + [chain.train.parts]

    def answers(self, part: Any, parts: Parts, names: Sequence[str]) -> list[npt.NDArray[Any]]:
        """Values of all figures, in the order of their labels."""
        figures = list(part.figures())
        return [np.array([figure.values[at] for at in sorted(figure.values)]) for figure in figures]

    def test_figures_have_names_labels_and_finite_values(self) -> None:
        figures = list(self.part_of(self._learned(self.settings())).figures())
        assert figures and len({figure.name for figure in figures}) == len(figures)
        for name, what, labels, values, _ in figures:
            assert re.fullmatch("[a-z][a-z0-9_]*", name) and what
            assert all(len(at) == len(labels) for at in values)
            assert values and np.isfinite(list(values.values())).all()

    def test_labels_are_bounded(self) -> None:
        measure = self.part_of(build_parts(self.settings()))
        for number in range(3 * measure.most):
            measure.at(*[f"label {number}"] * len(measure.labels))
        assert len(measure.by_labels()) <= measure.most + 1


class PolicyPartContract(PartContract):
    """A policy's: its answers are the probabilities of all items."""

    def answers(self, part: Any, parts: Parts, names: Sequence[str]) -> list[npt.NDArray[Any]]:
        """Of three requests."""
        features = [{"device": "phone", "hour": 2}, {"device": "desk", "hour": 7}, None]
        clusters = [([0, 1], [0.75, 0.25]), ([1, -1], [1.0, 0.0]), ([0, -1], [1.0, 0.0])]
        rows = parts.items.find(names)
        return [
            part.probabilities(
                Context(np.array(ids, np.int32), np.array(w, np.float32), parts.request_features.of(seen)),
                rows,
            )
            for seen, (ids, w) in zip(features, clusters, strict=True)
        ]


def _compare(found: dict[str, Told], expected: dict[str, Told], apart: Mapping[str, float]) -> None:
    assert found.keys() == expected.keys()
    for side in sorted(found, key=SIDES.index):
        ours, theirs = (
            {name: columns for name, columns in of[side].items() if columns} for of in (found, expected)
        )
        assert ours.keys() == theirs.keys()
        names = sorted(ours)
        for column in sorted({column for name in names for column in (*ours[name], *theirs[name])}):
            pairs = [(ours[name].get(column), theirs[name].get(column)) for name in names]
            _compare_column(f"{side} {column}", pairs, apart.get(column, 0.0))


def _compare_column(what: str, pairs: Sequence[tuple[Any, Any]], apart: float) -> None:
    if not apart:
        for ours, theirs in pairs:
            np.testing.assert_array_equal(ours, theirs, err_msg=what)
        return
    far = float(np.mean([np.linalg.norm(ours - theirs) for ours, theirs in pairs]))
    size = float(np.mean([np.linalg.norm(theirs) for _, theirs in pairs]))
    assert far <= apart * size, f"{what}: {far / size:.4f} apart, {apart} may be"
