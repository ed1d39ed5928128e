"""Sources as the settings list them, in a worker that answers."""

from __future__ import annotations

import numpy as np
import pytest

from freshet.config import Settings, load_settings
from freshet.offline import StateRecommender
from index import LiveIndex
from learners import Ask
from learners.testing import organic_rows
from learning.catalogue import Kind
from learning.errors import SettingsError
from learning.pipeline import Pipeline
from serving import ItemIndex
from serving.chosen_sources import SOURCES, build_sources, source_entries
from stream.events import ItemEvent

T0 = 1_700_000_000_000


def _pipeline(settings: Settings) -> Pipeline:
    pipeline = Pipeline(settings, b"sixteen bytes or more")
    pipeline.on_events([ItemEvent(item_id=f"i{n}", ts=T0 + n) for n in range(6)])
    return pipeline


def test_sources_have_the_names_and_settings_of_their_entries() -> None:
    entries = '[{"kind": "fresh", "name": "last", "size": 2}, {"kind": "fresh", "size": 4}]'
    settings = load_settings(environ={"FRESHET_SOURCES": entries})
    parts = _pipeline(settings).parts
    items = ItemIndex(LiveIndex(64, 4_096, as_given=True), parts.items, parts.catalogue)
    items.rebuild()
    sources = build_sources(settings.sources, parts, items)
    offered = {name: parts.items.ids_of(source.offer(Ask(0, T0 + 9))) for name, source in sources.items()}
    assert offered == {"last": ["i5", "i4"], "fresh": ["i5", "i4", "i3", "i2"]}


@pytest.mark.parametrize("kind", [SOURCES.load(name) for name in SOURCES.own()], ids=SOURCES.own())
def test_every_kind_of_the_room_can_be_built_from_its_defaults(kind: Kind) -> None:
    parts = _pipeline(load_settings(environ={"FRESHET_LEARNERS": '[{"kind": "content_map"}]'})).parts
    items = ItemIndex(LiveIndex(64, 4_096, as_given=True), parts.items, parts.catalogue)
    source = build_sources([{"kind": kind.name}], parts, items)[kind.name]
    assert source.offer(Ask(-1, T0 + 9)).dtype == np.int32


def test_a_replay_asks_the_sources_of_the_settings() -> None:
    settings = load_settings(environ={"FRESHET_SOURCES": '[{"kind": "fresh", "size": 2}]'})
    parts = _pipeline(settings).parts
    state = StateRecommender(parts, settings.serve.sources, sources=settings.sources)
    assert set(state.recommend("ann", 2, T0 + 9)) == {"i5", "i4"}


def test_without_a_list_the_sizes_are_those_of_the_section() -> None:
    sizes = load_settings(environ={"FRESHET_SERVE_SOURCES": '{"fresh": 7}'}).serve.sources
    assert source_entries((), sizes)[-1] == {"kind": "fresh", "size": 7}


def test_what_is_popular_may_come_from_another_learner_and_from_no_other_kind() -> None:
    lists = {"learners": [{"kind": "popularity", "name": "last_hour"}]}
    parts = _pipeline(load_settings(environ={}, flags=lists)).parts
    items = ItemIndex(LiveIndex(64, 4_096, as_given=True), parts.items, parts.catalogue)
    learner = parts.more["last_hour:popularity"]
    learner.learn_both(organic_rows([(0, 3)]), {})
    entries = [{"kind": "popular", "of": of, "name": of} for of in ("last_hour", "popularity")]
    sources = build_sources(entries, parts, items)
    offered = {name: source.offer(Ask(-1, T0 + 9)).tolist() for name, source in sources.items()}
    assert offered == {"last_hour": [3], "popularity": []}
    with pytest.raises(
        SettingsError, match=r"sources\[0\]\.of: kind 'popular' reads .* 'popularity', and 'mf'"
    ):
        build_sources([{"kind": "popular", "of": "mf"}], parts, items)
