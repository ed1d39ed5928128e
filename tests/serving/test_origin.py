"""Pages of others, and bodies that are not said to be JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving import AuthSettings
from serving.page import page

EVENTS = b'{"events": []}'


def post(system: Any, **headers: str) -> Any:
    given = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return system.client.post("/v1/events", content=EVENTS, headers=given)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_a_body_is_taken_only_as_what_no_page_of_others_can_send(system: Any, kind: str) -> None:
    for path in ("/v1/events", "/v1/recommend"):
        said = {"content-type": kind} if kind else {"origin": str(system.client.base_url).rstrip("/")}
        answer = system.client.post(path, content=EVENTS, headers=said)
        assert answer.status_code == 415 and "application/json" in answer.json()["detail"]


def test_a_program_need_not_say_that_it_sends_json(system: Any) -> None:
    assert system.client.post("/v1/events", content=EVENTS).status_code == 202


def test_a_compressed_body_is_refused_as_one(system: Any) -> None:
    answer = post(system, content_encoding="gzip")
    assert answer.status_code == 415 and "uncompressed" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "rebound.evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "[::1]evil.example"}, 403),
        ({"host": "evil.example:8080", "origin": "http://evil.example:8080"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "localhost:8080", "origin": "http://localhost:8080"}, 202),
        ({"host": "[::1]:8080"}, 202),
        ({"host": "freshet:8080"}, 202),
    ],
)
def test_without_tokens_only_our_own_pages_may_write(
    system: Any, headers: dict[str, str], status: int
) -> None:
    assert post(system, **headers).status_code == status


def test_a_foreign_name_reads_nothing_but_health(system: Any) -> None:
    foreign = {"host": "rebound.evil.example"}
    read = [
        system.client.get(path, headers=foreign).status_code for path in ("/v1/users/u1", "/metrics", "/")
    ]
    assert read == [403, 403, 403]
    assert system.client.get("/healthz", headers=foreign).status_code == 200


def test_names_of_ours_may_be_told_and_tokens_need_none(run: Any, kit: Any, tmp_path: Path) -> None:
    shop = {"host": "shop.example", "origin": "https://shop.example"}
    with run(tmp_path / "a", kit.serve(allowed_hosts=("shop.example",)), learner=False) as system:
        assert post(system, **shop).status_code == 202
    auth = AuthSettings(write=("w" * 16,))
    with run(tmp_path / "b", kit.serve(auth=auth), learner=False) as system:
        assert post(system, **shop, authorization="Bearer " + "w" * 16).status_code == 202


def test_the_page_may_run_its_own_script_alone(system: Any) -> None:
    headers = system.client.get("/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert policy.count("'sha256-") == page().count(b"<script") + page().count(b"<style")
    assert b" style=" not in page() and b" onclick=" not in page()
    assert headers["referrer-policy"] == "no-referrer"
    assert system.client.get("/healthz").headers["x-content-type-options"] == "nosniff"
