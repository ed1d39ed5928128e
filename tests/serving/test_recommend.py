"""What `recommend` answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream.codec import decode_logged
from stream.events import Decision
from stream.folder import DataFolder

FIELDS = {"request_id", "items", "policy", "versions", "absorbed_at", "stale", "fallback"}


def ids(answer: dict[str, Any]) -> list[str]:
    return [shown["item_id"] for shown in answer["items"]]


def test_an_answer_has_everything_that_the_contract_names(system: Any) -> None:
    system.ask_fresh("u1", k=5)
    answer = system.ask("u1", k=5, request_id="contract-1")
    assert set(answer) == FIELDS and answer["request_id"] == "contract-1"
    assert set(answer["versions"]) == {"index", "policy", "graph", "marks"}
    # One commit of the embedded learner moves all of them.
    kinds = ("users", "items", "policies", "trained")
    assert answer["versions"]["marks"] == dict.fromkeys(kinds, answer["absorbed_at"])
    assert set(answer["items"][0]) == {"item_id", "propensity", "score", "source", "explored"}
    assert len(answer["items"]) == 5 and answer["fallback"] is None and answer["stale"] is False


def test_the_log_holds_the_context_and_the_versions_of_a_decision(run: Any, kit: Any, tmp_path: Path) -> None:
    with run(tmp_path / "data") as system:
        system.settle(*[kit.item(f"i{n}") for n in range(20)], kit.click("ann", "i1", kit.t0 + 9))
        answer = system.ask("ann", request_id="logged-1")
    body = DataFolder(tmp_path / "data").readers()["events-0"].find_decision("logged-1")
    (logged,) = decode_logged(body or b"")
    assert isinstance(logged, Decision)
    assert logged.clusters and sum(logged.weights) == pytest.approx(1)
    versions = {"index": logged.index_version, "policy": logged.policy_version, "graph": logged.graph_version}
    marks = {
        "users": logged.absorbed_at,
        "items": logged.items_absorbed_at,
        "policies": logged.policies_absorbed_at,
        "trained": logged.trained_absorbed_at,
    }
    assert answer["versions"] == {**versions, "marks": marks} and versions["index"] > 0 < marks["items"]
    assert logged.propensities == [shown["propensity"] for shown in answer["items"]]


def test_the_experiment_of_a_request_is_logged_and_is_part_of_the_question(
    run: Any, kit: Any, tmp_path: Path
) -> None:
    asked = {"user_id": "ann", "request_id": "r", "k": 2, "experiment": "button-b", "placement": "home"}
    with run(tmp_path / "data") as system:
        system.settle(kit.item("i1"))
        answers = [
            system.client.post("/v1/recommend", json=asked | {"experiment": arm}).status_code
            for arm in ("button-b", "button-b", "button-a")
        ]
        refused = system.client.post("/v1/recommend", json=asked | {"experiment": "x" * 257})
    (logged,) = decode_logged(DataFolder(tmp_path / "data").readers()["events-0"].find_decision("r") or b"")
    assert isinstance(logged, Decision)
    assert (logged.experiment, logged.placement, answers) == ("button-b", "home", [200, 200, 409])
    assert refused.status_code in (400, 422) and "experiment" in refused.text


def test_no_item_stands_twice_and_sources_mix(system: Any) -> None:
    answer = system.ask("u2", k=60)
    assert len(set(ids(answer))) == 60
    assert len({shown["source"] for shown in answer["items"]}) >= 3


def test_what_the_user_clicked_is_not_shown_again(system: Any, kit: Any) -> None:
    first = ids(system.ask("clicker", k=1))[0]
    accepted_at = system.tell(kit.click("clicker", first, kit.t0 + 5_000))
    answer = system.ask_fresh("clicker", k=1_000, after=accepted_at)
    assert first not in ids(answer)


@pytest.mark.parametrize(("hide", "shown"), [("always", False), ("never", True), (2.0, False), (0.5, True)])
def test_what_was_clicked_comes_back_as_the_settings_say(
    run: Any, kit: Any, tmp_path: Path, hide: Any, shown: bool
) -> None:
    day = 86_400_000
    with run(tmp_path / "data", kit.serve(hide_clicked=hide)) as system:
        system.settle(kit.item("a", kit.t0), kit.item("b", kit.t0), kit.click("ann", "a", kit.t0 + 9))
        answer = system.ask("ann", ts=kit.t0 + day)
        assert ("a" in ids(answer)) is shown and "b" in ids(answer)


def test_a_click_changes_the_next_answer(system: Any, kit: Any) -> None:
    before = system.ask("mover", k=10)
    assert before["fallback"] == "popular"
    accepted_at = system.tell(kit.click("mover", "i4", kit.t0 + 5_000))
    after = system.ask_fresh("mover", k=10, after=accepted_at)
    assert after["absorbed_at"] >= accepted_at and after["fallback"] is None
    assert any(shown["source"] == "neighbours" for shown in after["items"])


def test_excluded_items_and_other_groups_stay_out(system: Any) -> None:
    answer = system.ask("u3", k=100, exclude=["i1", "i3", "unheard of"], groups=["odd"])
    assert len(answer["items"]) <= 48
    assert not {"i1", "i3"} & set(ids(answer))
    assert all(int(name[1:]) % 2 == 1 for name in ids(answer))


def test_a_group_that_does_not_exist_has_no_items(system: Any) -> None:
    assert system.ask("u3", groups=["nothing"])["items"] == []


def test_k_may_ask_for_more_than_there_is(system: Any) -> None:
    assert 0 < len(system.ask("someone new", k=1_000)["items"]) <= 1_000


def test_unknown_users_get_popular_items_and_the_answer_says_so(system: Any) -> None:
    answer = system.ask("never seen")
    assert answer["fallback"] == "popular" and len(answer["items"]) == 10


def test_the_item_being_looked_at_brings_its_neighbours(system: Any) -> None:
    answer = system.ask("never seen", k=20, context={"item_id": "i1"})
    assert "i1" not in ids(answer)
    assert any(shown["source"] == "neighbours" for shown in answer["items"])


def test_propensities_are_those_of_the_ranker_and_the_policy(system: Any) -> None:
    answer = system.ask("u5", k=20)
    for shown in answer["items"]:
        assert 0 < shown["propensity"] <= 1
        assert shown["explored"] or shown["propensity"] >= 0.95


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "u" * 257}, "user_id"),
        ({"user_id": "ü" * 129}, "user_id"),
        ({"user_id": 7}, "user_id"),
        ({"user_id": "u", "k": 0}, "k"),
        ({"user_id": "u", "k": 1_000_000}, "k"),
        ({"user_id": "u", "k": "ten"}, "k"),
        ({"user_id": "u", "ts": -1}, "ts"),
        ({"user_id": "u", "exclude": ["a", 3]}, "exclude"),
        ({"user_id": "u", "policy": "divination"}, "policy"),
        ({"user_id": "u", "activate": "perhaps"}, "activate"),
        ({"user_id": "u", "context": {"features": ["a"]}}, "context.features"),
    ],
)
def test_a_field_that_does_not_fit_is_named(system: Any, body: dict[str, Any], field: str) -> None:
    answer = system.client.post("/v1/recommend", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith(f"field '{field}")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b'{"user_id": "\xff"}', b'{"user_id": "u", "k": NaN}', b"[" * 100_000]
)
def test_what_is_no_json_is_refused(system: Any, body: bytes) -> None:
    json_type = {"content-type": "application/json"}
    answer = system.client.post("/v1/recommend", content=body, headers=json_type)
    assert answer.status_code in (400, 422) and answer.json()["detail"]


def test_null_is_the_same_as_missing(system: Any) -> None:
    answer = system.ask("u1", k=None, ts=None, context=None, exclude=None, request_id=None, policy=None)
    assert len(answer["items"]) == 10


def test_another_policy_may_be_named(system: Any) -> None:
    assert system.ask("u1", policy="uniform")["policy"] == "uniform"


def test_a_new_item_is_retrievable_and_a_deleted_one_is_gone(run: Any, kit: Any, tmp_path: Path) -> None:
    with run(tmp_path / "data") as system:
        system.settle(kit.item("old"), kit.item("new", kit.t0 + 5))
        assert set(ids(system.ask())) == {"old", "new"}
        system.settle(kit.item("old", kit.t0 + 9, deleted=True))
        assert ids(system.ask()) == ["new"]
        assert system.ask()["fallback"] == "fresh"


def test_an_item_is_shown_only_while_it_is_available(run: Any, kit: Any, tmp_path: Path) -> None:
    with run(tmp_path / "data") as system:
        system.settle(kit.item("a", available_from=kit.t0 + 10, available_until=kit.t0 + 20))
        seen = [ids(system.ask(ts=kit.t0 + ms)) for ms in (9, 10, 19, 20)]
    assert seen == [[], ["a"], ["a"], []]


def test_with_no_items_the_answer_is_empty_and_says_so(run: Any, tmp_path: Path) -> None:
    with run(tmp_path / "data", learner=False) as system:
        answer = system.ask()
    assert answer["items"] == [] and answer["fallback"] == "empty"


def test_what_is_not_absorbed_in_time_makes_the_answer_stale(run: Any, kit: Any, tmp_path: Path) -> None:
    with run(tmp_path / "data", learner=False) as system:
        accepted_at = system.send(kit.item("a"))["accepted_at"]
        assert system.ask(after=accepted_at)["stale"] is True
        assert system.ask()["stale"] is False
        assert "freshet_stale_answers_total 1.0" in system.client.get("/metrics").text


@pytest.mark.parametrize(
    ("member", "field"),
    [
        (b'"context": {"features": [%s]}' % (b"1" * 400), "context.features[0]"),
        (b'"context": {"x": {"y": -%s}}' % (b"1" * 4_000), "context.x.y"),
        (b'"context": {"features": [1e308]}', "context.features"),
        (b'"context": {"features": [1e400]}', "context"),
        (b'"context": {"x": %s}' % (b"1" * 5_000), "context"),
        (b'"context": {"title": "cut off \\ud83d"}', "context"),
        (b'"session_id": "\xff"', "session_id"),
        (b'"k": %s' % (b"1" * 400), "k"),
        (b'"ts": %s' % (b"1" * 400), "ts"),
    ],
)
def test_what_no_machine_holds_is_refused_by_field(system: Any, member: bytes, field: str) -> None:
    body = b'{"user_id": "u", %s}' % member
    headers = {"content-type": "application/json"}
    answer = system.client.post("/v1/recommend", content=body, headers=headers)
    assert answer.status_code == 422 and f"field '{field}" in answer.json()["detail"]
