"""A new item is shown to those who like its kind before anybody has clicked it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from freshet.config import load_settings
from index import LiveIndex
from learners import Ask
from learners.world import World
from learning.parts import Parts, build_parts
from learning.put_items import put_items
from serving import ItemIndex, Source
from serving.candidates import hybrid
from serving.chosen_sources import build_sources
from stream.events import ItemEvent
from tests.harness.new_items import SETTINGS, clicks_on_old, new_items, old_items, share_of_right

T0 = 1_700_000_000_000
USER = np.eye(1, 8, dtype=np.float32)[0]


def made(parts: Parts, **settings: Any) -> Source:
    index = ItemIndex(LiveIndex(8, 4_096, as_given=True), parts.items, parts.catalogue)
    index.rebuild()
    world = World(parts={"index": index, "content_map": parts.more["content_map"]})
    return hybrid.build(hybrid.Settings(**settings), world)


def with_vectors(*likes: float) -> Parts:
    """Items of which the user likes so much, by their own vectors; and one without content."""
    parts = build_parts(load_settings(environ={}, flags=SETTINGS))
    vectors = [[like, *[0.0] * 7] for like in likes]
    put_items(
        parts, [ItemEvent(item_id=f"i{n}", ts=T0 + n, vector=vector) for n, vector in enumerate(vectors)]
    )
    put_items(parts, [ItemEvent(item_id="plain", ts=T0 + 99)])
    return parts


def test_the_source_offers_what_has_content_and_no_feedback_nearest_first() -> None:
    parts = with_vectors(0.2, 0.9, -0.5, 0.4)
    source, ask = made(parts, size=2), Ask(0, T0, vector=USER, blocked=np.array([3], np.int32))
    assert source.offer(ask).tolist() == [1, 0]
    assert source.offer(Ask(0, T0)).tolist() == []
    parts.items.clicks[1] = 10
    source.refresh()
    assert source.offer(ask).tolist() == [0, 2]
    assert made(parts, size=9, youngest=2).offer(ask).tolist() == []  # the two youngest: blocked, and without


def test_the_settings_of_the_guide_are_settings() -> None:
    guide = Path(__file__).parents[2] / "docs" / "guides" / "content.md"
    flags = tomllib.loads(guide.read_text("utf-8").split("```toml")[1].split("```")[0])
    parts = build_parts(load_settings(environ={}, flags=flags))
    assert parts.ranker.names[-2:] == ("hybrid", "hybrid_new")
    index = ItemIndex(LiveIndex(64, 4_096, as_given=True), parts.items, parts.catalogue)
    assert list(build_sources(flags["sources"], parts, index))[-1] == "hybrid"


def test_a_new_item_is_shown_to_users_of_its_kind_before_any_click(run: Any, tmp_path: Path) -> None:
    settings = load_settings(environ={}, flags={"clock": "event", **SETTINGS})
    with run(tmp_path / "data", settings) as system:
        system.settle(*old_items(T0), *clicks_on_old(lambda n: T0 + 100 + n * 100))
        system.settle(*new_items(T0 + 90_000))
        assert share_of_right(lambda **body: system.ask(body.pop("user_id"), **body)) > 0.75
        assert 'freshet_part_note{note="items",part="content_map"} 20.0' in system.client.get("/metrics").text
