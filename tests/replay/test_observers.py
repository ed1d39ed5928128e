"""Prequential scores and off-policy rounds, on slates written down by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from bandits import BetaThompson, Offered, Uniform
from replay.chosen_estimators import build_estimators
from replay.drive import Observer, drive
from replay.errors import ReplayError
from replay.estimates import estimate
from replay.off_policy import OffPolicy
from replay.prequential import Prequential
from replay.source import Entry
from replay.targets import LoggedTarget, PolicyTarget, Target
from stream.blocks import Slate
from stream.events import Click, Decision, Impression, LoggedEvent
from stream.frame import Frame
from stream.join import JoinSettings


class Silent:
    """A step that learns nothing."""

    def on_events(self, events: Sequence[LoggedEvent], *, backfill: bool = False) -> None:
        """Nothing."""

    def on_tick(self, now_ms: int, *, backfill: bool = False) -> None:
        """Nothing."""

    def take(self) -> Frame:
        return {}

    def snapshot(self) -> Frame:
        return {}

    def restore(self, frame: Frame) -> None:
        """Nothing."""


class Fixed:
    """Recommends, and scores, in the order of the alphabet."""

    def recommend(self, user_id: str, k: int, ts: int) -> Sequence[str]:
        return [chr(97 + n) for n in range(k)]

    def scores(self, slate: Slate, ts: int, *, as_logged: bool = False) -> npt.NDArray[np.float64]:
        return np.array([-ord(item) for item in slate.items], np.float64)

    def reachable(self, user_id: str, item_id: str, ts: int) -> bool:
        return item_id != "z"


def _run(observer: Observer, *events: LoggedEvent) -> None:
    drive(Silent(), [Entry(event, event.ts) for event in events], join=JoinSettings(), observers=[observer])


def _decision(request_id: str, items: str, *propensities: float, **more: object) -> Decision:
    fields = {"ts": 0, "user_id": "u", "policy": "uniform", "clusters": [0], "weights": [1.0], **more}
    return Decision(request_id=request_id, items=list(items), propensities=list(propensities), **fields)  # type: ignore[arg-type]


def _find(ids: Sequence[str]) -> npt.NDArray[np.int32]:
    return np.array([ord(i) - 97 if i != "?" else -1 for i in ids], np.int32)


def test_each_positive_counts_once_with_its_rank() -> None:
    scored = Prequential(Fixed(), k=3)
    _run(
        scored,
        Impression(request_id="r", ts=0, user_id="u", items=["b", "z"]),
        Click(request_id="r", item_id="b", ts=1),
        Click(request_id="r", item_id="b", ts=2, event_id="again"),
        Click(user_id="u", item_id="z", ts=3),
    )
    assert scored.result.hits.tolist() == [1, 0]
    np.testing.assert_allclose(scored.result.ndcg, [1 / np.log2(3), 0.0], rtol=1e-6)
    assert scored.result.reachable == 1


def test_auc_asks_for_the_order_within_each_slate() -> None:
    scored = Prequential(Fixed(), k=3)
    _run(
        scored,
        _decision("good", "abc", 0.5, 0.5, 0.5),
        _decision("bad", "abc", 0.5, 0.5, 0.5),
        _decision("silent", "abc", 0.5, 0.5, 0.5),
        Click(request_id="good", item_id="a", ts=1),
        Click(request_id="bad", item_id="c", ts=1),
    )
    found = scored.result.auc()
    assert found is not None
    assert (found.mean, scored.result.slates_with_auc) == (0.5, 2)


def test_only_one_in_so_many_is_scored() -> None:
    scored = Prequential(Fixed(), k=1, every=3)
    _run(scored, *(Click(user_id="u", item_id="a", ts=ts) for ts in range(7)))
    assert scored.result.positives == 3


def test_the_logged_policy_earns_what_it_earned() -> None:
    gathered = OffPolicy([LoggedTarget()])
    clicks = [Click(request_id="r1", item_id="b", ts=1), Click(request_id="r2", item_id="a", ts=1)]
    _run(
        gathered,
        _decision("r1", "ab", 0.5, 0.2),
        _decision("r2", "ab", 0.9, 0.1),
        _decision("r3", "b", 1.0),
        *clicks,
    )
    log = gathered.rounds("(logged)")
    for estimator in build_estimators().values():
        assert estimate(estimator, log).value.mean == pytest.approx(2 / 3)


def test_what_is_no_decision_of_ours_never_enters() -> None:
    gathered = OffPolicy([LoggedTarget()])
    foreign = Impression(request_id="f", ts=0, user_id="u", items=["a"], propensities=[0.5])
    strange = Impression(request_id="e", ts=1, user_id="u", items=["a", "c"])
    turned = Impression(request_id="t", ts=1, user_id="u", items=["b", "a"])
    cut = Impression(request_id="c", ts=1, user_id="u", items=["a"])
    shown_later = [_decision(name, "ab", 0.5, 0.5, auto=False) for name in "etc"]
    _run(gathered, foreign, *shown_later, strange, turned, cut)
    log = gathered.rounds("(logged)")
    assert (log.size, log.logged.tolist(), log.n_foreign) == (1, [0.5], 3)


@pytest.mark.parametrize("n", [2, 20, 300])
def test_what_thompson_would_have_done_sums_to_one_and_is_fair_while_nothing_is_known(n: int) -> None:
    rows = np.arange(n, dtype=np.int32)
    target = PolicyTarget(
        "thompson", BetaThompson(), lambda ids: np.array([int(i) for i in ids], np.int32),
        candidates=lambda slate, context: rows,
    )  # fmt: skip
    slates = [Slate(request_id="r", user_id="u", ts=0, items=[str(row)]) for row in rows]
    found = np.concatenate([target.propensities(slate) for slate in slates])
    np.testing.assert_allclose(found, 1 / n, rtol=1e-3)


def test_a_policy_is_asked_for_as_many_items_as_were_decided_though_fewer_are_shown() -> None:
    asked: list[tuple[int, int]] = []

    class Asked(LoggedTarget):
        def propensities(self, slate: Slate) -> npt.NDArray[np.float64]:
            asked.append((len(slate.items), slate.ts))
            return super().propensities(slate)

    gathered = OffPolicy([Asked()])
    shown = Impression(request_id="r", ts=60_000, user_id="u", items=["a", "b"])
    _run(gathered, _decision("r", "abcde", 0.5, 0.4, 0.3, 0.2, 0.1, auto=False), shown)
    assert asked == [(5, 0)]
    assert gathered.rounds("(logged)").target.tolist() == [0.5, 0.4]


def test_a_dislike_is_no_positive() -> None:
    scored = Prequential(Fixed(), k=3)
    _run(
        scored,
        _decision("r", "ab", 0.5, 0.5),
        Click(request_id="r", item_id="a", ts=1, value=-1.0),
        Click(user_id="u", item_id="b", ts=2, value=-1.0),
        Click(request_id="r", item_id="b", ts=3),
    )
    assert scored.result.positives == 1
    assert scored.result.auc().mean == 0.0  # type: ignore[union-attr]


def test_what_could_not_be_shown_is_not_taken_for_one_of_those_that_nobody_listed() -> None:
    offered = Offered(_find(["a"]), outside=3, hidden=_find(["c"]))
    target = PolicyTarget("uniform", Uniform(), _find, candidates=lambda slate, context: offered)
    slate = Slate(request_id="r", user_id="u", ts=0, items=["b", "c", "a"], clusters=[0], weights=[1.0])
    np.testing.assert_allclose(target.propensities(slate), [1 / 4, 0.0, 0.0])


def test_each_slate_that_is_left_out_is_counted_under_its_reason() -> None:
    gathered = OffPolicy([LoggedTarget()])
    _run(
        gathered,
        Impression(request_id="f", ts=0, user_id="u", items=["a"]),
        Impression(request_id="p", ts=0, user_id="u", items=["a"], propensities=[0.5]),
        _decision("w", "ab", 0.5, 0.5, auto=False),
        Impression(request_id="w", ts=1, user_id="u", items=["b", "a"]),
        _decision("n", "ab", 0.5, 0.5, auto=False),
        _decision("e", ""),
        Impression(request_id="late", ts=1, user_id="u", items=["a"]),
        _decision("late", "a", 0.5, ts=2),
    )
    reasons = "no_decision", "propensities_without_decision", "other_order", "nothing_shown", "never_shown"
    left_out = dict.fromkeys(reasons, 1)
    assert (gathered.left_out, gathered.n_foreign, gathered.rounds("(logged)").size) == (left_out, 4, 1)


def test_a_policy_is_asked_with_the_logged_context_and_candidates() -> None:
    gathered = OffPolicy([PolicyTarget("uniform", Uniform(), _find)])
    _run(gathered, _decision("r", "ab", 0.9, 0.8, others=["c", "d"]))
    np.testing.assert_allclose(gathered.rounds("uniform").target, [1 / 4, 1 / 3])


def test_an_item_that_a_policy_cannot_place_ends_its_slate() -> None:
    target = PolicyTarget(
        "uniform", Uniform(), _find, candidates=lambda slate, context: _find(["a", "c", "b"])
    )
    gathered = OffPolicy([target])
    _run(gathered, _decision("r", "a?b", 0.9, 0.8, 0.5), _decision("s", "dab", 0.9, 0.8, 0.5))
    np.testing.assert_allclose(gathered.rounds("uniform").target, [1 / 3, 0, 0, 0, 1 / 3, 1 / 2])


def test_estimated_propensities_are_counted() -> None:
    guess = PolicyTarget("guess", Uniform(), _find)
    guess.estimated = True
    targets: list[Target] = [LoggedTarget(), guess]
    gathered = OffPolicy(targets)
    _run(gathered, _decision("r", "a", 0.9), _decision("s", "a", 0.9, propensity_kind="estimated"))
    assert gathered.rounds("(logged)").n_estimated == 1
    assert gathered.rounds("guess").n_estimated == 2


def test_uniform_is_priced_by_how_many_items_could_have_been_shown() -> None:
    gathered = OffPolicy([PolicyTarget("uniform", Uniform(), _find)])
    _run(gathered, _decision("r", "ab", 0.9, 0.8, others=["c"], eligible=50))
    np.testing.assert_allclose(gathered.rounds("uniform").target, [1 / 50, 1 / 49])


def test_a_target_that_was_not_asked_is_named() -> None:
    with pytest.raises(ReplayError, match="uniform"):
        OffPolicy([LoggedTarget()]).rounds("uniform")
