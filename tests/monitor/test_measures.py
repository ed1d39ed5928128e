"""The measures count what the blocks say, whatever the cut."""

from __future__ import annotations

from monitor import Measures
from monitor.measures import MAX_POLICIES
from stream.blocks import CLICK, CLOSED, ORGANIC, SHOWN, FeedbackBlock, Slate


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
    measures = Measures()
    measures.learn(block([*OPS, (ORGANIC, -1, 1.0, True)], slate()))
    counts = measures.snapshot()["policies"]["p"]
    assert counts == {
        "slates": 1, "empty": 0, "shown": 2, "explored": 1, "clicks": 1, "explored_clicks": 1, "dislikes": 0,
        "reward": 0.5, "explored_reward": 0.5, "gained": 1.0, "lost": 0.5, "closed": 1,
    }  # fmt: skip
    assert measures.snapshot()["organic"] == 1


def test_what_the_ranker_placed_is_not_the_policys() -> None:
    measures = Measures()
    measures.learn(block([(SHOWN, -1, 0.0, False), (CLICK, 0, 1.0, True), (CLICK, 1, -2.0, True)], slate()))
    counts = measures.snapshot()["policies"]["p"]
    assert (counts["clicks"], counts["explored_clicks"], counts["dislikes"]) == (1, 0, 1)
    assert (counts["reward"], counts["explored_reward"]) == (-1.0, -2.0)
    assert (counts["gained"], counts["lost"]) == (1.0, 2.0)


def test_an_answer_without_any_item_is_no_slate() -> None:
    measures = Measures()
    nothing = Slate(request_id="r", user_id="u", ts=0, items=[], decided=True, policy="p")
    measures.learn(block([(SHOWN, -1, 0.0, False), (CLOSED, -1, 0.0, False)], nothing))
    counts = measures.snapshot()["policies"]["p"]
    assert (counts["slates"], counts["empty"], counts["closed"]) == (0, 1, 0)


def test_counts_of_an_older_program_are_read() -> None:
    names = ("slates", "shown", "explored", "clicks", "explored_clicks", "reward", "closed")
    measures = Measures()
    measures.restore({"policies": {"p": dict.fromkeys(names, 1.5)}, "organic": 3})
    assert measures.snapshot()["policies"]["p"]["gained"] == 1.5


def test_one_block_or_four_give_the_same_counts() -> None:
    whole, cut = Measures(), Measures()
    whole.learn(block(OPS, slate()))
    for op in OPS:
        cut.learn(block([op], slate()))
    assert whole.snapshot() == cut.snapshot()


def test_a_replica_follows_through_changes() -> None:
    leader, replica = Measures(), Measures()
    leader.learn(block(OPS, slate()))
    replica.apply(leader.changes())
    assert replica.snapshot() == leader.snapshot()
    assert leader.changes() == {}


def test_ever_new_policy_names_do_not_grow_the_labels() -> None:
    measures = Measures()
    for number in range(3 * MAX_POLICIES):
        measures.learn(block([(SHOWN, -1, 0.0, False)], slate(f"p{number}")))
    assert len(measures.snapshot()["policies"]) == MAX_POLICIES + 1


def test_foreign_impressions_are_kept_apart() -> None:
    measures = Measures()
    measures.learn(block([(SHOWN, -1, 0.0, False)], slate(decided=False)))
    assert list(measures.snapshot()["policies"]) == ["(foreign)"]
