"""Lists of features: ids that never change, reading by name, bounds."""

from __future__ import annotations

import numpy as np

from learners import FeatureSchemas
from learners.feature_schema import schema_id
from stream.frame import pack, unpack


def test_an_id_depends_on_names_and_their_order_and_never_changes() -> None:
    today = ["popular_0", "popular_1", "together", "together_by_history", "taste"]
    assert schema_id(today) == "7916fba2e23b5cef"
    assert len({schema_id(names) for names in (["a", "b"], ["b", "a"], ["ab"], ["a"])}) == 4


def test_an_item_without_features_stays_without() -> None:
    before, now = FeatureSchemas("ab"), FeatureSchemas("bc")
    now.learn_of(before.frame())
    logged = np.array([[1, 2], [np.nan, np.nan]], "<f4")
    read = np.frombuffer(now.read(before.id, logged.tobytes(), 2) or b"", "<f4").reshape(2, 2)
    assert read[0].tolist() == [2.0, 0.0] and np.isnan(read[1, 0])


def test_nothing_is_read_of_lists_that_are_unknown_or_share_no_name_or_of_another_length() -> None:
    now, apart = FeatureSchemas("ab"), FeatureSchemas("xy")
    logged = np.ones((1, 2), "<f4").tobytes()
    assert now.read(apart.id, logged, 1) is None
    now.learn_of(apart.frame())
    assert now.read(apart.id, logged, 1) is None
    assert now.read(now.id, logged, 2) is None
    assert now.strange([now.id, "", apart.id, "?"]) == {"", apart.id, "?"}


def test_the_newest_lists_are_kept_and_its_own_and_what_untold_means() -> None:
    now = FeatureSchemas("ab")
    for n in range(200):
        other = FeatureSchemas([f"f{n}"])
        now.learn_of([pair for pair in other.frame() if pair[0]])
    frame = unpack(pack({"lists": now.frame()}))["lists"]
    assert len(frame) == 64 and frame[0][0] == "" and frame[-1] == [now.id, ["a", "b"]]
    assert frame[-2][1] == ["f199"]
