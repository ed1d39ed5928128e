"""The running system through its public door: what a newcomer does with curl, as tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from freshet.config import Settings, load_settings
from freshet.demo.client import ApiClient
from freshet.run import EmbeddedSystem
from learning.errors import StartError
from stream.clock import WallClock
from stream.errors import LogError
from tests.harness.live import wait_until

CLOCK = WallClock()
SETTINGS: Settings = load_settings(environ={}, flags={"port": 0, "policy": {"epsilon": 0.5}})


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSystem]:
    with EmbeddedSystem(tmp_path_factory.mktemp("loop") / "data", SETTINGS, CLOCK) as running:
        yield running


@pytest.fixture
def api(system: EmbeddedSystem) -> Iterator[ApiClient]:
    with ApiClient(system.host, system.port) as client:
        yield client


def now() -> int:
    return int(CLOCK.now_ms())


def item(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "item", "item_id": name, "ts": now(), **fields}


def click(user: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "click", "user_id": user, "item_id": name, "ts": now(), **fields}


def shown(answer: dict[str, Any]) -> list[str]:
    return [entry["item_id"] for entry in answer["items"]]


def ask(api: ApiClient, **body: Any) -> dict[str, Any]:
    """Recommend, and again if the learner was too slow for the wait of `after` (a busy machine)."""
    answer: dict[str, Any] = {}

    def fresh() -> bool:
        answer.update(api.recommend(**body))
        return not answer["stale"]

    wait_until(fresh)
    return answer


def test_a_click_changes_the_next_answer_for_that_user(api: ApiClient) -> None:
    accepted = api.events([item(f"a{n}", group="a") for n in range(5)])["accepted_at"]
    before = ask(api, user_id="ann", k=5, groups=["a"], after=accepted)
    chosen = shown(before)[0]
    after = api.events([click("ann", chosen, request_id=before["request_id"])])["accepted_at"]
    answer = ask(api, user_id="ann", k=5, groups=["a"], after=after)
    assert sorted([*shown(answer), chosen]) == sorted(shown(before))


def test_a_new_item_can_be_retrieved_and_is_explored(api: ApiClient) -> None:
    # Others are liked, so that the ranker alone would not show what nobody knows.
    api.events([item(f"b{n}", group="b") for n in range(30)])
    api.events([click(f"fan{n}", f"b{n}") for n in range(30)])
    accepted = api.events([item("brand-new", group="b")])["accepted_at"]

    def explored() -> bool:
        answer = ask(api, user_id="bea", k=10, groups=["b"], after=accepted)
        return any(e["item_id"] == "brand-new" and e["explored"] for e in answer["items"])

    wait_until(explored)
    assert "brand-new" in shown(ask(api, user_id="bob", k=50, groups=["b"]))


def test_a_deleted_item_is_gone(api: ApiClient) -> None:
    api.events([item("c0", group="c"), item("c1", group="c")])
    accepted = api.events([item("c0", group="c", deleted=True)])["accepted_at"]
    assert shown(ask(api, user_id="cid", k=5, groups=["c"], after=accepted)) == ["c1"]
    assert [msgspec.json.decode(api.text(f"/v1/items/{name}"))["deleted"] for name in ("c0", "c1")] == [
        True,
        False,
    ]


def test_an_item_outside_its_availability_is_not_shown(api: ApiClient) -> None:
    later = now() + 3_600_000
    accepted = api.events([item("d0", group="d", available_from=later), item("d1", group="d")])["accepted_at"]
    assert shown(ask(api, user_id="dan", k=5, groups=["d"], after=accepted)) == ["d1"]


def test_the_same_request_gets_the_same_answer(api: ApiClient) -> None:
    first = api.recommend(user_id="eve", k=5, request_id="e-1")
    assert api.recommend(user_id="eve", k=5, request_id="e-1") == first
    with pytest.raises(StartError, match="409"):
        api.recommend(user_id="eve", k=6, request_id="e-1")


def test_the_item_page_shows_what_was_learned(api: ApiClient) -> None:
    api.events([item("f0", group="f", attributes={"title": "F"})])
    accepted = api.events([click("fay", "f0")])["accepted_at"]
    ask(api, user_id="fay", k=1, after=accepted)
    page = msgspec.json.decode(api.text("/v1/items/f0"))
    assert (page["clicks"], page["group"], page["attributes"]) == (1, "f", {"title": "F"})


def files_with(folder: Path, needle: bytes) -> list[str]:
    return [p.name for p in folder.rglob("*") if p.is_file() and needle in p.read_bytes()]


def test_forget_erases_a_user_from_every_file_and_a_restart_keeps_the_rest(tmp_path: Path) -> None:
    data, secret = tmp_path / "data", "zz-secret-user-zz"
    with EmbeddedSystem(data, SETTINGS, CLOCK) as system, ApiClient(system.host, system.port) as api:
        items = api.events([item(f"i{n}") for n in range(4)])["accepted_at"]
        asked = ask(api, user_id=secret, k=2, after=items)
        api.events([click(secret, shown(asked)[0], request_id=asked["request_id"]), click("kim", "i1")])
        accepted = api.events([{"type": "forget", "user_id": secret, "ts": now()}])["accepted_at"]
        answer = ask(api, user_id="kim", k=4, after=accepted)
    assert files_with(data, secret.encode()) == []
    with EmbeddedSystem(data, SETTINGS, CLOCK) as system, ApiClient(system.host, system.port) as api:
        assert sorted(shown(api.recommend(user_id="kim", k=4))) == sorted(shown(answer)) == ["i0", "i2", "i3"]
        with pytest.raises(StartError, match="404"):
            api.text(f"/v1/users/{secret}")


def test_a_second_process_on_the_same_folder_and_a_port_in_use_are_refused(
    system: EmbeddedSystem, tmp_path: Path
) -> None:
    taken = load_settings(environ={}, flags={"port": system.port})
    with pytest.raises(StartError, match=str(system.port)):
        EmbeddedSystem(tmp_path / "other", taken, CLOCK)
    assert not (tmp_path / "other").exists()
    with pytest.raises(LogError, match="in use by process"):
        EmbeddedSystem(system.data, SETTINGS, CLOCK)
