"""Order within lists, by hand: ten lists of which every figure can be written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from replay.drive import Driven
from replay.lists import FRESHET, LIST_METRICS, Lists, ListsResult
from replay.lists_report import lists_json, verdict, without_clicks
from replay.orders import SIMPLE_ORDERS, SimpleOrders
from replay.paired import Halves, PairedSums
from stream.blocks import FeedbackBlock, Slate
from stream.events import Click, Decision, Impression, LoggedEvent
from stream.forget import ForgetBook
from stream.join import Joiner, JoinSettings

HOUR = 3_600_000


class Alphabet:
    """Scores in the order of the alphabet; of "?" nothing is known."""

    def scores(self, slate: Slate, ts: int, *, as_logged: bool = False) -> npt.NDArray[np.float64]:
        return np.array([np.nan if item == "?" else -float(ord(item)) for item in slate.items])


def _play(*events: LoggedEvent, join: JoinSettings = JoinSettings(), every: int = 1) -> ListsResult:  # noqa: B008
    lists, joiner = Lists(Alphabet(), every=every), Joiner(join, ForgetBook(b"sixteen bytes or more"))
    for event in events:
        joiner.on_event(event)
        for block in joiner.take():
            assert isinstance(block, FeedbackBlock)
            lists.observe(block)
    lists.finish()
    return lists.result


def _list(n: int, items: str, clicked: str, **more: str) -> list[LoggedEvent]:
    """The n-th list, an hour after the one before it."""
    user_id, placement = more.get("user", "u"), more.get("placement")
    shown = Impression(
        request_id=f"r{n}", ts=n * HOUR, user_id=user_id, items=list(items), placement=placement
    )
    return [shown, *(Click(request_id=f"r{n}", item_id=item, ts=n * HOUR + 1) for item in clicked)]


def _means(found: ListsResult, order: str, sums: PairedSums | None = None) -> dict[str, float]:
    at = found.orders.index(order)
    return {name: (sums or found.whole).mean(at, m) for m, name in enumerate(LIST_METRICS)}


TEN = ["cab:b", "cab:b", "abc:c", "cba:c", "abc:c", "abc:", "abc:ab", "cba:c", "bca:a", "bca:a"]


def test_ten_lists_score_as_written_down() -> None:
    found = _play(*(event for n, each in enumerate(TEN) for event in _list(n, *each.split(":"))))
    assert found.whole.lists == 9
    # Freshet: b is second, c third, a first; of the list with two clicks the first is a.
    ranks = np.array([2, 2, 3, 3, 3, 1, 3, 1, 1])
    ours = _means(found, FRESHET)
    assert ours["mrr"] == pytest.approx(np.mean(1 / ranks))
    assert ours["hit_at_1"] == pytest.approx(np.mean(ranks == 1))
    assert ours["auc"] == pytest.approx(np.mean(1 - (ranks - 1) / 2))
    assert ours["ndcg_at_5"] == pytest.approx(np.mean(1 / np.log2(ranks + 1)))
    loss = np.log(np.exp(-np.arange(3)).sum()) + np.array([1, 1, 2, 2, 2, 0.5, 2, 0, 0])
    assert ours["log_loss"] == pytest.approx(loss.mean())
    displayed = np.array([3, 3, 3, 1, 3, 1, 1, 3, 3])
    assert _means(found, "as displayed")["mrr"] == pytest.approx(np.mean(1 / displayed))


def test_a_tie_counts_as_the_mean_of_its_orders() -> None:
    found = _play(*(event for n, each in enumerate(TEN) for event in _list(n, *each.split(":"))))
    # One of three: (1 + 1/2 + 1/3) / 3; of two of three the first is first twice in three times.
    assert _means(found, "random")["mrr"] == pytest.approx((8 * 11 / 18 + 5 / 6) / 9)
    assert _means(found, "random")["auc"] == 0.5
    # Clicks before each: none; b; b 2; b 2 and c; b 2 and c 2; b 2 and c 3; a, b 3 and c 3; and so on.
    places = [[1, 2, 3], [1], [2, 3], [2], [1, 2], [2], [1, 2], [3], [3]]
    expected = np.mean([np.mean(1 / np.array(each)) for each in places])
    assert _means(found, "clicks so far")["mrr"] == pytest.approx(expected)


def test_clicks_fade_by_event_time_in_whatever_order_they_come() -> None:
    forth, back = SimpleOrders(), SimpleOrders()
    clicks = [("a", 0), ("a", HOUR), ("b", 9 * HOUR), ("a", 2 * HOUR)]
    for orders, log in ((forth, clicks), (back, clicks[::-1])):
        for item, ts in log:
            orders.clicked(item, ts, 1.0, in_list=True)
    found = forth.scores(["a", "b", "c"], 10 * HOUR)
    np.testing.assert_allclose(found, back.scores(["a", "b", "c"], 10 * HOUR))
    for name, hours in (("half-life 1 h", 1), ("half-life 6 h", 6), ("half-life 16 d", 384)):
        expected = [2 ** (-10 / hours) + 2 ** (-9 / hours) + 2 ** (-8 / hours), 2 ** (-1 / hours), 0.0]
        np.testing.assert_allclose(found[SIMPLE_ORDERS.index(name)], expected)


def test_a_click_rate_is_shrunk_towards_that_of_all_and_takes_no_organic_click() -> None:
    orders = SimpleOrders()
    for _ in range(30):
        orders.shown(["a", "b"])
    for _ in range(6):
        orders.clicked("a", 0, 1.0, in_list=True)
        orders.clicked("b", 0, 1.0, in_list=False)
    rate = orders.scores(["a", "b", "c"], 0)[SIMPLE_ORDERS.index("click rate")]
    np.testing.assert_allclose(rate, [(6 + 10 * 0.1) / 40, 10 * 0.1 / 40, 0.1])


def test_counts_stay_while_more_items_come() -> None:
    orders, items = SimpleOrders(), [str(n) for n in range(3_000)]
    for _ in range(2):
        orders.shown(items)
    orders.clicked("7", 0, 1.0, in_list=True)
    assert orders.was_shown([*items, "new"]).tolist() == [True] * 3_000 + [False]
    assert np.flatnonzero(orders.scores(items, 0)[SIMPLE_ORDERS.index("clicks so far")]).tolist() == [7]


def test_items_beyond_the_capacity_begin_anew_the_longest_untouched_first() -> None:
    orders = SimpleOrders(capacity=2)
    for item in "abac":
        orders.clicked(item, 0, 1.0, in_list=True)
    assert orders.scores(["a", "b", "c"], 0)[SIMPLE_ORDERS.index("clicks so far")].tolist() == [2, 0, 1]


def test_a_click_that_is_taken_back_is_no_click() -> None:
    shown = Impression(request_id="r", ts=0, user_id="u", items=["b", "a"])
    clicks = [Click(request_id="r", item_id="a", ts=n, event_id="e", value=1.0 - n) for n in (0, 1)]
    found = _play(shown, *clicks, *_list(1, "ab", "b"))
    assert (found.whole.lists, _means(found, "clicks so far")["mrr"]) == (1, 0.75)


def test_what_comes_after_a_list_changes_nothing_of_how_it_was_scored() -> None:
    before = [event for n, each in enumerate(TEN) for event in _list(n, *each.split(":"))]
    after = [event for n, each in enumerate(TEN[::-1], len(TEN)) for event in _list(n, *each.split(":"))]
    scored = []
    for seed in range(3):
        shuffled = [after[at] for at in np.random.default_rng(seed).permutation(len(after))]
        lists, joiner = Lists(Alphabet()), Joiner(JoinSettings(), ForgetBook(b"sixteen bytes or more"))
        joiner.on_events([*before, *shuffled])
        lists.observe(joiner.take()[0])  # type: ignore[arg-type]
        scored.append([lists._open[f"r{n}"].scores for n in range(len(TEN))])
    np.testing.assert_array_equal(scored[0], scored[1])
    np.testing.assert_array_equal(scored[0], scored[2])


def test_new_items_new_users_placements_and_the_second_half_are_counted_apart() -> None:
    found = _play(
        Click(user_id="old", item_id="x", ts=0),
        *_list(1, "ab", "a", user="old", placement="home"),
        *_list(2, "ab", "b", user="new", placement="home"),
        *_list(3, "ac", "a", user="new", placement="side"),
        *_list(4, "cd", "d", user="late"),
    )
    counts = {name: sums.lists for name, sums in found.by_part().items()}
    assert counts == {
        "all lists": 4, "second half": 2, "new items": 2, "new users": 2, "placement home": 2,
        "placement side": 1,
    }  # fmt: skip
    assert _means(found, FRESHET, found.by_part()["second half"])["mrr"] == 0.75
    assert _means(found, FRESHET, found.parts["new users"])["mrr"] == 0.5


def test_where_the_client_named_the_candidates_the_logged_features_are_asked_for() -> None:
    class Asked(Alphabet):
        found: list[tuple[str, bool]] = []  # noqa: RUF012

        def scores(self, slate: Slate, ts: int, *, as_logged: bool = False) -> npt.NDArray[np.float64]:
            self.found.append((slate.request_id, as_logged))
            return super().scores(slate, ts)

    odds: dict[str, Any] = {"propensities": [0.5, 0.5], "policy": "uniform", "user_id": "u", "ts": 0}
    decisions = [
        Decision(request_id=name, items=["a", "b"], given=name == "given", **odds)
        for name in ("given", "own")
    ]
    joiner, lists = Joiner(JoinSettings(), ForgetBook(b"sixteen bytes or more")), Lists(Asked())
    for decision in decisions:
        lists.note(decision, backfill=False)
        joiner.on_event(decision)
    lists.observe(joiner.take()[0])  # type: ignore[arg-type]
    assert Asked.found == [("given", True), ("own", False)]


def test_the_second_half_of_a_long_log_begins_in_the_middle() -> None:
    halves = Halves(1, 1)
    for n in range(3_000):
        halves.add(np.array([[float(n >= 1_500)]]))
    second = halves.second()
    assert abs(second.lists - 1_500) < 8
    assert second.mean(0, 0) == 1.0


def test_a_click_on_an_item_without_a_score_stands_last_and_has_no_log_loss() -> None:
    found = _play(*_list(0, "?ab", "?"), *_list(1, "ab?", "a"))
    assert (found.whole.count(0, LIST_METRICS.index("log_loss")), found.unscored) == (1, 1)
    assert _means(found, FRESHET)["mrr"] == pytest.approx((1 / 3 + 1) / 2)
    assert _means(found, FRESHET)["log_loss"] == pytest.approx(np.log(1 + np.exp(-1)))


def test_a_list_that_is_shown_again_when_its_decision_comes_is_asked_once() -> None:
    decision = Decision(
        request_id="r", ts=0, user_id="u", items=["b", "a"], propensities=[0.5, 0.5], policy="uniform"
    )
    shown = Impression(request_id="r", ts=0, user_id="u", items=["b", "a"])
    found = _play(shown, Click(request_id="r", item_id="a", ts=1), decision)
    assert (found.whole.lists, _means(found, "clicks so far")["mrr"]) == (1, 0.75)


def test_a_verdict_that_auc_contradicts_says_so() -> None:
    names = ("Freshet", "as displayed")
    found = ListsResult(names, PairedSums(2, len(LIST_METRICS)), Halves(2, len(LIST_METRICS)))
    for n in range(60):
        values = np.full((2, len(LIST_METRICS)), np.nan)
        values[:, LIST_METRICS.index("mrr")] = 0.6 + 0.1 * (n % 2), 0.4
        values[:, LIST_METRICS.index("auc")] = 0.6, 0.8 + 0.1 * (n % 2)
        found.add(values, [])
    text = (lists_json(found) or {})["parts"]["all lists"]["verdict"]["text"]
    assert "beats every simple order: MRR 0.650" in text
    assert text.endswith("it does not: 0.600, as displayed 0.850."), text


@pytest.mark.parametrize(
    ("clicked", "outcome", "says"),
    [
        ("a" * 60, "above", "beats every simple order: MRR 1.000, the best of them"),
        ("b" * 60, "below", "does not beat the simple orders: MRR 0.500"),
        ("ab" * 30, "level", "cannot be told"),
        ("a" * 29, "few", "(29 of the 30 that are needed)"),
    ],
)
def test_the_verdict_is_what_the_paired_intervals_say(clicked: str, outcome: str, says: str) -> None:
    lists = []
    for n, each in enumerate(clicked):
        # Each has items of its own, so that counts know nothing of them; half of the lists stand either way.
        pair = chr(1_000 + 2 * n) + chr(1_001 + 2 * n)
        lists += _list(n, pair[:: 1 if n // 2 % 2 else -1], pair["ab".index(each)])
    found = _play(*lists)
    told = verdict(found, found.whole)
    text = (lists_json(found) or {})["parts"]["all lists"]["verdict"]["text"]
    assert told is not None and (told.outcome, says in text) == (outcome, True), text


def _says(*lists: str) -> str:
    found = _play(*(event for n, each in enumerate(lists) for event in _list(n, *each.split(":"))))
    text: str = (lists_json(found) or {})["parts"]["all lists"]["verdict"]["text"]
    return text


def test_lists_of_one_item_cannot_tell_anything_and_do_not_count_as_enough() -> None:
    assert "lists of one item cannot tell anything, and none of the 40 lists" in _says(*["a:a"] * 40)
    assert "(29 of the 30 that are needed; in 40 more every item" in _says(*["a:a"] * 40, *["ab:a"] * 29)


def test_an_order_of_long_lists_that_is_nearly_perfect_is_doubted() -> None:
    assert _says(*["cba:a"] * 30).endswith(
        "that is nearly perfect: see --features, which says whether a feature knows the click."
    )
    for lists in (["cba:a"] * 29 + ["ba:a"], ["ba:a"] * 40, ["cba:a"] * 29 + ["cba:b"] * 3):
        assert "perfect" not in _says(*lists)


@pytest.mark.parametrize(
    ("clicked", "outcomes", "why"),
    [
        ("z", {"not_in_slate": 2}, "2 clicks named items that were not in their list"),
        ("z", {"out_of_window": 2}, "see JOIN for what became of the 2 clicks"),
        ("", {}, "the log holds no click"),
    ],
)
def test_lists_without_a_click_of_their_own_are_said_to_tell_nothing(
    clicked: str, outcomes: dict[str, int], why: str
) -> None:
    found = _play(*_list(0, "ab", clicked), *_list(1, "ab", clicked))
    driven = Driven(kinds={"Click": 2} if clicked else {}, outcomes=outcomes)
    said = without_clicks(found, driven)
    assert said.startswith(f"2 lists were shown and none had a click on one of its items ({why}): nothing"), (
        said
    )
    assert without_clicks(_play(*_list(0, "ab", "a")), driven) == without_clicks(_play(), driven) == ""
