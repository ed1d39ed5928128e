"""A small client of the public HTTP API: what a product would write, nothing private."""

from __future__ import annotations

import http.client
from typing import Any, Self

import msgspec

from learning.errors import StartError

__all__ = ["ApiClient"]


class ApiClient:
    """One kept-alive connection to a Freshet; closed at the end of a `with`."""

    def __init__(self, host: str, port: int, timeout_s: float = 30.0) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    def recommend(self, **body: Any) -> dict[str, Any]:
        """`POST /v1/recommend`; the answer as it came."""
        answer: dict[str, Any] = self._decode(self._call("POST", "/v1/recommend", body))
        return answer

    def events(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        """`POST /v1/events`; the answer as it came."""
        answer: dict[str, Any] = self._decode(self._call("POST", "/v1/events", {"events": events}))
        return answer

    def user(self, user_id: str) -> dict[str, Any]:
        """`GET /v1/users/{id}`; the answer as it came."""
        answer: dict[str, Any] = self._decode(self._call("GET", f"/v1/users/{user_id}", None))
        return answer

    def absorbed_at(self) -> int:
        """Up to which `accepted_at` events are learned, by `GET /v1/measures`."""
        return int(self._decode(self._call("GET", "/v1/measures", None))["absorbed_at"])

    def text(self, path: str) -> str:
        """`GET` of a page, as text."""
        return self._call("GET", path, None).decode("utf-8")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: str, path: str, body: object) -> bytes:
        data = None if body is None else self._encode(body)
        headers = {"content-type": "application/json"} if data is not None else {}
        self._connection.request(method, path, data, headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= 300:
            msg = f"{method} {path} answered {response.status}: {answer[:500].decode('utf-8', 'replace')}"
            raise StartError(msg)
        return answer
