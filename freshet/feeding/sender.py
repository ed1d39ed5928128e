"""Posts events in batches, waits when asked to, and remembers how far it came."""

from __future__ import annotations

import http.client
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from freshet.errors import StartError
from freshet.feeding.readers import Row
from stream.clock import Clock

__all__ = ["MAX_BATCH_BYTES", "SendReport", "Sender", "deliver", "resume_path"]

MAX_BATCH_BYTES = 4_000_000
"""Half of what the gateway takes, so that a batch never fails for its size."""

_RETRIES = 60


@dataclass(slots=True)
class SendReport:
    """What became of the rows: accepted, and refused with their row number and reason (the first
    thousand)."""

    accepted: int = 0
    rejected: int = 0
    accepted_at: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)

    def refuse(self, row: int, reason: str) -> None:
        """Count a refused row."""
        self.rejected += 1
        if len(self.reasons) < 1_000:
            self.reasons.append((row, reason))


class Sender:
    """Sends rows to ``POST /v1/events`` of one Freshet.

    `rate` limits rows a second (0: as fast as they are taken). After every accepted batch `on_progress` is
    called with the number of the next row, which is what a resume file stores. A batch is repeated until it
    is accepted: the joiner drops what it has seen, so a repeated batch teaches nothing twice.
    """

    def __init__(self, url: str, clock: Clock, *, token: str | None = None, backfill: bool = False) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.username is not None:
            msg = "the address holds a user or a password; give a token with --token or FRESHET_TOKEN instead"
            raise StartError(msg)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            msg = f"{url!r} is no address of a Freshet; expected something like http://127.0.0.1:8080"
            raise StartError(msg)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=60)
        self._clock = clock
        self._url = url
        self._backfill = backfill
        self._headers = {"content-type": "application/json"}
        if token:
            if not re.fullmatch(r"[!-~]+", token):
                msg = "token: expected printable characters without spaces, others came (it is not shown)"
                raise StartError(msg)
            self._headers["authorization"] = f"Bearer {token}"

    def send(
        self,
        rows: Iterable[Row],
        *,
        batch: int = 500,
        rate: float = 0.0,
        on_progress: Callable[[int, int], None] = lambda _next, _count: None,
    ) -> SendReport:
        """Send all rows; returns the report.

        Raises:
            StartError: nobody listens there, or the gateway refuses the whole request.
        """
        return deliver(rows, self._post, self._clock, batch=batch, rate=rate, on_progress=on_progress)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _post(self, chunk: list[Row], report: SendReport) -> None:
        flag = b"true" if self._backfill else b"false"
        body = b'{"backfill":%s,"events":[%s]}' % (flag, b",".join(row.body for row in chunk))
        for _attempt in range(_RETRIES):
            status, answer, retry_after = self._request(body)
            if status == 202:
                report.accepted += answer["accepted"]
                report.accepted_at = answer["accepted_at"]
                for refusal in answer["rejected"]:
                    report.refuse(chunk[refusal["index"]].number, refusal["reason"])
                return
            if status == 400 and len(chunk) > 1:
                # One unreadable line makes the whole body unreadable: find it by halves.
                middle = len(chunk) // 2
                self._post(chunk[:middle], report)
                self._post(chunk[middle:], report)
                return
            if status == 400:
                report.refuse(chunk[0].number, str(answer.get("detail", "unreadable")))
                return
            if status not in (429, 503):
                msg = f"{self._url} answered {status}: {answer.get('detail', answer)}"
                raise StartError(msg)
            self._clock.sleep_s(retry_after)
        msg = f"{self._url} refused {_RETRIES} times (overloaded or down); run the same command to resume"
        raise StartError(msg)

    def _request(self, body: bytes) -> tuple[int, dict[str, Any], float]:
        try:
            self._connection.request("POST", "/v1/events", body, self._headers)
            response = self._connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if isinstance(error, ConnectionRefusedError):
                msg = f"nobody listens at {self._url}; start one with `freshet up --data DIR`"
                raise StartError(msg) from error
            return 503, {"detail": str(error)}, 0.5
        try:
            answer = json.loads(data)
        except ValueError:
            answer = {"detail": data[:200].decode("utf-8", "replace")}
        return response.status, answer, float(response.headers.get("retry-after") or 0.5)


def deliver(
    rows: Iterable[Row],
    post: Callable[[list[Row], SendReport], None],
    clock: Clock,
    *,
    batch: int,
    rate: float,
    on_progress: Callable[[int, int], None],
) -> SendReport:
    """Hand the rows to `post` in batches, at most `rate` a second; after each, `on_progress` hears of it."""
    report = SendReport()
    started, sent = clock.monotonic_s(), 0
    for chunk in _batches(rows, batch):
        post(chunk, report)
        sent += len(chunk)
        on_progress(chunk[-1].number + 1, len(chunk))
        if rate > 0:
            clock.sleep_s(started + sent / rate - clock.monotonic_s())
    return report


def _batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while chunk := list(itertools.islice(iterator, size)):
        start = total = 0
        for end, row in enumerate(chunk):
            if end > start and total + len(row.body) > MAX_BATCH_BYTES:
                yield chunk[start:end]
                start, total = end, 0
            total += len(row.body) + 1
        yield chunk[start:]


def resume_path(file: Path) -> Path:
    """Where the progress of one file is kept, beside it."""
    return file.with_name(f".{file.name}.freshet-resume")
