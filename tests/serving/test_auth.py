"""Tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving import AuthSettings, refuse_exposure
from serving.errors import ExposedError

STRONG = "9f1c5be0a7d34286"
TOKENS = AuthSettings(read=("r",), write=("w",), control=("c",))


def test_each_token_opens_its_own_door(run: Any, kit: Any, tmp_path: Path) -> None:
    with run(tmp_path / "data", kit.serve(auth=TOKENS), learner=False) as system:

        def status(token: str | None, path: str, body: Any) -> int:
            headers = {"authorization": f"Bearer {token}"} if token else {}
            return int(system.client.post(path, json=body, headers=headers).status_code)

        tokens = ("r", "w", "c", "x", None)
        asked = [status(token, "/v1/recommend", {"user_id": "u"}) for token in tokens]
        sent = [status(token, "/v1/events", {"events": []}) for token in tokens]
        assert asked == [200, 403, 200, 401, 401]
        assert sent == [403, 202, 202, 401, 401]
        assert system.client.get("/healthz").status_code == 200
        assert system.client.get("/metrics").status_code == 401


def test_a_missing_token_is_asked_for_before_the_body_is_read(run: Any, kit: Any, tmp_path: Path) -> None:
    with run(tmp_path / "data", kit.serve(auth=TOKENS), learner=False) as system:
        answer = system.client.post("/v1/events", content=b"x" * (9 << 20))
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"


def test_a_public_address_needs_tokens_or_an_explicit_no() -> None:
    with pytest.raises(ExposedError, match="--insecure"):
        refuse_exposure("0.0.0.0", AuthSettings(), insecure=False)
    refuse_exposure("0.0.0.0", AuthSettings(), insecure=True)
    refuse_exposure("0.0.0.0", AuthSettings(read=(STRONG,)), insecure=False)
    refuse_exposure("::1", AuthSettings(), insecure=False)


@pytest.mark.parametrize("token", ["a", "fifteen-letters", "change-me-read-0000", "x" * 40, " " * 20])
def test_a_token_that_can_be_guessed_is_refused_beyond_loopback(
    token: str, caplog: pytest.LogCaptureFixture
) -> None:
    auth = AuthSettings(read=(STRONG,), write=(STRONG, token))
    with pytest.raises(ExposedError, match=r"serve\.auth\.write\[1\]") as refused:
        refuse_exposure("0.0.0.0", auth, insecure=False)
    assert f"'{token}'" not in str(refused.value) and STRONG not in str(refused.value)
    refuse_exposure("127.0.0.1", auth, insecure=False)
    assert "serve.auth.write[1]" in caplog.text
