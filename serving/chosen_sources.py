"""The sources of candidates that the settings choose, built over a worker's parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from learners.world import World
from learning.catalogue import Kinds
from learning.choices import build_chosen, chosen_parts
from learning.parts import Parts
from serving.item_index import ItemIndex
from serving.settings import SourceSettings
from serving.source import Source

__all__ = ["SOURCES", "build_sources", "source_entries"]

SOURCES = Kinds("sources", "serving.candidates")


def source_entries(
    entries: Sequence[Mapping[str, Any]], sizes: SourceSettings
) -> Sequence[Mapping[str, Any]]:
    """The entries of `[[sources]]`; where there are none, those of Freshet in the sizes of the section.

    Example:
        >>> [entry["kind"] for entry in source_entries((), SourceSettings())]
        ['index', 'neighbours', 'graph', 'popular', 'fresh']
    """
    around = {"size": sizes.neighbours, "recent": sizes.recent}
    return entries or (
        {"kind": "index", "size": sizes.index},
        {"kind": "neighbours", **around},
        {"kind": "graph", "size": sizes.graph},
        {"kind": "popular", "size": sizes.popular},
        {"kind": "fresh", "size": sizes.fresh},
    )


def build_sources(entries: Sequence[Mapping[str, Any]], parts: Parts, items: ItemIndex) -> dict[str, Source]:
    """The sources by name, in the order of their entries.

    Raises:
        SettingsError: an entry does not fit, or its source cannot be built.
    """
    world = World(dim=parts.users.dim, parts={**parts.readable(), "index": items})
    return build_chosen(chosen_parts(SOURCES, entries), world, Source)
