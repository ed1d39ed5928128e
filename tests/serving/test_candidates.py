"""Sources of candidates: what each kind offers, and lists of sources other than the default one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bandits import Context, Policy, Uniform
from freshet.config import load_settings
from index import LiveIndex
from learners import Ask
from learners.world import World
from learning.parts import Parts
from learning.pipeline import Pipeline
from serving import Gatherer, ItemIndex, ServeSettings, Source
from serving.candidates import fresh, graph, index, neighbours, popular
from serving.decisions import Circumstances, DecisionMaker
from serving.errors import ServingError
from serving.requests import RecommendRequest
from stream.events import Click, ItemEvent

N, T0 = 12, 1_700_000_000_000
NOW = T0 + 10_000
NOBODY = Context(np.array([0], np.int32), np.ones(1, np.float32))


@pytest.fixture(scope="module")
def parts() -> Parts:
    """Twelve items in two directions; ann and bob clicked 0 and 1, both of them."""
    pipeline = Pipeline(
        load_settings(environ={}, flags={"learn": {"embedding_dim": 2}}), b"sixteen bytes or more"
    )
    items = [
        ItemEvent(item_id=f"i{n}", ts=T0 + n, vector=[1.0, 0.0] if n < 6 else [0.0, 1.0], group=f"g{n % 2}")
        for n in range(N)
    ]
    clicks = [Click(ts=T0 + 100 + n, user_id=u, item_id=f"i{n}") for u in ("ann", "bob") for n in (0, 1)]
    pipeline.on_events([*items, *clicks])
    pipeline.on_tick(T0 + 5_000_000)
    return pipeline.parts


@pytest.fixture(scope="module")
def items(parts: Parts) -> ItemIndex:
    found = ItemIndex(LiveIndex(2, 4_096, as_given=True), parts.items, parts.catalogue)
    found.rebuild()
    return found


def made(module: Any, parts: Parts, items: ItemIndex, **settings: Any) -> Source:
    chosen = module.Settings(**settings)
    needed = getattr(module, "needs", lambda _: ())(chosen)
    source: Source = module.build(
        chosen, World(parts={name: each for name, each in all_parts(parts, items).items() if name in needed})
    )
    return source


def all_parts(parts: Parts, items: ItemIndex) -> dict[str, Any]:
    return {**parts.named(), "index": items}


def ids(parts: Parts, rows: Any) -> list[str | None]:
    return parts.items.ids_of(rows)


def test_each_kind_offers_what_it_is_for(parts: Parts, items: ItemIndex) -> None:
    clicked = parts.items.find(["i0"])
    ask = Ask(0, NOW, 3, history=clicked, vector=np.array([0.0, 1.0], np.float32), blocked=clicked)
    ask.best_own = lambda n: np.arange(n, dtype=np.int32)
    offers = {
        "index": made(index, parts, items, size=3).offer(ask),
        "neighbours": made(neighbours, parts, items).offer(ask),
        "graph": made(graph, parts, items, size=2).offer(ask),
        "popular": made(popular, parts, items).offer(ask),
        "fresh": made(fresh, parts, items, size=2).offer(ask),
    }
    assert ids(parts, offers["neighbours"]) == ["i1"]
    assert offers["graph"].tolist() == [0, 1]
    assert sorted(map(str, ids(parts, offers["popular"]))) == ["i0", "i1"]
    assert ids(parts, offers["fresh"]) == ["i11", "i10"]
    near = parts.items.data[offers["index"]]
    assert offers["index"].size >= 3 and (near @ ask.vector > 0).all()  # type: ignore[operator]


@pytest.mark.parametrize("module", [index, graph, popular, fresh, neighbours])
def test_a_size_of_zero_switches_a_source_off(parts: Parts, items: ItemIndex, module: Any) -> None:
    ask = Ask(0, NOW, 3, vector=np.ones(2, np.float32), best_own=lambda n: np.arange(5, dtype=np.int32))
    assert made(module, parts, items, size=0).offer(ask).size == 0


def test_what_goes_with_the_item_on_the_page_is_offered(parts: Parts, items: ItemIndex) -> None:
    stranger = Ask(-1, NOW, viewed=parts.items.find(["i1"]))
    assert ids(parts, made(neighbours, parts, items).offer(stranger)) == ["i0"]


class Editors(Source):
    """A source of one's own: the same three rows for everybody."""

    def __init__(self, parts: Parts) -> None:
        self._rows = parts.items.find(["i7", "i2", "i9"])

    def offer(self, ask: Ask) -> Any:
        return self._rows


def gathered(parts: Parts, sources: dict[str, Source], k: int, policy: Policy | None = None) -> Any:
    gatherer = Gatherer(parts, sources, sample=5)
    found = gatherer.gather(Ask(-1, NOW, k), NOBODY, policy or Uniform(), np.uint64(7))
    return found, [gatherer.names[n] for n in found.sources.tolist()]


def test_a_list_of_ones_own_is_asked_in_its_order_and_named(parts: Parts, items: ItemIndex) -> None:
    sources = {"editors": Editors(parts), "newest": made(fresh, parts, items, size=2)}
    found, names = gathered(parts, sources, k=4)
    assert ids(parts, found.rows) == ["i7", "i11", "i2", "i10", "i9"]
    assert names == ["editors", "newest", "editors", "newest", "editors"]
    assert (found.fallback, found.eligible, found.outside) == ("editors", N, N - 5)


def test_the_catalogue_fills_what_no_source_has(parts: Parts) -> None:
    found, names = gathered(parts, {"editors": Editors(parts)}, k=5)
    assert names == ["editors"] * 3 + ["catalogue"] * 9
    assert ids(parts, found.rows[3:5]) == ["i11", "i10"] and len(set(found.rows.tolist())) == N
    nothing, names = gathered(parts, {}, k=5)
    assert (names, nothing.fallback) == (["catalogue"] * N, "catalogue")


def test_where_nothing_that_was_offered_may_be_shown_the_answer_is_empty(parts: Parts) -> None:
    class Friends(Editors):
        role = "personal"

    all_items = Ask(-1, NOW, 5, blocked=parts.items.find([f"i{n}" for n in range(N)]))
    gatherer = Gatherer(parts, {"friends": Friends(parts)}, sample=5)
    found = gatherer.gather(all_items, NOBODY, Uniform(), np.uint64(7))
    assert (found.rows.size, found.fallback) == (0, "empty")


def test_a_decision_logs_the_names_of_its_sources_and_the_schema_of_its_features(
    parts: Parts, items: ItemIndex
) -> None:
    maker = DecisionMaker(
        parts, items, ServeSettings(), epsilon=0.0, seed=1, sources={"editors": Editors(parts)}
    )
    decision = maker.decide(RecommendRequest(user_id="eve", k=3), Circumstances("r", NOW, 0, False, ""))
    assert decision.sources == ["editors"] * 3
    assert decision.feature_schema == parts.ranker.schemas.id
    assert len(decision.features) == 4 * parts.ranker.n_features * (3 + len(decision.others))


def test_a_source_cannot_take_the_name_of_the_catalogue(parts: Parts) -> None:
    with pytest.raises(ServingError, match="none called 'catalogue'"):
        Gatherer(parts, {"catalogue": Editors(parts)}, sample=5)
