"""Compile before listening: the first real request must not wait for a compiler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from index import LiveIndex, warm_up
from learners.part import naming
from learning.parts import Parts
from serving.chosen_sources import build_sources, source_entries
from serving.decisions import Circumstances, DecisionMaker
from serving.item_index import ItemIndex
from serving.requests import RecommendRequest
from serving.settings import ServeSettings
from stream.frame import Frame, pack, unpack

__all__ = ["warm_serving"]


def warm_serving(
    models: Parts,
    frames: Iterable[Frame],
    user_ids: Iterable[str],
    *,
    dim: int,
    sources: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Run everything once on parts that are thrown away; `sources` are the entries of `[[sources]]`.

    `models` are scratch parts; `frames` are what a learner made of a few events (`Step.take`); decisions are
    made for `user_ids`, of whom one should be known and one not. Kernels are compiled for the arrays of
    decoded frames, which may not be written, so the frames go through their bytes.
    """
    warm_up(dim)
    index = ItemIndex(LiveIndex(dim, 4_096, as_given=True), models.items, models.catalogue)
    index.share_vectors()
    for frame in frames:
        decoded = unpack(pack(frame))
        for name, part in models.named().items():
            if decoded.get(name):
                with naming(name, "followed"):
                    part.apply(decoded[name])
        index.apply(decoded)
    serve = ServeSettings()
    offering = build_sources(source_entries(sources, serve.sources), models, index)
    maker = DecisionMaker(models, index, serve, epsilon=0.5, seed=0, sources=offering)
    for n, user_id in enumerate(user_ids):
        for policy in models.policies:
            asked = RecommendRequest(
                user_id=user_id, k=5, policy=policy, exclude=["nothing"], groups=None if n else ["no group"]
            )
            maker.decide(asked, Circumstances(f"warm-{n}-{policy}", 1, 0, False, ""))
            maker.decide(
                RecommendRequest(user_id=user_id, policy=policy),
                Circumstances(f"warm-{n}-{policy}-all", 1, 0, False, ""),
            )
            # Of a list of one, parts of arrays are laid out otherwise, which is another kind to a compiler.
            for names in (["a", "b", "nobody's"], ["a"]):
                listed = RecommendRequest(
                    user_id=user_id,
                    policy=policy,
                    candidates=names,
                    item_context=[{"price": float(k)} for k in range(len(names))],
                )
                maker.decide(listed, Circumstances(f"warm-{n}-{policy}-{names}", 1, 0, False, ""))
