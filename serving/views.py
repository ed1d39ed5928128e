"""What is served here, for people: one item, one user, an item's neighbours, the measures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from learning.measure import Figure
from learning.parts import Parts
from serving.asgi import Response
from serving.errors import MissingError
from serving.item_index import ItemIndex
from serving.replica import Replica
from serving.requests import (
    ClusterView,
    EdgeView,
    FigureValue,
    FigureView,
    ItemAnswer,
    MeasuresAnswer,
    NeighboursAnswer,
    NeighbourView,
    RecentView,
    UserAnswer,
)
from serving.routing import Parameter, Request, query_int

__all__ = ["NEIGHBOURS", "Views"]

NEIGHBOURS = Parameter("k", 10, 1, 1_000, "how many")

_RECENT = 50
_encoder = msgspec.json.Encoder()


class Views:
    """Read-only pages over the learned parts; reading allocates nothing for unknown ids.

    `failed` is told of a policy that raises when it is to describe an item; the answer leaves it out.
    `figures` are those of the measures.
    """

    def __init__(
        self,
        models: Parts,
        index: ItemIndex,
        replica: Replica,
        failed: Callable[[str, str, Exception], None],
        figures: Callable[[], Iterable[Figure]],
    ) -> None:
        self._models, self._index, self._replica, self._failed = models, index, replica, failed
        self._figures = figures

    async def measures(self, _request: Request) -> Response:
        """What the measures show, and what parts note of themselves."""
        found = [
            FigureView(
                figure.name,
                figure.what,
                [
                    FigureValue(dict(zip(figure.labels, labels, strict=True)), value)
                    for labels, value in figure.values.items()
                ],
            )
            for figure in self._figures()
        ]
        return Response(200, _encoder.encode(MeasuresAnswer(self._replica.absorbed_at, found)))

    async def item(self, request: Request) -> Response:
        """One item; 404 when it was never in the catalogue or a click."""
        (item_id,) = request.params
        m, row = self._models, self._item_row(item_id)
        inside = row < m.catalogue.size and bool(m.catalogue.known[row])
        entered = int(m.catalogue.entered_ms[row]) if inside else int(m.items.touched_at[row])
        known = self._known_by_policies(row)
        answer = ItemAnswer(
            item_id=item_id,
            group=m.catalogue.group_name(row),
            deleted=inside and bool(m.catalogue.deleted[row]),
            clicks=int(m.items.clicks[row]),
            impressions=int(m.items.impressions[row]),
            version=int(m.items.version[row]),
            absorbed_at=self._replica.absorbed_at,
            age_ms=max(0, self._now_ms() - entered),
            edges=self._edges(row, known),
            policies=known,
            attributes=m.catalogue.attributes(row),
        )
        return Response(200, _encoder.encode(answer))

    async def neighbours(self, request: Request) -> Response:
        """The nearest items by vector."""
        (item_id,) = request.params
        k = query_int(request.scope, NEIGHBOURS)
        row = self._item_row(item_id)
        vector = self._models.items.data[row]
        found: list[NeighbourView] = []
        if np.isfinite(vector).all() and vector.any():
            answers = self._index.index.search(vector, k + 1)
            pairs = zip(answers.rows.tolist(), answers.scores.tolist(), strict=True)
            named = [(self._models.items.id_of(near), score) for near, score in pairs if near != row]
            found = [NeighbourView(name, score) for name, score in named if name is not None]
        return Response(200, _encoder.encode(NeighboursAnswer(item_id, found[:k])))

    async def user(self, request: Request) -> Response:
        """One user; 404 for someone of whom nothing is known."""
        (user_id,) = request.params
        m = self._models
        row = m.users.row_of(user_id)
        if row < 0:
            msg = f"user {user_id!r}: nothing is known of them; a click or an impression changes that"
            raise MissingError(msg)
        clusters, weights = m.centroids.context(m.users.data[row])
        recent = m.history.recent(row, _RECENT)
        times = m.history.recent_ts(row, _RECENT).tolist()
        names = zip(m.items.ids_of(recent), times, strict=True)
        answer = UserAnswer(
            user_id=user_id,
            clicks=int(m.users.clicks[row]),
            impressions=int(m.users.impressions[row]),
            version=int(m.users.version[row]),
            absorbed_at=self._replica.absorbed_at,
            clusters=[ClusterView(c, w) for c, w in zip(clusters.tolist(), weights.tolist(), strict=True)],
            recent=[RecentView(name, ts) for name, ts in names if name is not None],
        )
        return Response(200, _encoder.encode(answer))

    def _item_row(self, item_id: str) -> int:
        row = self._models.items.row_of(item_id)
        if row < 0:
            msg = f"item {item_id!r}: it is not known here; send an `item` event for it first"
            raise MissingError(msg)
        return row

    def _edges(self, row: int, by_policies: Mapping[str, Mapping[str, Any]]) -> list[EdgeView]:
        # The sums of a policy that keeps some by cluster, for every cluster that the graph links or that has
        # seen the item.
        linked = dict.fromkeys(self._models.graph.clusters_of(row).tolist(), (0.0, 1.0))
        for known in by_policies.values():
            edges = known.get("edges") or ()
            if edges and all(edge.keys() >= {"cluster", "b", "d"} for edge in edges):
                linked |= {edge["cluster"]: (edge["b"], edge["d"]) for edge in edges}
                break
        return [EdgeView(cluster, b, d) for cluster, (b, d) in sorted(linked.items())]

    def _known_by_policies(self, row: int) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for name, policy in self._models.policies.items():
            try:
                if known := policy.describe(row):
                    found[name] = msgspec.to_builtins(known)  # what JSON cannot hold ends here
            except Exception as error:  # noqa: BLE001  # whatever another author's policy raises
                self._failed(f"policy {name!r}", f"described item row {row}", error)
        return found

    def _now_ms(self) -> int:
        # On the event clock time is the watermark; on the wall clock that is at most a tick behind.
        return max(self._replica.watermark, 0)
