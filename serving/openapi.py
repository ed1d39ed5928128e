"""The OpenAPI document, made from the route table and the structs that the routes read and write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from serving.problems import Problem
from serving.requests import ItemAnswer, RecommendRequest
from serving.routing import Parameter, Route
from stream.schema import event_components

__all__ = ["document"]

_REF = "#/components/schemas/{name}"
_ALWAYS = (500, 503)

_NUMBER = {"type": "number"}
_POLICIES = {
    "type": "object",
    "description": "What each policy knows of the item, by its name; a policy of another package has more.",
    "additionalProperties": {
        "type": "object",
        "properties": {
            "shown": {"type": "integer"},
            "reward": _NUMBER,
            "edges": {"type": "array", "items": {"$ref": _REF.format(name="EdgeView")}},
            "b": {"type": "array", "items": _NUMBER},
        },
    },
}
_CONTEXT = {
    "type": ["object", "null"],
    "properties": {
        "features": {"type": ["array", "null"], "items": {"type": "number"}, "maxItems": 4096},
        "item_id": {"type": ["string", "null"], "minLength": 1, "maxLength": 256},
    },
    "default": None,
}


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """OpenAPI 3.1 of `routes`.

    Example:
        >>> async def alive(request): ...
        >>> route = Route("GET", "/healthz", alive, "Alive", right="none", answers={200: "text/plain"})
        >>> sorted(document([route], "1")["paths"]["/healthz"]["get"]["responses"])
        ['200', '403', '500', '503']
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Freshet",
            "version": version,
            "description": "A recommender that learns from every click while it serves.",
        },
        "paths": paths,
        "components": {
            "schemas": _components(routes),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _components(routes: Sequence[Route]) -> dict[str, Any]:
    shapes = [shape for route in routes for shape in (*route.answers.values(), *route.body.values())]
    structs = {shape for shape in shapes if isinstance(shape, type)}
    ordered = sorted({*structs, Problem}, key=lambda struct: struct.__name__)
    _, made = msgspec.json.schema_components(ordered, ref_template=_REF)
    components: dict[str, Any] = dict(made)
    if RecommendRequest.__name__ in components:
        components[RecommendRequest.__name__]["properties"]["context"] = _CONTEXT
    if ItemAnswer.__name__ in components:
        components[ItemAnswer.__name__]["properties"]["policies"] = _POLICIES
    return {**components, **event_components(_REF)}


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": route.method.lower() + re.sub(r"[^a-z0-9]+", "_", route.path).rstrip("_"),
        "responses": {
            **{str(status): _answer(status, shape) for status, shape in sorted(route.answers.items())},
            **{
                str(status): _problem(status)
                for status in (*route.problems, *_ALWAYS, *_refusals(route))
                if status not in route.answers
            },
        },
    }
    parameters = [_path_parameter(name) for name in _names(route.path)] + [_query(p) for p in route.query]
    if parameters:
        operation["parameters"] = parameters
    if route.body:
        content = {kind: {"schema": _schema(shape)} for kind, shape in route.body.items()}
        operation["requestBody"] = {"required": True, "content": content}
    if route.right != "none":
        # Tokens are asked for only where some are configured.
        operation["security"] = [{}, {"bearer": []}]
    return operation


def _refusals(route: Route) -> tuple[int, ...]:
    if route.right != "none":
        return (401, 403)
    return () if route.always else (403,)


def _answer(status: int, shape: Any) -> dict[str, Any]:
    if isinstance(shape, str):
        content: dict[str, Any] = {shape: {"schema": {"type": "string"}}}
    elif isinstance(shape, dict):
        content = {"application/json": {"schema": shape}}
    else:
        content = {"application/json": {"schema": _schema(shape)}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _problem(status: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _schema(Problem)}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _schema(shape: Any) -> dict[str, Any]:
    return shape if isinstance(shape, dict) else {"$ref": _REF.format(name=shape.__name__)}


def _names(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _path_parameter(name: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": 256}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query(parameter: Parameter) -> dict[str, Any]:
    bounds = {"minimum": parameter.least, "maximum": parameter.most, "default": parameter.default}
    schema = {"type": "integer", **bounds}
    return {"name": parameter.name, "in": "query", "description": parameter.text, "schema": schema}
