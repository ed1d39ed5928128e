"""Items as last sent, put into the parts that know items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from learning.parts import Parts
from stream.events import ItemEvent

__all__ = ["put_items"]

_LONGEST = 1.0


def put_items(parts: Parts, items: Sequence[ItemEvent]) -> None:
    """Take items in order: rows, catalogue, vectors of their own, edges.

    A vector longer than 1 is brought to the length 1.
    Runs of different items go in at once, the same as one by one; a deletion or a repetition ends a run.

    Example:
        >>> from learning.settings import LearningSettings
        >>> from learning.parts import build_parts
        >>> parts = build_parts(LearningSettings())
        >>> put_items(parts, [ItemEvent(item_id="a", ts=5), ItemEvent(item_id="b", ts=6)])
        >>> parts.items.find(["a", "b"])
        array([0, 1], dtype=int32)
    """
    run: dict[str, ItemEvent] = {}
    for item in items:
        if run and (item.deleted or item.item_id in run):
            _put_run(parts, list(run.values()))
            run.clear()
        run[item.item_id] = item
        if item.deleted:
            _put_run(parts, [item])
            run.clear()
    if run:
        _put_run(parts, list(run.values()))


def _put_run(parts: Parts, items: list[ItemEvent]) -> None:
    dim = parts.items.dim
    rows = parts.items.admit_each([item.item_id for item in items], [item.ts for item in items])
    items = [item for item, row in zip(items, rows.tolist(), strict=True) if row >= 0]
    rows = rows[rows >= 0]
    is_taken = parts.catalogue.put_each(rows, items)
    items = [item for item, taken in zip(items, is_taken.tolist(), strict=True) if taken]
    rows = rows[is_taken]
    given = [n for n, item in enumerate(items) if item.vector is not None and len(item.vector) == dim]
    if given:
        vectors = np.array([items[n].vector for n in given], np.float64)
        # It says where an item lies. A long one would drag along whoever clicks it, and what they click.
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        vectors /= np.maximum(lengths, _LONGEST)[:, None]
        parts.items.set_vectors(rows[given], vectors.astype(np.float32))
    parts.put_items(rows, items)
    if items and items[0].deleted:
        parts.graph.remove_items(rows)
    else:
        parts.graph.add_items(rows, parts.items.data[rows])
