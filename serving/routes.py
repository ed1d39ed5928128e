"""The calls of the public interface."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from prometheus_client import CollectorRegistry

from serving.asgi import Response
from serving.errors import UnavailableError
from serving.gateway import Gateway
from serving.metrics import METRICS_TYPE, exposition
from serving.openapi import document
from serving.page import PAGE_TYPE, page, page_headers
from serving.recommend import RecommendEndpoint
from serving.requests import (
    AcceptedAnswer,
    HealthAnswer,
    ItemAnswer,
    MeasuresAnswer,
    NeighboursAnswer,
    ReadyAnswer,
    RecommendAnswer,
    RecommendRequest,
    UserAnswer,
)
from serving.routing import Handler, Request, Route
from serving.views import NEIGHBOURS, Views
from stream.schema import Feed

__all__ = ["Status", "build_routes"]

_encoder = msgspec.json.Encoder()
_ANY = {"type": "object"}
_NDJSON = {"type": "string", "description": "one event a line, as in Feed.events"}


class Status:
    """Alive, ready, metrics, schema and the page."""

    def __init__(
        self, registry: CollectorRegistry, readiness: Callable[[], ReadyAnswer], *, worker: str, version: str
    ) -> None:
        self._registry, self._readiness = registry, readiness
        self._health = _encoder.encode(HealthAnswer("alive", worker, version))
        self.schema = b""

    async def healthz(self, _request: Request) -> Response:
        """Alive."""
        return Response(200, self._health)

    async def readyz(self, _request: Request) -> Response:
        """Caught up, or 503 with the reason."""
        answer = self._readiness()
        if not answer.ready:
            msg = f"worker: {answer.why}"
            raise UnavailableError(msg)
        return Response(200, _encoder.encode(answer))

    async def metrics(self, _request: Request) -> Response:
        """Prometheus text."""
        return Response(200, exposition(self._registry), METRICS_TYPE)

    async def openapi(self, _request: Request) -> Response:
        """The OpenAPI document."""
        return Response(200, self.schema)

    async def page(self, _request: Request) -> Response:
        """The live page."""
        return Response(200, page(), PAGE_TYPE, page_headers())


def build_routes(
    gateway: Gateway, recommender: RecommendEndpoint, views: Views, status: Status, version: str
) -> list[Route]:
    """All routes; the OpenAPI document is made from them."""
    routes = [
        Route(
            "POST",
            "/v1/events",
            gateway.post,
            "Send impressions, clicks, items and forgets",
            right="write",
            answers={202: AcceptedAnswer},
            body={"application/json": Feed, "application/x-ndjson": _NDJSON},
            problems=(400, 413, 415, 429),
        ),
        Route(
            "POST",
            "/v1/recommend",
            recommender.post,
            "Ask for items",
            answers={200: RecommendAnswer},
            body={"application/json": RecommendRequest},
            problems=(400, 409, 413, 415, 422, 429),
        ),
        Route("GET", "/v1/items/{id}", views.item, "One item", answers={200: ItemAnswer}, problems=(404,)),
        Route(
            "GET",
            "/v1/items/{id}/neighbours",
            views.neighbours,
            "Nearest items",
            answers={200: NeighboursAnswer},
            query=(NEIGHBOURS,),
            problems=(404, 422),
        ),
        Route("GET", "/v1/users/{id}", views.user, "One user", answers={200: UserAnswer}, problems=(404,)),
        Route("GET", "/v1/measures", views.measures, "What is measured", answers={200: MeasuresAnswer}),
        _health("/healthz", status.healthz, "Alive", HealthAnswer),
        _health("/readyz", status.readyz, "Caught up", ReadyAnswer),
        Route("GET", "/metrics", status.metrics, "Prometheus", answers={200: "text/plain"}),
        Route("GET", "/openapi.json", status.openapi, "This", right="none", answers={200: _ANY}),
        Route("GET", "/", status.page, "The live page", right="none", answers={200: "text/html"}),
    ]
    status.schema = _encoder.encode(document(routes, version))
    return routes


def _health(path: str, handler: Handler, summary: str, answer: type) -> Route:
    return Route("GET", path, handler, summary, right="none", answers={200: answer}, always=True)
