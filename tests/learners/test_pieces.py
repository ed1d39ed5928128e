"""Pieces of a block say of each operation what the block does, with the slates that they name alone."""

from __future__ import annotations

import numpy as np

from learners import EmbeddingTable, encode
from learners.pieces import pieces
from stream.blocks import CLICK, ORGANIC, SHOWN, FeedbackBlock, Slate


def made() -> FeedbackBlock:
    """Lists of 2 to 4 items; clicks on any of those that are shown; organic clicks in between."""
    rng, block = np.random.default_rng(1), FeedbackBlock()
    for ts in range(60):
        kind = int(rng.choice([SHOWN, CLICK, ORGANIC])) if block.slates else SHOWN
        ref, place = len(block.slates), -1
        if kind == SHOWN:
            items = [f"i{n}" for n in rng.choice(30, int(rng.integers(2, 5)), replace=False)]
            block.slates.append(Slate(request_id=f"r{ts}", user_id=f"u{ts % 7}", ts=ts, items=items))
        elif kind == CLICK:
            ref = int(rng.integers(len(block.slates)))
            place = int(rng.integers(len(block.slates[ref].items)))
        else:
            ref = len(block.organic)
            block.organic.append((f"u{ts % 5}", f"i{ts % 30}"))
        for column, value in zip(
            (block.kind, block.ref, block.place, block.reward, block.first, block.ts),
            (kind, ref, place, float(kind != SHOWN), kind != SHOWN, ts),
            strict=True,
        ):
            column.append(value)  # type: ignore[attr-defined]
    return block


def test_a_piece_has_its_operations_with_the_slates_that_they_name() -> None:
    block = encode(made(), EmbeddingTable(2), EmbeddingTable(2))
    at, cuts = 0, np.flatnonzero(block.kind == SHOWN)[1::2].astype(np.int32)
    for piece in pieces(block, cuts):
        assert piece.slate_user.size == np.unique(piece.slate[piece.slate >= 0]).size
        for o in range(len(piece)):
            for name in ("kind", "user", "item", "ts", "reward", "first"):
                assert getattr(piece, name)[o] == getattr(block, name)[at + o], name
            ours, theirs = int(piece.slate[o]), int(block.slate[at + o])
            if theirs >= 0:
                shown = piece.items[piece.start[ours] : piece.start[ours + 1]]
                np.testing.assert_array_equal(
                    shown, block.items[block.start[theirs] : block.start[theirs + 1]]
                )
                assert piece.slate_ts[ours] == block.slate_ts[theirs]
            if piece.kind[o] == CLICK:
                assert piece.items[piece.place[o]] == piece.item[o]
                assert piece.place[o] - piece.start[ours] == block.place[at + o] - block.start[theirs]
        at += len(piece)
    assert at == len(block)
