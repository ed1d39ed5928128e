"""A million rows by id as records, for whoever reads them from memory or from a broker."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from learners import CoOccurrence
from learning.rows.codec import ItemRow, PolicyRow, Progress, UserRow, encode_row
from stream.block_codec import encode_item
from stream.engine.shard import Output
from stream.events import ItemEvent
from tests.harness.cells import bias, edges, in_table, near, offered, popular

__all__ = ["row_records"]

_DIM, _CLICKED, _NEAR = 64, 8, 8
_DAY_MS = 86_400_000
_NOW_MS = 1_700_000_000_000


def row_records(n_rows: int, n_partitions: int = 8) -> Iterator[Output]:
    """Records of `n_rows` rows in `user-vectors` and `item-vectors`, as many of each, with the items'
    catalogue and policies beside them (half as many again each) and all progress rows.

    A user has clicked eight items, an item goes with eight others, has two sums of Diag-LinUCB, and is in the
    graph if it is one of the first ten thousand.
    """
    rng = np.random.default_rng(7)
    vectors = [*rng.standard_normal((1_024, _DIM), np.float32)]
    n = n_rows // 2
    names = [f"item-{k}" for k in range(n)]
    times = (_NOW_MS + np.arange(_CLICKED)).astype("<i8").tobytes()
    for k in range(n):
        name = f"user-{k}"
        user = UserRow(
            user_id=name,
            parts={
                **in_table(vectors[k % 1_024], version=9, clicks=_CLICKED, touched_at=_NOW_MS, impressions=9),
                "mf": bias(0.1),
                "history": {"items": [names[(k * 7 + c * 131) % n] for c in range(_CLICKED)], "ts": times},
            },
        )
        yield Output("user-vectors", k % n_partitions, encode_row(user), name.encode())
    yield from _items(names, vectors, n_partitions)
    done = encode_row(Progress(absorbed_at=_NOW_MS, watermark=_NOW_MS))
    for topic in ("user-vectors", "item-vectors"):
        for partition in range(n_partitions):
            yield Output(topic, partition, done, b"")


def _items(names: list[str], vectors: list[npt.NDArray[np.float32]], n_partitions: int) -> Iterator[Output]:
    n, half_life = len(names), CoOccurrence().half_life_ms
    reference = [19_000 * _DAY_MS, 4_750 * 4 * _DAY_MS]
    weights = np.linspace(1, 2, _NEAR)
    for k, name in enumerate(names):
        clicked = popular([_DAY_MS, 4 * _DAY_MS], reference, [k % 97, k % 89], 5, _NOW_MS)
        others = [names[(k * 11 + c * 17 + 1) % n] for c in range(_NEAR)]
        item = ItemRow(
            item_id=name,
            entered_at=_NOW_MS,
            parts={
                **in_table(vectors[k % 1_024], version=9, clicks=5, impressions=200, touched_at=_NOW_MS),
                "mf": bias(0.1),
                "popularity": clicked,
                "cooccurrence": near(half_life, others, weights, degree=12.0),
            },
        )
        graph = k < 10_000 and k % 50 == 0
        policy = PolicyRow(
            item_id=name,
            parts={
                "diag_lin_ucb": edges([0, 1], [1.0, 1.0], [1.0, 1.0], shown=200),
                **({"graph": offered([0], [1.0], explored=True)} if graph else {}),
            },
        )
        sent = ItemEvent(item_id=name, ts=_NOW_MS, group="films", attributes={"title": name})
        key, partition = name.encode(), k % n_partitions
        yield Output("catalogue", partition, encode_item(sent), key)
        yield Output("item-vectors", partition, encode_row(item), key)
        yield Output("policy", partition, encode_row(policy), key)
