"""The HTTP surface, held against its own OpenAPI document by a schema-driven fuzzer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
)


OPERATIONS = [
    "POST /v1/events",
    "POST /v1/recommend",
    "GET /v1/items/{id}",
    "GET /v1/items/{id}/neighbours",
    "GET /v1/users/{id}",
    "GET /v1/measures",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /openapi.json",
    "GET /",
]


@pytest.fixture(scope="module")
def surface(run: Any, kit: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    # A system of its own: events of any time are sent, which move its clock.
    with run(tmp_path_factory.mktemp("surface") / "data") as system:
        system.settle(*(kit.item(f"i{n}") for n in range(9)), kit.click("ann", "i1", kit.t0 + 9))
        yield schemathesis.openapi.from_url(f"{system.worker.url}/openapi.json")


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_call_keeps_to_the_document(surface: Any, name: str, mode: GenerationMode) -> None:
    method, path = name.split(" ")
    operation = surface[path][method]
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
        return  # there is nothing to get wrong

    @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    check()


def test_the_document_names_every_route(system: Any) -> None:
    document = system.client.get("/openapi.json").json()
    listed = {f"{m.upper()} {path}" for path, ms in document["paths"].items() for m in ms}
    assert listed == set(OPERATIONS)
    assert document["openapi"].startswith("3.1")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/items/", 404),
        ("GET", "/v1/items/never%20heard", 404),
        ("GET", "/v1/items/%FF", 404),
        ("GET", "/v1/users/never", 404),
        ("GET", "/v1/items/i1/neighbours?k=0", 422),
        ("PUT", "/v1/events", 405),
        ("GET", "/v1/recommend", 405),
    ],
)
def test_wrong_turns_are_problems(system: Any, method: str, path: str, status: int) -> None:
    answer = system.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == {"title", "status", "detail"}


def test_an_item_is_shown_as_it_is_served(system: Any, kit: Any) -> None:
    system.settle(kit.click("looker", "i4", kit.t0 + 5_000))
    assert "i1" in [each["item_id"] for each in system.ask("looker", k=100)["items"]]
    system.settle(kit.click("looker", "i1", kit.t0 + 5_000))  # behind the decision in the log
    found = system.client.get("/v1/items/i1").json()
    assert found["group"] == "odd" and found["clicks"] > 0 and found["absorbed_at"] > 0
    assert found["edges"] and set(found["edges"][0]) == {"cluster", "b", "d"}
    known = found["policies"]["diag_lin_ucb"]
    assert known["shown"] > 0 and all(edge in found["edges"] for edge in known["edges"])


def test_an_id_with_a_slash_is_found_when_it_is_encoded(system: Any, kit: Any) -> None:
    system.settle(kit.item("a/neighbours", attributes={"title": "Ü"}))
    found = system.client.get("/v1/items/a%2Fneighbours").json()
    assert found["item_id"] == "a/neighbours" and found["attributes"] == {"title": "Ü"}


def test_neighbours_are_nearest_first_and_without_the_item(system: Any) -> None:
    found = system.client.get("/v1/items/i1/neighbours?k=5").json()["neighbours"]
    scores = [near["score"] for near in found]
    assert len(found) == 5 and scores == sorted(scores, reverse=True)
    assert "i1" not in {near["item_id"] for near in found}


def test_a_user_is_shown_with_what_they_clicked(system: Any) -> None:
    found = system.client.get("/v1/users/u1").json()
    assert found["clicks"] > 0 and found["recent"] and found["clusters"]


def test_metrics_tell_what_happened(system: Any, kit: Any) -> None:
    system.ask("u1")
    system.settle(kit.click("u1", "i9", kit.t0 + 9_000))
    text = system.client.get("/metrics").text
    for name in (
        "freshet_http_requests_total",
        'freshet_click_to_user_row_seconds_bucket{le="0.001"}',
        "freshet_click_to_user_row_seconds_count",
        "freshet_click_to_policy_row_waiting_seconds 0.0",
        "freshet_item_to_retrievable_seconds_sum",
        "freshet_commits_applied_bytes",
        "freshet_index_recall",
        "freshet_replica_seq",
        "freshet_policy_explored_share",
        "freshet_learner_join_total",
        "freshet_lag_ms",
        "freshet_fallbacks_total",
    ):
        assert name in text, name


def test_the_page_stands_alone(system: Any) -> None:
    answer = system.client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "src=" not in answer.text and "@import" not in answer.text


def test_head_is_get_without_a_body(system: Any) -> None:
    answer = system.client.head("/healthz")
    assert answer.status_code == 200 and not answer.content
    assert int(answer.headers["content-length"]) > 0
