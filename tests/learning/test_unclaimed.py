"""A part that is taken out of the settings comes back as it was, without the items that went meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bandits import BetaThompson
from bandits.testing import digest
from bandits.worlds import BernoulliWorld, play
from freshet.config import Settings, load_settings
from learners.testing import organic_rows
from learning.errors import SettingsError
from learning.parts import Parts, build_parts
from learning.settings import LearningSettings
from learning.shards.train import TrainShard
from stream.events import LoggedEvent
from stream.frame import Frame, pack, unpack
from tests.harness.rows import DIM, RowPublisher, RowServer, known_items, scripted


def _parts(*policies: dict[str, Any], frame: Frame | None = None) -> Parts:
    parts = build_parts(LearningSettings(policies=policies))
    if frame is not None:
        parts.restore(unpack(pack(frame)))
    return parts


UNIFORM, THOMPSON = {"kind": "uniform"}, {"kind": "thompson"}


def _taught() -> Parts:
    parts = _parts(UNIFORM, THOMPSON)
    play(BernoulliWorld(6, seed=1), parts.policies["thompson"], 200, seed=1)
    return parts


def test_a_policy_that_was_out_goes_on_from_what_it_knew(caplog: pytest.LogCaptureFixture) -> None:
    taught = _taught()
    without = _parts(UNIFORM, frame=taught.snapshot())
    still_without = _parts(UNIFORM, frame=without.snapshot())
    assert caplog.messages == ["kept, for they are not configured now: thompson"] * 2
    again = _parts(THOMPSON, frame=still_without.snapshot())
    assert digest(again.policies["thompson"]) == digest(taught.policies["thompson"])
    assert "unclaimed" not in again.snapshot()


def test_what_it_knew_of_items_that_went_meanwhile_is_gone() -> None:
    taught = _taught()
    without = _parts(UNIFORM, frame=taught.snapshot())
    without.remove_items(np.array([2], np.int32))
    again = _parts(THOMPSON, frame=_parts(UNIFORM, frame=without.snapshot()).snapshot())
    taught.policies["thompson"].remove_items(np.array([2, 900], np.int32))
    assert digest(again.policies["thompson"]) == digest(taught.policies["thompson"])


def _with(*learners: dict[str, Any], frame: Frame | None = None) -> Parts:
    parts = build_parts(LearningSettings(learners=learners))
    if frame is not None:
        parts.restore(unpack(pack(frame)))
    return parts


HOUR = {"kind": "popularity", "name": "last_hour"}
KEY = "last_hour:popularity"  # what frames call it


def _counted() -> Parts:
    parts = _with(HOUR)
    parts.learn_both(organic_rows([(0, 3), (1, 4), (1, 4)], ts=[0, 1, 2]))
    return parts


def test_a_learner_that_was_out_goes_on_without_the_items_that_went_meanwhile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted = _counted()
    without = _with(frame=counted.snapshot())
    without.remove_items(np.array([3], np.int32))
    without.remove_users(np.array([1], np.int32))
    still_without = _with(frame=without.snapshot())
    assert caplog.messages == ["kept, for they are not configured now: last_hour:popularity"] * 2
    again = _with(HOUR, frame=still_without.snapshot())
    counted.remove_items(np.array([3], np.int32))
    here, was = again.more[KEY], counted.more[KEY]
    assert digest(here) == digest(was)  # type: ignore[arg-type]
    assert here.clicks[[3, 4]].tolist() == [0, 2]  # type: ignore[attr-defined]
    assert "unclaimed" not in again.snapshot()


def test_a_learner_that_comes_back_with_other_settings_is_refused_with_its_name() -> None:
    without = _with(frame=_counted().snapshot())
    with pytest.raises(SettingsError, match=r"settings: last_hour:popularity: .* put its settings back"):
        _with({**HOUR, "half_lives_ms": [5, 6]}, frame=without.snapshot())


def test_stored_state_that_a_part_cannot_read_is_named() -> None:
    frame = _counted().snapshot()
    frame["last_hour:popularity"] = {"of": "an older form"}
    with pytest.raises(
        SettingsError, match=r"part 'last_hour:popularity' raised over its stored state: KeyErr"
    ):
        _with(HOUR, frame=frame)


def test_what_whole_lists_taught_a_learner_is_kept_by_train_while_it_is_out() -> None:
    counted = TrainShard(0, LearningSettings(learners=(HOUR,)), 1)
    counted.parts.learn_both(organic_rows([(0, 3), (1, 4), (1, 4)], ts=[0, 1, 2]))
    frame = counted.snapshot()
    for learners in ((), (HOUR,)):
        shard = TrainShard(0, LearningSettings(learners=learners), 1)
        shard.restore(unpack(pack(frame)))
        frame = shard.snapshot()
    here, was = shard.parts.more[KEY], counted.parts.more[KEY]
    assert digest(here) == digest(was)  # type: ignore[arg-type]


def test_a_name_that_is_of_another_kind_now_is_another_policy() -> None:
    first = _parts({"kind": "thompson", "name": "a"})
    play(BernoulliWorld(6, seed=1), first.policies["a"], 200, seed=1)
    other = _parts({"kind": "diag_lin_ucb", "name": "a"}, frame=first.snapshot())
    back = _parts({"kind": "thompson", "name": "a"}, frame=other.snapshot())
    assert isinstance(back.policies["a"], BetaThompson)
    assert digest(back.policies["a"]) == digest(first.policies["a"])


def _published(settings: Settings, before: RowPublisher | None, events: Sequence[LoggedEvent]) -> Any:
    publisher = RowPublisher(settings)
    if before is not None:
        publisher.pipeline.restore(unpack(pack(before.pipeline.snapshot())))
        for mine, theirs in zip(publisher.stateful, before.stateful, strict=True):
            mine.restore(unpack(pack(theirs.snapshot())))
    return publisher, publisher.learn(events)


@pytest.mark.parametrize(
    ("lists", "name"),
    [({"policies": [UNIFORM, THOMPSON]}, "thompson"), ({"learners": [HOUR]}, "last_hour")],
)
def test_servers_of_topics_hear_again_of_a_part_that_has_come_back(lists: dict[str, Any], name: str) -> None:
    learn = {"learn": {"embedding_dim": DIM, "maintain_ms": 2_000}, "policies": [UNIFORM]}
    there, away = (load_settings(environ={}, flags={**learn, **more}) for more in (lists, {}))
    events = scripted(1)
    newest: dict[Any, Any] = {}
    last: Any = None
    for settings, these in ((there, events[:200]), (away, events[200:400]), (there, events[400:404])):
        last, outputs = _published(settings, last, these)
        newest |= {(output.topic, output.key): output for output in outputs}  # as compaction leaves them
    server = RowServer(there)
    server.follow(list(newest.values()))
    names = known_items(last.parts)
    known = [_known(parts, name, parts.items.find(names)) for parts in (last.parts, server.parts)]
    assert known[0] == known[1] and sum(map(bool, known[0])) > 20


def _known(parts: Parts, name: str, rows: Any) -> list[Any]:
    policy = parts.policies.get(name)
    if policy is not None:
        return [policy.describe(row) for row in rows.tolist()]
    return list(parts.more[KEY].clicks[rows].tolist())  # type: ignore[attr-defined]
