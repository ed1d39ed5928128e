"""Files on their way to a Freshet: their order, several at once, and whom they are sent to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from freshet.cli import app
from freshet.feeding import Row, Sender
from freshet.feeding.order import InOrder
from learning.errors import StartError
from stream.clock import ManualClock

T0, MINUTE, DAY = 1_700_000_000_000, 60_000, 86_400_000
LATE = "ts: expected at least 1700000000000, got 5; history is loaded up to …"


def rows(times: Sequence[int]) -> list[Row]:
    return [Row(n, b'{"type": "click", "ts": %d}' % ts) for n, ts in enumerate(times)]


def given(order: InOrder, times: Sequence[int]) -> list[int]:
    return [timed.ts for timed in order.sort(rows(times))]


IN_TIME = [T0 + n * MINUTE for n in range(300)]


@pytest.mark.parametrize("shape", ["shuffled", "newest first"])
def test_a_file_in_any_order_is_put_in_order_and_told_of(shape: str) -> None:
    times = (
        IN_TIME[::-1] if shape == "newest first" else np.random.default_rng(1).permutation(IN_TIME).tolist()
    )
    order = InOrder()
    assert given(order, times) == IN_TIME
    assert order.n_behind > 250 and order.n_late == 0 and "sorted by ts" in order.findings()[0]


def test_rows_within_the_lateness_keep_their_order() -> None:
    times = [T0 + MINUTE, T0, T0 + 9 * MINUTE, T0 + 2 * MINUTE]
    order = InOrder()
    assert given(order, times) == times and order.findings() == []


def test_one_row_from_the_future_is_left_out_and_makes_nothing_late() -> None:
    times = [*IN_TIME[:50], T0 + 30_000 * DAY, *IN_TIME[50:]]
    order = InOrder()
    assert given(order, times) == IN_TIME
    assert [row.number for row in order.jumped] == [50] and order.n_late == 0
    assert "30,000 days after all others (the first is row 51) and left out" in order.findings()[-1]


def test_of_a_short_file_a_row_that_is_years_away_is_left_out_and_months_are_none() -> None:
    few, two = InOrder(), InOrder()
    assert given(few, [*IN_TIME[:20], T0 + 30_000 * DAY]) == IN_TIME[:20] and len(few.jumped) == 1
    assert given(two, [T0, T0 + 3_000 * DAY]) == [T0, T0 + 3_000 * DAY]


def test_a_log_with_gaps_is_given_whole() -> None:
    times = [T0 + n * 50 * DAY for n in range(200)]
    order = InOrder()
    assert given(order, times) == times and order.jumped == []


def test_what_no_look_ahead_can_mend_is_counted() -> None:
    order = InOrder(most_rows=100)
    assert sorted(given(order, IN_TIME[::-1])) == IN_TIME
    assert order.n_late > 100 and "sort the file by ts before" in order.findings()[1]


def test_an_item_described_today_stays_before_the_clicks_behind_it() -> None:
    catalogue = Row(0, b'{"type": "item", "ts": %d}' % (T0 + 900 * DAY))
    order = InOrder()
    taken = [timed.row.number for timed in order.sort([catalogue, *rows(IN_TIME)[1:]])]
    assert taken == list(range(300)) and order.findings() == []


# To whom


Answer = tuple[int, Any, dict[str, str]]


@contextmanager
def answering(answer: Callable[[int, list[Any]], Answer]) -> Iterator[tuple[str, list[str]]]:
    """A server on loopback that answers the n-th request as told; its address and the paths asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            events = json.loads(self.rfile.read(int(self.headers["content-length"])))["events"]
            status, found, headers = answer(len(paths), events)
            paths.append(self.path)
            body = json.dumps(found).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", paths
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def taken(n: int, rejected: Sequence[Any] = ()) -> Answer:
    return 202, {"accepted": n - len(rejected), "accepted_at": 7, "rejected": list(rejected)}, {}


@pytest.mark.parametrize("path", ["/freshet", "/freshet/", "/freshet/v1/events"])
def test_the_path_of_the_address_is_kept(path: str) -> None:
    with (
        answering(lambda _, events: taken(len(events))) as (url, paths),
        closing(Sender(url + path, ManualClock())) as sender,
    ):
        assert sender.send(rows([5, 6])).accepted == 2
    assert paths == ["/freshet/v1/events"]


@pytest.mark.parametrize(
    "wrong", ["http://h/?a=1", "http://h/#a", "http://me:pw@h/", "http://h:99999/", "ftp://h"]
)
def test_an_address_with_more_than_a_path_is_refused(wrong: str) -> None:
    with pytest.raises(StartError, match="address of a Freshet"):
        Sender(wrong, ManualClock())


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_proxy_without_its_server_is_waited_for_as_long_as_it_says(status: int) -> None:
    clock = ManualClock()
    away = (status, "<html>bad gateway</html>", {"retry-after": "3"})
    with (
        answering(lambda n, events: away if n < 2 else taken(len(events))) as (url, paths),
        closing(Sender(url, clock)) as sender,
    ):
        assert sender.send(rows([5])).accepted == 1
    assert (len(paths), clock.now_ms()) == (3, 6_000.0)


@pytest.mark.parametrize(
    "answer", ["fine", {}, {"accepted": 9, "accepted_at": 1, "rejected": []}, {"accepted": "1"}]
)
def test_a_202_of_something_else_is_not_taken_for_accepted(answer: Any) -> None:
    with (
        answering(lambda _n, _events: (202, answer, {})) as (url, _),
        closing(Sender(url, ManualClock())) as sender,
        pytest.raises(StartError, match="not as a Freshet does"),
    ):
        sender.send(rows([5]))


def test_a_redirect_names_the_other_address() -> None:
    with (
        answering(lambda _n, _events: (308, {}, {"location": "https://x/"})) as (url, _),
        closing(Sender(url, ManualClock())) as sender,
        pytest.raises(StartError, match="answered 308: what is asked for is at https://x/"),
    ):
        sender.send(rows([5]))


def test_what_is_late_only_because_it_was_sent_twice_is_not_refused() -> None:
    late = {"index": 0, "reason": LATE}
    with (
        answering(lambda n, events: (504, {}, {}) if n == 0 else taken(len(events), [late])) as (url, _),
        closing(Sender(url, ManualClock(), backfill=True)) as sender,
    ):
        report = sender.send(rows([5, 6]))
    assert (report.accepted, report.rejected, report.repeated) == (1, 0, 1)


def test_several_files_of_history_are_one_sequence_and_a_refusal_names_file_and_row(tmp_path: Path) -> None:
    newer, older = tmp_path / "newer.jsonl", tmp_path / "older.jsonl"
    newer.write_bytes(b"\n".join(row.body for row in rows(IN_TIME[10:20])))
    older.write_bytes(b"\n".join(row.body for row in rows(IN_TIME[:10])))
    sent: list[int] = []

    def answer(_n: int, events: list[Any]) -> Answer:
        sent.extend(event["ts"] for event in events)
        return taken(len(events), [{"index": 12, "reason": LATE}])

    with answering(answer) as (url, _):
        words = ["feed", str(newer), str(older), "--backfill", "--to", url, "--json", str(tmp_path / "out")]
        ran = CliRunner().invoke(app, words)
    assert sent == IN_TIME[:20] and ran.exit_code == 1
    assert f"{newer}, row 3: ts: expected at least" in "".join(ran.output.split("\n"))
    [refused] = json.loads((tmp_path / "out").read_text("utf-8"))["reasons"]
    assert (refused["file"], refused["row"]) == (str(newer), 2)


def test_history_that_was_interrupted_goes_on_where_its_order_was(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(b"\n".join(row.body for row in rows(IN_TIME[::-1])))
    sent: list[int] = []

    def answer(n: int, events: list[Any]) -> Answer:
        if n == 2:
            return 500, {}, {}
        sent.extend(event["ts"] for event in events)
        return taken(len(events))

    with answering(answer) as (url, _):
        words = ["feed", str(file), "--backfill", "--batch", "50", "--to", url]
        assert CliRunner().invoke(app, words).exit_code == 1
        assert CliRunner().invoke(app, words).exit_code == 0
    assert sent == IN_TIME
