"""Routes: a table that both the dispatcher and the OpenAPI document are made from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

from serving.asgi import Receive, Response, Scope
from serving.auth import Right
from serving.bodies import BodyBudget
from serving.errors import FieldError, MissingError

__all__ = ["Handler", "Match", "Parameter", "Request", "Route", "Router", "query_int"]


class Request(NamedTuple):
    """What a handler gets: `params` are the decoded parts of the path in braces, in order; `budget` is for
    reading its body."""

    scope: Scope
    receive: Receive
    params: tuple[str, ...]
    budget: BodyBudget


Handler = Callable[[Request], Awaitable[Response]]


class Parameter(NamedTuple):
    """A number in the query string."""

    name: str
    default: int
    least: int
    most: int
    text: str


@dataclass(frozen=True, slots=True)
class Route:
    """One call of the interface.

    `path` is exact, or has parts in braces. `body` maps a content type to its struct or schema; `answers`
    maps a status to the struct of its body, or to a content type for text; `problems` lists error statuses.
    `always`: answered from any host, and with however many requests in progress: a question about health.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    right: Right = "read"
    answers: dict[int, Any] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    query: tuple[Parameter, ...] = ()
    problems: tuple[int, ...] = ()
    always: bool = False


class Match(NamedTuple):
    """The route of a request, with the parts of its path; `allowed` is set when only the method is wrong."""

    route: Route | None
    params: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


class Router:
    """Finds the route of a request: one dictionary look-up for exact paths, a short walk for others.

    Example:
        >>> async def show(request): ...
        >>> router = Router([Route("GET", "/v1/items/{id}", show, "One item")])
        >>> router.match("GET", b"/v1/items/a%2Fb").params, router.match("PUT", b"/v1/items/a").allowed
        (('a/b',), ('GET', 'HEAD'))
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._exact: dict[bytes, dict[str, Route]] = {}
        self._patterns: list[tuple[list[bytes], Route]] = []
        for route in routes:
            path = route.path.encode()
            if b"{" in path:
                self._patterns.append((path.split(b"/"), route))
            else:
                self._exact.setdefault(path, {})[route.method] = route

    def match(self, method: str, raw_path: bytes) -> Match:
        """The route for `method` and the path as it came, still percent-encoded."""
        wanted = "GET" if method == "HEAD" else method
        methods = self._exact.get(raw_path)
        if methods is not None:
            route = methods.get(wanted)
            return Match(route, allowed=() if route else _with_head(methods))
        parts = raw_path.split(b"/")
        allowed: dict[str, Route] = {}
        for pattern, route in self._patterns:
            params = _fit(pattern, parts)
            if params is None:
                continue
            if route.method == wanted:
                return Match(route, params)
            allowed[route.method] = route
        return Match(None, allowed=_with_head(allowed))


def _with_head(methods: dict[str, Route]) -> tuple[str, ...]:
    return tuple(sorted({*methods, "HEAD"} if "GET" in methods else methods))


def _fit(pattern: list[bytes], parts: list[bytes]) -> tuple[str, ...] | None:
    if len(pattern) != len(parts):
        return None
    params = []
    for wanted, part in zip(pattern, parts, strict=True):
        if wanted.startswith(b"{"):
            if not part:
                return None
            params.append(_decoded(part))
        elif wanted != part:
            return None
    return tuple(params)


def _decoded(part: bytes) -> str:
    try:
        return unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"path: {part.decode('latin-1')!r} is not percent-encoded UTF-8; no id looks like this"
        raise MissingError(msg) from error


def query_int(scope: Scope, parameter: Parameter) -> int:
    """A whole number of the query string, or its default.

    Raises:
        FieldError: it is no whole number, or outside its bounds.
    """
    found = [v for k, v in parse_qsl(scope["query_string"].decode("latin-1")) if k == parameter.name]
    if not found:
        return parameter.default
    text = found[-1]
    if (
        len(text) > 9
        or not text.isascii()
        or not text.isdigit()
        or not (parameter.least <= int(text) <= parameter.most)
    ):
        msg = f"field '{parameter.name}': expected {parameter.least} to {parameter.most}, got {text[:40]!r}"
        raise FieldError(msg)
    return int(text)
