"""Posts events in batches, waits when asked to, and remembers how far it came."""

from __future__ import annotations

import http.client
import itertools
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec

from freshet.feeding.readers import Row
from learning.errors import StartError
from stream.clock import Clock
from stream.lateness import is_late

__all__ = ["MAX_BATCH_BYTES", "Refused", "RowSender", "SendReport", "Sender", "resume_path"]

MAX_BATCH_BYTES = 4_000_000
"""Half of what the gateway takes, so that a batch never fails for its size."""

_EVENTS = "/v1/events"
_RETRIES = 60
_AGAIN = (429, 502, 503, 504)
_LONGEST_WAIT_S = 60.0
_MOST_REASONS = 1_000
_ITS_BODY = (400, 413)


class Refused(NamedTuple):
    """A row that was refused: its number in the file from 0, why, and which file (empty: the only one)."""

    row: int
    reason: str
    file: str = ""


@dataclass(slots=True)
class SendReport:
    """What became of the rows: accepted, refused with their row numbers and reasons (the first thousand), and
    `repeated`: sent a second time, because nobody knows whether the first was heard, and refused as older
    than what is loaded, which they are if it was."""

    accepted: int = 0
    rejected: int = 0
    repeated: int = 0
    accepted_at: int = 0
    reasons: list[Refused] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Why files could not be read to their end."""

    def refuse(self, row: int, reason: str, file: str = "") -> None:
        """Count a refused row."""
        self.rejected += 1
        if len(self.reasons) < _MOST_REASONS:
            self.reasons.append(Refused(row, reason, file))

    def refuse_all(self, refused: Iterable[Refused], *, doubtful: bool) -> None:
        """Count refused rows; `doubtful`: they may have been sent once before."""
        for row, reason, file in refused:
            if doubtful and is_late(reason):
                self.repeated += 1
            else:
                self.refuse(row, reason, file)


class _Refusal(msgspec.Struct):
    index: int
    reason: str


class _Accepted(msgspec.Struct):
    accepted: int
    accepted_at: int
    rejected: list[_Refusal]


class RowSender(ABC):
    """Where rows go to: hands them over in batches; a kind of its own writes `_post` and `close`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def send(
        self,
        rows: Iterable[Row],
        *,
        batch: int = 500,
        rate: float = 0.0,
        resumed: bool = False,
        on_progress: Callable[[list[Row]], None] = lambda _rows: None,
    ) -> SendReport:
        """Send all rows, at most `rate` a second, and after each batch `on_progress` hears of it; the report.

        `resumed`: the first batch may have been sent before.

        Raises:
            StartError, BrokerError: the other side is not there or refuses; the same command goes on there.
        """
        report, clock = SendReport(), self._clock
        started, sent = clock.monotonic_s(), 0
        for chunk in _batches(rows, batch):
            bad = [Refused(row.number, row.reason, row.file) for row in chunk if row.reason is not None]
            report.refuse_all(bad, doubtful=False)
            if good := [row for row in chunk if row.reason is None]:
                self._post(good, report, resumed and not sent)
            sent += len(chunk)
            on_progress(chunk)
            if rate > 0:
                clock.sleep_s(started + sent / rate - clock.monotonic_s())
        return report

    @abstractmethod
    def _post(self, chunk: list[Row], report: SendReport, doubtful: bool) -> None:
        """Hand over a batch and note in the report what became of it."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""


class Sender(RowSender):
    """Sends rows to ``POST /v1/events`` of one Freshet, which may lie behind a proxy under a path.

    `rate` limits rows a second (0: as fast as they are taken). After every accepted batch `on_progress` is
    called with its rows, which is what a resume file stores. A batch is repeated until it is accepted, with
    429, 502, 503 and 504 and when the connection is lost, up to sixty times: the joiner drops what it has
    seen, so a repeated batch teaches nothing twice.

    Args:
        url: the address, with a path where there is one: ``https://example.org/freshet``.

    Raises:
        StartError: that is no address of a Freshet.
    """

    def __init__(self, url: str, clock: Clock, *, token: str | None = None, backfill: bool = False) -> None:
        super().__init__(clock)
        parts = _address(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port, timeout=60)
        self._path = f"{parts.path.removesuffix('/').removesuffix(_EVENTS)}{_EVENTS}"
        self._url = url
        self._backfill = backfill
        self._headers = {"content-type": "application/json"}
        if token:
            if not re.fullmatch(r"[!-~]+", token):
                msg = "token: expected printable characters without spaces, others came (it is not shown)"
                raise StartError(msg)
            self._headers["authorization"] = f"Bearer {token}"

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _post(self, chunk: list[Row], report: SendReport, doubtful: bool) -> None:
        flag = b"true" if self._backfill else b"false"
        body = b'{"backfill":%s,"events":[%s]}' % (flag, b",".join(row.body for row in chunk))
        for _attempt in range(_RETRIES):
            status, answer, wait_s = self._request(body)
            if status == 202:
                self._count(chunk, answer, report, doubtful)
                return
            if status in _ITS_BODY and len(chunk) > 1:
                # One unreadable or very long line makes the whole body so: find it by halves.
                middle = len(chunk) // 2
                self._post(chunk[:middle], report, doubtful)
                self._post(chunk[middle:], report, doubtful)
                return
            if status in _ITS_BODY:
                report.refuse(chunk[0].number, str(answer.get("detail", "unreadable")), chunk[0].file)
                return
            if status not in _AGAIN:
                msg = f"{self._url} answered {status}: {answer.get('detail', answer)}"
                raise StartError(msg)
            doubtful = doubtful or status in (502, 504)
            self._clock.sleep_s(wait_s)
        msg = f"{self._url} refused {_RETRIES} times (overloaded or down); run the same command to resume"
        raise StartError(msg)

    def _count(self, chunk: list[Row], answer: dict[str, Any], report: SendReport, doubtful: bool) -> None:
        try:
            found = msgspec.convert(answer, _Accepted)
            refused = [Refused(chunk[r.index].number, r.reason, chunk[r.index].file) for r in found.rejected]
            if not 0 <= found.accepted <= len(chunk) - len(refused):
                raise IndexError
        except (msgspec.ValidationError, IndexError):
            msg = (
                f"{self._url} answered 202 and not as a Freshet does: expected accepted, accepted_at and "
                f"rejected for {len(chunk)} events, got {str(answer)[:200]}; is this the right address?"
            )
            raise StartError(msg) from None
        report.accepted += found.accepted
        report.accepted_at = found.accepted_at
        report.refuse_all(refused, doubtful=doubtful)
        report.rejected += len(chunk) - found.accepted - len(refused)  # those beyond the reasons given

    def _request(self, body: bytes) -> tuple[int, dict[str, Any], float]:
        try:
            self._connection.request("POST", self._path, body, self._headers)
            response = self._connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if isinstance(error, ConnectionRefusedError):
                msg = f"nobody listens at {self._url}; start one with `freshet up --data DIR`"
                raise StartError(msg) from error
            # Whether the events arrived nobody knows, as when a proxy says so.
            return 504, {"detail": str(error)}, 0.5
        try:
            answer = json.loads(data)
        except ValueError:
            answer = data[:200].decode("utf-8", "replace")
        if not isinstance(answer, dict):
            answer = {"detail": answer}
        if 300 <= response.status < 400 and (elsewhere := response.headers.get("location")):
            answer = {"detail": f"what is asked for is at {elsewhere}; give that address with --to"}
        return response.status, answer, self._wait_s(response.headers.get("retry-after"))

    def _wait_s(self, stated: str | None) -> float:
        """Seconds of a `Retry-After`, which may also be a date; half a second where there is none."""
        try:
            wait_s = float(stated or 0.5)
        except ValueError:
            try:
                wait_s = parsedate_to_datetime(str(stated)).timestamp() - self._clock.now_ms() / 1e3
            except ValueError:
                return 0.5
        return min(max(wait_s, 0.0), _LONGEST_WAIT_S)


def _address(url: str) -> SplitResult:
    """The parts of the address of a Freshet.

    Raises:
        StartError: it is none.
    """
    try:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        msg = f"{url!r} is no address of a Freshet; expected something like http://127.0.0.1:8080"
        raise StartError(msg)
    for what, there in (
        ("a query", parts.query),
        ("a fragment", parts.fragment),
        ("a name or password, for which there is --token", parts.username),
    ):
        if there:
            msg = f"the address of a Freshet has host, port and perhaps a path; this one has {what}"
            raise StartError(msg)
    return parts


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
