"""The ASGI application: tokens, dispatch, errors and counters around a handful of routes.

Bare ASGI on purpose: the routes are few, and every layer between the socket and the handler is paid for by
every answer (a trivial POST a second under uvicorn: bare 19,500, with a framework 12,300 or fewer).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from serving.asgi import Receive, Response, Scope, Send, header, send_response
from serving.auth import TokenGate
from serving.bodies import BodyBudget
from serving.errors import MissingError, ServingError, UnavailableError
from serving.metrics import HttpMetrics
from serving.origin import OriginGate
from serving.problems import problem_response
from serving.routing import Request, Route, Router
from serving.settings import ServeSettings
from stream.clock import Clock
from stream.errors import FreshetError

__all__ = ["Application", "Lifespan"]

_log = logging.getLogger(__name__)


class Lifespan:
    """What happens before the first request and after the last."""

    def __init__(self, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]) -> None:
        self.start, self.stop = start, stop

    async def run(self, receive: Receive, send: Send) -> None:
        """Speak the ASGI lifespan protocol."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except FreshetError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


class _NotAllowedError(ServingError):
    status = 405
    title = "Method not allowed"


class Application:
    """Answers every request: with a handler's response or with a problem, never with silence.

    Bounds: `settings.max_concurrent` requests in progress, beyond it 503 at once, but for questions about
    health; `settings.max_receiving_bytes` of large bodies.
    """

    def __init__(
        self, router: Router, settings: ServeSettings, clock: Clock, metrics: HttpMetrics, lifespan: Lifespan
    ) -> None:
        self.router = router
        self._settings, self._clock, self._metrics, self._lifespan = settings, clock, metrics, lifespan
        self._gate = TokenGate(settings.auth)
        self._origins = OriginGate(settings.allowed_hosts, asked_for_tokens=settings.auth.configured)
        self.bodies = BodyBudget(settings.max_receiving_bytes)
        self.in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the lifespan of the process."""
        if scope["type"] == "lifespan":
            await self._lifespan.run(receive, send)
            return
        if scope["type"] != "http":
            return
        began_s = self._clock.monotonic_s()
        route: Route | None = None
        status = 500
        self.in_progress += 1
        try:
            route, response = await self._respond(scope, receive)
            status = response.status
            await send_response(send, response, head=scope["method"] == "HEAD")
        except Exception:
            # Told to the caller in the same shape as any error, then raised for the server's log.
            error = ServingError("worker: something unexpected happened here; its log says what")
            await send_response(send, problem_response(error, retry_after_s=1))
            raise
        finally:
            self.in_progress -= 1
            self.bodies.release(scope)
            path = route.path if route else "(none)"
            self._metrics.seen(path, status, self._clock.monotonic_s() - began_s)

    async def _respond(self, scope: Scope, receive: Receive) -> tuple[Route | None, Response]:
        route: Route | None = None
        try:
            raw_path = scope.get("raw_path") or scope["path"].encode()
            match = self.router.match(scope["method"], raw_path)
            route = match.route
            if route is None or not route.always:
                self._check(scope)
            if route is None:
                return None, self._lost(scope, match.allowed)
            self._gate.check(route.right, header(scope, b"authorization"))
            return route, await route.handler(Request(scope, receive, match.params, self.bodies))
        except FreshetError as error:
            response = problem_response(error, retry_after_s=self._settings.retry_after_s)
            if response.status == 500:
                _log.error("%s %s failed: %s", scope["method"], scope["path"], error)
            return route, response
        except MemoryError as error:
            # Not a fault of the code: this machine, or a limit on the process, has no more to give just now.
            _log.error("%s %s failed: no memory is left: %s", scope["method"], scope["path"], error)
            msg = "worker: no memory is left for this request; try again later, or send fewer events a body"
            answer = UnavailableError(msg)
            return route, problem_response(answer, retry_after_s=self._settings.retry_after_s)

    def _check(self, scope: Scope) -> None:
        if self.in_progress > self._settings.max_concurrent:
            msg = f"worker: {self._settings.max_concurrent} requests are in progress; try again in a second"
            raise UnavailableError(msg)
        self._origins.check(scope)

    def _lost(self, scope: Scope, allowed: tuple[str, ...]) -> Response:
        if allowed:
            listed = ", ".join(allowed)
            error: ServingError = _NotAllowedError(
                f"{scope['path']}: expected {listed}, got {scope['method']}"
            )
            response = problem_response(error, retry_after_s=0)
            return response._replace(headers=[(b"allow", listed.encode())])
        error = MissingError(f"{scope['path']}: there is no such page; /openapi.json lists what there is")
        return problem_response(error, retry_after_s=0)
