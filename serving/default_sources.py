"""The sources that are there when the settings name none."""

from __future__ import annotations

from learning.parts import Parts
from serving.candidates import fresh, graph, index, neighbours, popular
from serving.item_index import ItemIndex
from serving.settings import SourceSettings
from serving.source import Source

__all__ = ["default_sources"]


def default_sources(models: Parts, items: ItemIndex, sizes: SourceSettings) -> dict[str, Source]:
    """Nearest, going together, the policy's own, popular and new items, of the sizes of `[serve.sources]`."""
    around = neighbours.Settings(sizes.neighbours, sizes.recent)
    return {
        "index": index.Nearest(index.Settings(sizes.index), items),
        "neighbours": neighbours.Neighbours(around, models.cooccurrence),
        "graph": graph.PolicyOwn(graph.Settings(sizes.graph)),
        "popular": popular.MostClicked(popular.Settings(sizes.popular), models.popularity),
        "fresh": fresh.Newest(fresh.Settings(sizes.fresh), items, models.catalogue, models.popularity),
    }
