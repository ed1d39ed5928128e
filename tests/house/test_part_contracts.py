"""Nothing that learns is forgotten: every part of the catalogue is in the contract of parts."""

from __future__ import annotations

import importlib
import inspect
from pkgutil import iter_modules
from typing import Any

from freshet.catalogues import CATALOGUES
from learners import Part, parts
from learning.catalogue import LEARNERS, MEASURES, POLICIES, SECTIONS
from learning.parts import build_parts
from learning.testing import PartContract
from replay.chosen_estimators import ESTIMATORS
from replay.testing import EstimatorContract
from tests.learning import test_part_contract
from tests.replay import test_estimators

READERS = {"scorers", "sources", "estimators"}
"""Sections of the catalogue whose kinds keep nothing: they read parts, or a log."""

CONTRACTS: list[type[PartContract]] = [
    one
    for _, one in inspect.getmembers(test_part_contract, inspect.isclass)
    if issubclass(one, PartContract) and not inspect.isabstract(one) and one.__module__.startswith("test")
]


def _parts() -> dict[str, Any]:
    """What the contracts run, by the name of each."""
    found = {}
    for contract in CONTRACTS:
        case: Any = contract()
        found[contract.__name__] = case.part_of(build_parts(case.settings()))
    return found


def test_every_policy_learner_and_measure_of_the_catalogue_is_in_the_contract() -> None:
    modules = {type(part).__module__ for part in _parts().values()}
    for kinds in (POLICIES, LEARNERS, MEASURES):
        assert {kinds.load(kind).module.__name__ for kind in kinds.own()} <= modules


def test_every_kind_of_learner_that_may_be_chosen_is_in_the_contract_under_a_name_of_its_own() -> None:
    names = {entry["name"]: entry["kind"] for contract in CONTRACTS for entry in contract.learners}
    chosen = {names[contract.name] for contract in CONTRACTS if contract.name in names}
    assert chosen == set(LEARNERS.own())


def test_every_part_that_learns_from_blocks_or_lists_is_in_the_contract() -> None:
    named = {contract.name for contract in CONTRACTS}
    parts = build_parts(CONTRACTS[0]().settings())
    assert {name.partition(":")[0] for name in (*parts.learners(), *parts.list_learners())} <= named


def test_every_module_of_parts_holds_one_that_is_in_the_contract() -> None:
    covered = {type(part) for part in _parts().values()}
    for found in iter_modules(parts.__path__):
        module = importlib.import_module(f"{parts.__name__}.{found.name}")
        mine = [
            one
            for _, one in inspect.getmembers(module, inspect.isclass)
            if issubclass(one, Part) and one.__module__ == module.__name__ and not inspect.isabstract(one)
        ]
        assert mine and set(mine) <= covered, found.name


def test_every_estimator_of_the_catalogue_is_in_the_contract_of_estimators() -> None:
    classes = [one for _, one in inspect.getmembers(test_estimators, inspect.isclass)]
    kinds = {one.kind for one in classes if issubclass(one, EstimatorContract) and hasattr(one, "kind")}
    assert kinds == set(ESTIMATORS.own())


def test_a_new_section_of_the_catalogue_says_whether_its_kinds_learn() -> None:
    assert CATALOGUES.keys() == READERS | {POLICIES.section, LEARNERS.section, MEASURES.section}
    assert set(SECTIONS) == CATALOGUES.keys()
