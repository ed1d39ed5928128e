"""Lists of others on partitions: the users' owner works out their features, and TRAIN learns from clicks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from learning.parts import Parts
from learning.settings import LearningSettings, LearnSettings
from learning.testing_chain import Chain
from learning.testing_engines import Embedded
from stream.block_codec import decode_segment
from stream.events import Click
from stream.training import TrainingLists
from tests.learning.test_foreign_lists import features_of, log

SCORERS = ("popular", "together", "taste", "rates", "seen", "session")


def settings() -> LearningSettings:
    learn = LearnSettings(embedding_dim=4, negatives=0, max_items=4_096, max_users=4_096)
    return LearningSettings(learn=learn, scorers=tuple({"kind": kind} for kind in SCORERS))


def handed_over(chain: Chain) -> dict[str, npt.NDArray[np.float32]]:
    """The features of each list in `training` (n, F)."""
    found = {}
    for record in chain.topics["training", 0]:
        block = decode_segment(record.value)
        if isinstance(block, TrainingLists):
            ends = np.cumsum(block.sizes)
            shown = block.ref[block.kind == 0]
            for ref, high, size, n in zip(shown, ends, block.sizes, block.shown, strict=True):
                features = block.features[high - size : high].astype(np.float32)
                found[block.requests[ref]] = features.reshape(n, -1)
    return found


@pytest.mark.parametrize("n", [1, 2])
def test_users_owners_work_out_the_features_that_one_machine_does(n: int) -> None:
    events = log(60)
    chain, embedded = Chain(settings(), n), Embedded(settings()).learn([events])
    for event in events:
        chain.feed([event])
        chain.settle()  # what items' owners have published arrives
    expected, found = features_of(embedded.pipeline), handed_over(chain)
    assert found.keys() == expected.keys()
    names = embedded.parts.ranker.names
    for name, features in expected.items():
        for column, ours, theirs in zip(names, found[name].T, features.T, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=4e-3, rtol=2e-3, err_msg=f"{column} of {name}")


def test_a_click_on_a_list_of_others_moves_the_ranker_of_train() -> None:
    events = log(60)
    chain, embedded = Chain(settings(), 2), Embedded(settings()).learn([events])
    ranker = chain.train.parts.ranker
    before = ranker.weights.copy()
    for event in events:
        chain.feed([event])
    n_clicks = sum(isinstance(event, Click) and event.request_id is not None for event in events)
    assert ranker.steps == n_clicks == embedded.parts.ranker.steps
    moved, theirs = ranker.weights - before, embedded.parts.ranker.weights - before
    assert np.abs(moved).max() > 0.1
    assert np.abs(moved - theirs).max() < 0.2 * np.abs(theirs).max()


def test_what_users_owners_take_over_of_sums_is_not_published_as_theirs() -> None:
    chain, events = Chain(settings(), 2), log(60)
    for event in events:
        chain.feed([event])
        chain.settle()
    keys = [key for topic, key in chain.rows if topic == "control" and key.startswith(b"part/item_rates/")]
    assert sorted(keys) == [b"part/item_rates/items/0", b"part/item_rates/items/1"]
    expected = totals(Embedded(settings()).learn([events]).parts)
    for users in chain.users:
        np.testing.assert_array_equal(totals(users.parts), expected)


def totals(parts: Parts) -> npt.NDArray[np.int64]:
    """Impressions and clicks of all items."""
    return parts.more["item_rates"].export("shared", np.zeros(1, np.int32))["totals"]


def test_restarts_in_between_change_nothing_of_what_is_handed_over() -> None:
    events = log(40)
    whole, restarted = Chain(settings(), 1), Chain(settings(), 1)
    for at, event in enumerate(events):
        whole.feed([event])
        restarted.feed([event])
        if at % 9 == 4:
            restarted.restart()
    theirs = handed_over(restarted)
    for name, features in handed_over(whole).items():
        np.testing.assert_array_equal(features, theirs[name])
