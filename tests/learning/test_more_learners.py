"""A learner that the settings name learns, travels and is read like those that are always there."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import numpy as np
import pytest

from freshet.config import Settings, load_settings
from learners import Ask, CoOccurrence
from learning.errors import SettingsError
from learning.pipeline import Pipeline
from stream.engine.shard import Output
from stream.step import Step
from stream.testing import drive
from tests.harness.chain import Chain
from tests.harness.rows import RowServer, scripted

LISTS = """
{"learners": [{"kind": "popularity", "name": "last_minute", "half_lives_ms": [60000]},
              {"kind": "cooccurrence", "name": "short", "half_life_ms": 3600000}],
 "scorers": [{"kind": "popular"}, {"kind": "popular", "name": "now", "of": "last_minute"}]}
"""


def chosen(**more: Any) -> Settings:
    lists = msgspec.json.decode(LISTS)
    flags = {"learn": {"embedding_dim": 8}, "policy": {"centroids": 6}, "kafka": {"partitions": 2}}
    return load_settings(environ={}, flags={**flags, **lists, **more})


def test_rows_on_kafka_give_a_server_what_the_pipeline_learns() -> None:
    settings, events = chosen(), scripted(5)
    pipeline, chain = Pipeline(settings, b"sixteen bytes or more"), Chain(settings, 2)
    drive(cast(Step, pipeline), events)
    chain.feed(events)
    server = RowServer(settings)
    server.follow([Output(topic, 0, value, key) for (topic, key), value in chain.rows.items()])
    theirs = pipeline.parts.items.live
    mine = server.parts.items.find([name or "" for name in pipeline.parts.items.ids_of(theirs)])
    theirs, mine = theirs[mine >= 0], mine[mine >= 0]
    assert mine.size > 10
    found = server.parts.more["last_minute:popularity"].export("item", mine)["clicks"]
    expected = pipeline.parts.more["last_minute:popularity"].export("item", theirs)["clicks"]
    assert expected.sum() > 0
    np.testing.assert_array_equal(found, expected)
    # Pairs depend on the order of clicks across partitions: here they are those of the item's owner.
    tea = str(server.parts.items.id_of(int(mine[0])))
    owner = chain.items[chain.home(tea)].parts
    shares = [
        cast(CoOccurrence, parts.more["short:cooccurrence"]).neighbours(parts.items.row_of(tea), 9)[1]
        for parts in (server.parts, owner)
    ]
    assert shares[0].size > 3
    np.testing.assert_allclose(shares[0], shares[1])


def test_a_scorer_reads_the_learner_that_it_names() -> None:
    pipeline = Pipeline(chosen(), b"sixteen bytes or more")
    drive(cast(Step, pipeline), scripted(5))
    ranker, rows = pipeline.parts.ranker, np.arange(5, dtype=np.int32)
    assert ranker.names == ("popular_0", "popular_1", "now.popular_0")
    features = ranker.features(Ask(-1, scripted(5)[-1].ts), rows)
    assert not np.array_equal(features[:, 0], features[:, 2])


@pytest.mark.parametrize(
    ("learners", "says"),
    [
        (
            [{"kind": "popularity"}],
            r"'popularity' is .* part, the one of \[learn\].*; give this one a `name`",
        ),
        ([{"kind": "thompson"}], r"'thompson' is a policy \(\[\[policies\]\]\), not a learner; there are: c"),
        ([{"kind": "Popularity"}], r"did you mean popularity\? There are: "),
        ([{"kind": "popularity", "name": "uniform"}], "'uniform' is the name of another part"),
        ([{"kind": "factorisation"}], "factorisation"),
        ([{"kind": "popularty", "name": "x"}], "popularity"),
    ],
)
def test_a_learner_that_cannot_be_is_refused_at_startup(learners: Any, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load_settings(environ={}, flags={"learners": learners})
