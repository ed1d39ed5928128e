"""The measures count what the blocks say, whatever the cut."""

from __future__ import annotations

import numpy as np
import pytest

from learning.choices import chosen_measures
from learning.errors import SettingsError
from learning.measures.organic_clicks import OrganicClicks
from learning.measures.part_notes import PartNotes
from learning.measures.place_counts import PlaceCounts
from learning.measures.policy_counts import PolicyCounts
from learning.parts import build_parts
from learning.settings import LearningSettings
from stream.blocks import CLICK, CLOSED, ORGANIC, SHOWN, FeedbackBlock, Slate
from stream.frame import pack, unpack


def slate(policy: str = "p", *, decided: bool = True) -> Slate:
    return Slate(
        request_id="r", user_id="u", ts=0, items=["a", "b"], decided=decided, policy=policy, explored=[1]
    )


def block(ops: list[tuple[int, int, float, bool]], shown: Slate) -> FeedbackBlock:
    out = FeedbackBlock(slates=[shown], organic=[("u", "a")])
    for kind, place, reward, first in ops:
        out.kind.append(kind)
        out.ref.append(0)
        out.place.append(place)
        out.reward.append(reward)
        out.first.append(first)
        out.ts.append(0)
    return out


OPS = [(SHOWN, -1, 0.0, False), (CLICK, 1, 1.0, True), (CLICK, 1, -0.5, False), (CLOSED, -1, 0.0, False)]


def test_clicks_and_rewards_are_counted_by_policy() -> None:
    counted, organic = PolicyCounts(), OrganicClicks()
    for measure in (counted, organic):
        measure.learn(block([*OPS, (ORGANIC, -1, 1.0, True)], slate()))
    assert counted.of("p") == {
        "slates": 1, "empty": 0, "shown": 2, "explored": 1, "clicks": 1, "explored_clicks": 1, "dislikes": 0,
        "reward": 0.5, "explored_reward": 0.5, "gained": 1.0, "lost": 0.5, "closed": 1,
    }  # fmt: skip
    assert organic.of() == {"organic": 1}


def test_what_the_ranker_placed_is_not_the_policys() -> None:
    measure = PolicyCounts()
    measure.learn(block([(SHOWN, -1, 0.0, False), (CLICK, 0, 1.0, True), (CLICK, 1, -2.0, True)], slate()))
    counts = measure.of("p")
    assert (counts["clicks"], counts["explored_clicks"], counts["dislikes"]) == (1, 0, 1)
    assert (counts["reward"], counts["explored_reward"]) == (-1.0, -2.0)
    assert (counts["gained"], counts["lost"]) == (1.0, 2.0)


def test_an_answer_without_any_item_is_no_slate() -> None:
    measure = PolicyCounts()
    nothing = Slate(request_id="r", user_id="u", ts=0, items=[], decided=True, policy="p")
    measure.learn(block([(SHOWN, -1, 0.0, False), (CLOSED, -1, 0.0, False)], nothing))
    counts = measure.of("p")
    assert (counts["slates"], counts["empty"], counts["closed"]) == (0, 1, 0)


def test_rates_are_of_the_places_that_the_policy_picked_and_of_none_where_it_picked_none() -> None:
    measure = PolicyCounts()
    measure.learn(block(OPS, slate()))
    measure.learn(block([(CLOSED, -1, 0.0, False)], slate("idle")))
    figures = {figure.name: figure for figure in measure.figures()}
    assert figures["policy_click_rate"].values == {("p",): 1.0}
    assert figures["policy_answer_reward_rate"].values == {("p",): 0.25}
    assert [name for name, figure in figures.items() if not figure.is_counter][:2] == [
        "policy_explored_reward",
        "policy_reward",
    ]


@pytest.mark.parametrize("policy", ["p", "", "a b\\n", "d\u00fcrftig", "x" * 256, "\ud800"])
def test_whatever_a_policy_is_called_replicas_call_it_so(policy: str) -> None:
    leader, replica = PolicyCounts(), PolicyCounts()
    leader.learn(block(OPS, slate(policy)))
    replica.apply(unpack(pack(leader.changes())))
    assert replica.by_labels() == leader.by_labels() != {}
    assert leader.changes() == {}


def test_names_that_replicas_cannot_tell_apart_are_counted_together() -> None:
    leader, replica = PolicyCounts(), PolicyCounts()
    for policy in ("p", "p\0", "y" * 320, "y" * 321):
        leader.learn(block(OPS, slate(policy)))
    replica.apply(unpack(pack(leader.changes())))
    assert replica.by_labels() == leader.by_labels()
    assert {labels[0][:1]: sums["slates"] for labels, sums in leader.by_labels().items()} == {"p": 2, "y": 2}


def test_foreign_impressions_are_kept_apart() -> None:
    measure = PolicyCounts()
    measure.learn(block([(SHOWN, -1, 0.0, False)], slate(decided=False)))
    assert list(measure.by_labels()) == [("(foreign)",)]


def test_a_sum_that_an_older_program_did_not_have_is_zero() -> None:
    older, now = PolicyCounts(), PolicyCounts()
    older.learn(block(OPS, slate()))
    frame = older.snapshot()
    del frame["gained"]
    now.restore(frame)
    assert now.of("p") == older.of("p") | {"gained": 0.0}


def test_a_place_is_worth_what_is_clicked_there_of_what_was_shown_there() -> None:
    measure = PlaceCounts(places=2)
    three = Slate(request_id="q", user_id="u", ts=0, items=["a", "b", "c"], decided=True, policy="p")
    measure.learn(block([*OPS, (CLICK, 0, -1.0, True)], slate()))
    measure.learn(block([(SHOWN, -1, 0.0, False), (CLICK, 2, 1.0, True)], three))
    measure.learn(block(OPS, slate(decided=False)))
    figures = {figure.name: dict(figure.values) for figure in measure.figures()}
    assert figures == {
        "place_shown": {("1",): 2, ("2",): 2},
        "place_clicks": {("1",): 0, ("2",): 1},
        "place_reward": {("1",): -1, ("2",): 0.5},
        "place_click_rate": {("1",): 0, ("2",): 0.5},
    }


def test_notes_are_read_by_part_and_name_and_change_nothing_while_they_stay() -> None:
    measure, notes = PartNotes(), {"drift": {"alarms": np.array([1, 2]), "level": np.array(np.inf)}}
    measure.read(notes)
    assert measure.by_labels() == {("drift", "alarms"): {"value": 3.0}}
    assert measure.changes() and not measure.changes()
    measure.read(notes)
    assert measure.changes() == {}


def test_notes_of_a_part_that_is_gone_are_gone_also_after_a_restart() -> None:
    before, now, replica = PartNotes(), PartNotes(), PartNotes()
    before.read({"drift": {"alarms": np.array(2)}})
    for measure in (now, replica):
        measure.restore(before.snapshot())
    assert now.of("drift", "alarms") == {"value": 2.0}
    now.read({})
    replica.apply(now.changes())
    assert now.by_labels() == replica.by_labels() == {}


def test_measures_of_one_kind_stand_under_their_names() -> None:
    entries = ({"kind": "policy_counts"}, {"kind": "policy_counts", "name": "again"})
    parts = build_parts(LearningSettings(measures=entries))
    parts.measure(block(OPS, slate()))
    shown = {figure.name: figure.values for figure in parts.figures(print)}
    assert shown["policy_clicks"] == shown["again_policy_clicks"] == {("p",): 1}


@pytest.mark.parametrize("name", ["mf", "uniform"])
def test_a_measure_may_not_have_the_name_of_another_part(name: str) -> None:
    with pytest.raises(SettingsError, match="is the name of another part"):
        chosen_measures(LearningSettings(measures=({"kind": "part_notes", "name": name},)))
