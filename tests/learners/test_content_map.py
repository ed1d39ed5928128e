"""The map from content to factors: its sums, what it plants for a new item, and what must not break it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from learners import Ask, Catalogue, EmbeddingTable, LearnerError
from learners.content_features import ContentFeatures
from learners.ops.content import CONTENT_ONE, FACTOR_ONE
from learners.parts.content_map import ContentMap
from learners.scorers import hybrid
from learners.world import World
from stream.events import ItemEvent
from stream.frame import pack, unpack

DIM = 3


class Small:
    """Items by name, in a table, a catalogue and a map; `heard` gives an item a factor and feedback."""

    def __init__(self, **settings: Any) -> None:
        self.items, self.catalogue = EmbeddingTable(DIM, seed=1), Catalogue()
        self.map = ContentMap(self.items, self.catalogue, **{"dim": 8, "enough": 5.0, **settings})

    def put(self, name: str, **said: Any) -> None:
        rows = self.items.admit([name], 5)
        self.catalogue.put(int(rows[0]), ItemEvent(item_id=name, ts=5, **said))
        self.map.put_items(rows, [ItemEvent(item_id=name, ts=5, **said)])

    def heard(self, name: str, factor: Any, n: int = 5) -> None:
        row = self.items.row_of(name)
        self.items.set_vectors(np.array([row], np.int32), np.array([factor], np.float32))
        self.items.clicks[row] = n

    def remove(self, name: str) -> None:
        rows = self.items.remove([name])
        self.catalogue.remove_items(rows)
        self.map.remove("item", rows)

    def sums(self) -> list[Any]:
        exported = self.map.export("shared", np.zeros(1, np.int32))
        return [exported["seen"].tolist(), exported["targets"].tolist()]

    def estimate(self, name: str) -> Any:
        return self.map.estimates(self.items.find([name]))[0]


def genre(n: int) -> dict[str, Any]:
    return {"genre": f"g{n % 3}", "tags": [f"t{n % 5}", "all"], "length": n}


def test_sums_are_those_of_the_items_as_they_are_now_whatever_happened_before() -> None:
    world, rng = Small(), np.random.default_rng(4)
    for step in range(300):
        name = f"i{rng.integers(12)}"
        did = rng.integers(5)
        if did == 0 or name not in world.items:
            world.put(name, attributes=genre(int(rng.integers(9))))
        elif did == 1:
            world.remove(name)
        else:
            world.heard(name, rng.normal(size=DIM), int(rng.integers(5, 9)))
        world.items.tick(step)
        world.map.tick(step)
    rows = world.items.live
    rows = rows[world.map.has_content(rows) & (world.items.clicks[rows] >= 5)]
    c = world.map.export("item", rows)["content"].astype(np.float64)
    f = np.rint(world.items.data[rows].astype(np.float64) * FACTOR_ONE)
    seen, targets = world.sums()
    assert rows.size > 3
    assert seen == (c.T @ c)[np.triu_indices(world.map.width)].tolist() and targets == (c.T @ f).tolist()


def test_what_is_removed_leaves_nothing_and_less_feedback_adds_nothing() -> None:
    world = Small()
    blank = world.sums()
    world.put("a", attributes=genre(1))
    world.heard("a", [1.0, 2.0, 3.0], n=4)
    world.map.tick(1)
    assert world.sums() == blank
    world.heard("a", [1.0, 2.0, 3.0])
    world.map.tick(2)
    assert world.sums() != blank and world.map.notes()["items"] == 1
    world.put("a", deleted=True)
    assert world.sums() == blank
    world.put("a", attributes=genre(2))
    world.map.tick(3)
    assert world.sums() != blank
    world.remove("a")
    assert world.sums() == blank


def test_a_new_item_starts_where_a_planted_map_puts_it() -> None:
    world, rng = Small(vectors=False, dim=32, l2=0.01), np.random.default_rng(7)
    planted, features = rng.normal(size=(32, DIM)), ContentFeatures(dim=32)
    for n in range(60):
        world.put(f"i{n}", attributes=genre(n))
        world.heard(f"i{n}", features.of(genre(n)) @ planted, n=40)
    world.map.tick(1)
    world.put("new", attributes=genre(73))
    expected = features.of(genre(73)) @ planted
    assert np.linalg.norm(world.estimate("new") - expected) < 0.05 * np.linalg.norm(expected)
    user = np.array([0.0, 2.0, 0.0], np.float32)
    rows = world.items.find(["new", "i3", "nobody"])
    near, shares = world.map.blended(user, rows).T
    assert shares.tolist() == pytest.approx([1.0, 20 / 60, 0.0]) and near[2] == 0.0
    length = np.sqrt((world.map.estimates(world.items.find([f"i{n}" for n in range(60)])) ** 2).sum(1).mean())
    assert near[0] == pytest.approx(world.estimate("new")[1] / length, rel=1e-3)


def test_clicks_take_over_smoothly() -> None:
    world = Small(handover=5.0)
    world.put("a", attributes=genre(1))
    world.heard("a", [0.0, 3.0, 4.0], n=0)
    rows = world.items.find(["a"])
    found = []
    for n in (0, 1, 5, 45):
        world.items.clicks[rows] = n
        found.append(world.map.blended(np.array([0, 0, 9], np.float32), rows)[0].tolist())
    shares = [1.0, 5 / 6, 0.5, 0.1]
    assert np.allclose(found, [[0.8 * (1 - share), share] for share in shares])
    world.items.clicks[rows], world.items.impressions[rows] = 0, 20  # shown, and not clicked
    assert world.map.shares(rows)[0] == 0.5


def test_before_anything_is_learned_a_vector_of_its_own_is_where_an_item_lies() -> None:
    world = Small()
    world.put("short", vector=[0.0, 0.5, 0.0])
    world.put("long", vector=[3e9, 0.0, 4e9])
    assert np.allclose(world.estimate("short"), [0, 0.5, 0], atol=1e-4)
    assert np.allclose(world.estimate("long"), [0.6, 0, 0.8], atol=1e-4)
    scores = world.map.blended(np.array([5, 0, 0], np.float32), world.items.find(["short", "long"]))[:, 0]
    assert np.allclose(scores, [0, 0.6], atol=1e-3)


@pytest.mark.parametrize("value", [None, 7, 1e300, -(10**400), "", True, [], [[1]], {"a": 1}, [None, "x", 3]])
def test_an_attribute_may_be_anything_and_change_its_type(value: Any) -> None:
    found = ContentFeatures(dim=8).of({"genre": value, "maker": "m"})
    assert np.linalg.norm(found) == pytest.approx(1.0)
    world = Small()
    world.put("a", attributes={"genre": "word"})
    world.heard("a", [1.0, 0.0, 0.0])
    world.map.tick(1)
    world.put("a", attributes={"genre": value})
    world.map.tick(2)
    assert np.isfinite(world.map.weights).all()


def test_constant_zero_and_huge_content_leave_a_finite_map() -> None:
    world = Small(l2=1e-6)
    for n in range(20):
        world.put(f"i{n}", vector=[0.0, 0.0, 0.0] if n % 2 else [1e15, 1e15, 1e15])
        world.heard(f"i{n}", [1e30, -1e30, 0.0])
    world.map.tick(1)
    assert not world.map.has_content(world.items.find(["i1"]))[0]
    assert np.isfinite(world.map.weights).all()
    assert np.allclose(world.estimate("i0"), [16, -16, 0], atol=1e-3)  # a factor counts as 16 at most


def test_a_vector_of_another_length_says_nothing_and_is_counted_and_told(caplog: Any) -> None:
    world = Small()
    for name in ("a", "b"):
        world.put(name, vector=[1.0, 2.0])
    assert not world.map.has_content(world.items.find(["a", "b"])).any()
    assert world.map.notes()["wrong_vectors"] == 2
    assert [record.message.startswith("item 'a' came with a vector of 2") for record in caplog.records] == [
        True
    ]


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"dim": 0, "vectors": False}, "vectors = true or dim >= 1"), ({"dim": 512}, "lower `dim`")],
)
def test_a_map_that_cannot_be_is_refused(settings: Any, says: str) -> None:
    with pytest.raises(LearnerError, match=says):
        Small(**settings)


def test_sums_that_no_items_have_are_refused() -> None:
    world = Small()
    sums = world.map.export("shared", np.zeros(1, np.int32))
    world.map.check_shared(sums)
    with pytest.raises(LearnerError, match="a sum of squares of -1"):
        world.map.check_shared({**sums, "seen": sums["seen"] - 1})


def test_the_scorer_says_how_near_an_item_is_and_how_new() -> None:
    world = Small()
    world.put("a", vector=[0.0, 0.5, 0.0])
    scorer = hybrid.build(hybrid.Settings(weight=3.0), World(parts={"content_map": world.map}))
    rows = world.items.find(["a", "nobody"])
    assert scorer.weights == (3.0, 4.0) and len(scorer.names) == 2
    asked = Ask(0, 5, vector=np.array([0, 2, 0], np.float32))
    assert np.allclose(scorer.features(asked, rows), [[0.5, 1.0], [0.0, 0.0]], atol=1e-4)
    assert np.allclose(scorer.features(Ask(-1, 5), rows), [[0.0, 1.0], [0.0, 0.0]])


def test_content_of_other_settings_is_refused_at_a_restart() -> None:
    frame = unpack(pack(Small().map.snapshot()))
    with pytest.raises(LearnerError, match="content was learned with"):
        Small(attributes=["genre"]).map.restore(frame)


def test_items_that_were_sent_before_it_was_switched_on_are_read_from_the_catalogue() -> None:
    world = Small()
    world.put("a", attributes=genre(1))
    later = ContentMap(world.items, world.catalogue, dim=8)
    rows = world.items.find(["a"])
    assert not later.has_content(rows)[0]
    later.tick(1)
    assert (
        later.export("item", rows)["content"].tolist() == world.map.export("item", rows)["content"].tolist()
    )


def test_a_tick_sums_so_many_items_and_the_next_goes_on() -> None:
    world, n = Small(), 20_000
    rows = world.items.admit([f"i{k}" for k in range(n)], 5)
    world.map.put_items(rows, [ItemEvent(item_id="", ts=5, attributes=genre(k)) for k in range(n)])
    world.items.clicks[rows] = 9
    world.items.version[rows] = 1
    found = []
    for _ in range(3):
        world.map.tick(1)
        found.append(int(world.map.notes()["items"]))
    assert found == [16_384, 20_000, 20_000]
    assert world.sums()[0][0] == n * CONTENT_ONE**2
