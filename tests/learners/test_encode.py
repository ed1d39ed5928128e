"""Encoding: ids become rows in the order of operations, and only as far as the block knows."""

from __future__ import annotations

from typing import Any

import numpy as np

from learners import Admission, EmbeddingTable, FeatureSchemas, RowBlock, encode
from stream.blocks import CLICK, CLOSED, ORGANIC, SHOWN, FeedbackBlock, Slate


def slate(**fields: Any) -> Slate:
    return Slate(request_id="r", user_id="u", ts=1, items=["a", "b"], **fields)


def block(
    slates: list[Slate], *ops: tuple[int, int, int], organic: list[tuple[str, str]] | None = None
) -> FeedbackBlock:
    """Operations (kind, ref, place), a reward of 1 where there is a place."""
    return FeedbackBlock(
        slates,
        organic or [],
        [kind for kind, _, _ in ops],
        [ref for _, ref, _ in ops],
        [place for _, _, place in ops],
        [float(place >= 0 or kind == ORGANIC) for kind, _, place in ops],
        [place >= 0 or kind == ORGANIC for kind, _, place in ops],
        list(range(len(ops))),
    )


def tables(**settings: Any) -> tuple[EmbeddingTable, EmbeddingTable]:
    return EmbeddingTable(2), EmbeddingTable(2, **settings)


def test_columns_say_what_the_block_said() -> None:
    users, items = tables()
    shown = slate(
        propensities=[0.5, None], decided=True, policy="two", clusters=[4, 5, 6], weights=[0.2, 0.3, 0.5],
        explored=[1], rewards={1: 2.0}, others=["c"],
    )  # fmt: skip
    ops = block(
        [shown], (SHOWN, 0, -1), (ORGANIC, 0, -1), (CLICK, 0, 1), (CLOSED, 0, -1), organic=[("v", "d")]
    )
    rows = encode(ops, users, items, max_clusters=2, policies=["one", "two"])
    assert rows.items.tolist() == [0, 1]
    assert rows.user.tolist() == [0, 1, 0, 0]
    assert rows.item.tolist() == [-1, 2, 1, -1]
    assert rows.place.tolist() == [-1, -1, 1, -1]
    assert rows.propensity[0] == 0.5
    assert np.isnan(rows.propensity[1])
    assert (rows.policy[-1], rows.clusters[-1].tolist(), rows.explored[-2:].tolist()) == (
        1,
        [4, 5],
        [False, True],
    )
    assert rows.rewards[-2:].tolist() == [0.0, 2.0]


def test_features_are_split_between_shown_and_others() -> None:
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    ops = block([slate(others=["c"], features=features.tobytes())], (SHOWN, 0, -1))
    rows = encode(ops, *tables(), schemas=FeatureSchemas("ab"))
    assert np.array_equal(rows.rank_features, features[:2])
    assert np.array_equal(rows.other_features, features[2:])


def test_features_of_another_width_become_unknown() -> None:
    ops = block([slate(features=np.ones(2, np.float32).tobytes())], (SHOWN, 0, -1))
    assert np.isnan(encode(ops, *tables(), schemas=FeatureSchemas("abc")).rank_features).all()


def test_features_of_a_known_list_are_read_by_name_and_those_of_an_unknown_one_not_at_all() -> None:
    before, now = FeatureSchemas("abc"), FeatureSchemas("cxa")
    features = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.float32)
    ops = block(
        [
            slate(others=["c"], features=features.tobytes(), feature_schema=before.id),
            slate(others=["c"], features=features.tobytes(), feature_schema=now.id),
        ],
        (SHOWN, 0, -1),
        (SHOWN, 1, -1),
    )
    unknown = encode(ops, *tables(), schemas=now)
    assert np.isnan(unknown.rank_features[:2]).all() and np.isnan(unknown.other_features[:1]).all()
    assert np.array_equal(unknown.rank_features[2:], features[:2])
    now.learn_of(before.frame())
    rows = encode(ops, *tables(), schemas=now)
    assert rows.rank_features.tolist() == [[3, 0, 1], [6, 0, 4], [1, 2, 3], [4, 5, 6]]
    assert rows.other_features.tolist() == [[9, 0, 7], [7, 8, 9]]


def test_rewards_are_unknown_until_the_slate_closes() -> None:
    rows = encode(block([slate(rewards={0: 1.0})], (SHOWN, 0, -1)), *tables())
    assert not rows.rewards.any()


def test_counts_follow_the_operations() -> None:
    users, items = tables()
    encode(block([slate()], (SHOWN, 0, -1), (CLICK, 0, 1), (CLOSED, 0, -1)), users, items)
    assert (items.impressions[:2].tolist(), items.clicks[:2].tolist()) == ([1, 1], [0, 1])
    assert (users.impressions[0], users.clicks[0], items.touched_at[:2].tolist()) == (1, 1, [0, 1])


def test_an_item_admitted_between_two_operations_is_seen_by_the_second_only() -> None:
    rule = Admission(rule="threshold", threshold=2)
    ops = [(SHOWN, 0, -1), (ORGANIC, 0, -1), (CLOSED, 0, -1)]
    whole_users, whole = tables(admission=rule)
    rows = encode(block([slate()], *ops, organic=[("u", "a")]), whole_users, whole)
    assert [shown_rows(rows, o) for o in (0, 2)] == [[-1, -1], [0, -1]]
    cut_users, cut = tables(admission=rule)
    one = slate()
    found = [encode(block([one], op, organic=[("u", "a")]), cut_users, cut) for op in ops]
    assert [shown_rows(found[o], 0) for o in (0, 2)] == [[-1, -1], [0, -1]]


def shown_rows(rows: RowBlock, o: int) -> list[int]:
    s = rows.slate[o]
    out: list[int] = rows.items[rows.start[s] : rows.start[s + 1]].tolist()
    return out


def test_a_removed_item_is_not_found_through_a_slate_that_knew_its_row() -> None:
    users, items = tables()
    shown = slate()
    encode(block([shown], (SHOWN, 0, -1)), users, items)
    items.remove(["a"])
    rows = encode(block([shown], (CLICK, 0, 0)), users, items)
    assert rows.item.tolist() == [-1]


def test_rows_kept_for_one_table_do_not_leak_into_another() -> None:
    shown = slate()
    encode(block([shown], (SHOWN, 0, -1)), *tables())
    users, items = tables()
    items.rows(["other", "b", "a"], 0)
    assert encode(block([shown], (CLICK, 0, 0)), users, items).item.tolist() == [2]


def test_an_empty_block_has_empty_columns() -> None:
    rows = encode(FeedbackBlock(), *tables(), schemas=FeatureSchemas("abc"), max_clusters=4)
    assert (len(rows), rows.rank_features.shape, rows.clusters.shape) == (0, (0, 3), (0, 4))
