"""`freshet doctor` holds what was learned in a folder against the settings of now."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from freshet.cli import app
from freshet.config import Settings, load_settings
from freshet.run.learner import fingerprint
from learning.parts import build_parts
from learning.pipeline import Pipeline
from serving.replica import Replica
from stream.clock import WallClock
from stream.codec import encode_events
from stream.engine import LocalEngine
from stream.events import Click, Decision
from stream.folder import DataFolder
from stream.log import Record

T0 = 1_700_000_000_000
BEFORE = """
policies = [{ kind = "lin_ucb" }, { kind = "thompson" }]
learn = { embedding_dim = 8 }
policy = { features = ["device"] }
"""


def _learn(settings: Settings, folder: DataFolder) -> None:
    """Learn what is new in the folder, and write a snapshot."""
    sources = folder.readers()
    with closing(folder.commit_log()) as commits:
        pipeline, store, mark = Pipeline(settings, folder.key), folder.snapshot_store(), fingerprint(settings)
        engine = LocalEngine(pipeline, sources, commits, store, clock=WallClock(), fingerprint=mark)
        engine.recover()
        engine.finish()
        engine.snapshot()
    for source in sources.values():
        source.close()


@pytest.fixture
def learned(tmp_path: Path) -> Path:
    """A folder in which a click on a decided slate was learned under `BEFORE`."""
    (tmp_path / "before.toml").write_text(BEFORE)
    settings = load_settings(tmp_path / "before.toml", environ={})
    folder = DataFolder(tmp_path / "data")
    folder.prepare(1)
    shown = Decision(
        request_id="r", ts=T0, user_id="u", items=["a"], propensities=[1.0], policy="lin_ucb",
        context={"device": "phone"},
    )  # fmt: skip
    click = Click(ts=T0 + 5, user_id="u", item_id="a", request_id="r")
    with closing(folder.writer("events-0")) as log:
        log.append([Record("events", encode_events([shown, click]), T0 + 9)])
    _learn(settings, folder)
    return tmp_path


def _finding(folder: Path, toml: str) -> tuple[str, str]:
    (folder / "now.toml").write_text(toml)
    arguments = [
        "doctor",
        "--data",
        str(folder / "data"),
        "--config",
        str(folder / "now.toml"),
        "--json",
        "-",
    ]
    found = json.loads(CliRunner().invoke(app, arguments).stdout)
    (finding,) = [each for each in found if each["what"] == "what was learned"]
    return finding["state"], finding["found"]


def test_the_same_settings_go_with_it(learned: Path) -> None:
    state, found = _finding(learned, BEFORE)
    assert state == "ok" and found.endswith("under these settings")


@pytest.mark.parametrize(
    ("before", "now", "state", "says"),
    [
        ('["device"]', '["device", "hour"]', "bad", "settings: lin_ucb: "),
        ("dim = 8", "dim = 16", "bad", "16"),
        ('{ kind = "thompson" }', '{ kind = "uniform" }', "warn", "kept, for it is not configured: thompson"),
        (
            'kind = "thompson"',
            'kind = "diag_lin_ucb"',
            "warn",
            "starts afresh: diag_lin_ucb; kept, for it is",
        ),
        (
            "learn",
            'scorers = [{ kind = "taste" }]\nlearn',
            "warn",
            "that no scorer has now: popular_0, popular_1",
        ),
        (
            "learn",
            'scorers = [{ kind = "taste", name = "x" }]\nlearn',
            "warn",
            "at its starting weight: x.taste",
        ),
        ("dim = 8", "dim = 8, learning_rate = 0.5", "warn", "learned under other settings"),
    ],
)
def test_what_a_start_would_refuse_keep_or_begin_afresh_is_told(
    learned: Path, before: str, now: str, state: str, says: str
) -> None:
    found = _finding(learned, BEFORE.replace(before, now, 1))
    assert found[0] == state and says in found[1]


NEW = BEFORE.replace('"thompson"', '"diag_lin_ucb"').replace(
    "\nlearn", '\nmeasures = [{ kind = "part_notes" }, { kind = "organic_clicks", name = "free" }]\nlearn'
)


def test_what_starts_afresh_is_said_by_the_learner_and_by_no_copy(
    learned: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (learned / "now.toml").write_text(NEW)
    settings, folder = load_settings(learned / "now.toml", environ={}), DataFolder(learned / "data")
    frame, _ = folder.snapshot_store().load()
    with closing(folder.commit_reader()) as commits:
        snapshots = folder.snapshot_store()
        parts = build_parts(settings).named()
        Replica(parts, reader=commits, snapshots=snapshots, clock=WallClock()).bootstrap()
    assert frame is not None and caplog.messages == []
    Pipeline(settings, folder.key).restore(frame["step"])
    assert caplog.messages[0].endswith("so they start afresh: diag_lin_ucb, free:organic_clicks")
    assert "starts afresh: diag_lin_ucb, free:organic_clicks; kept" in _finding(learned, NEW)[1]


def test_a_copy_has_what_the_learner_gives_back_to_a_measure_that_was_out(learned: Path) -> None:
    without = BEFORE.replace("\nlearn", '\nmeasures = [{ kind = "part_notes" }]\nlearn')
    (learned / "now.toml").write_text(without)
    folder = DataFolder(learned / "data")
    _learn(load_settings(learned / "now.toml", environ={}), folder)
    parts = build_parts(load_settings(learned / "before.toml", environ={}))
    with closing(folder.commit_reader()) as commits:
        snapshots = folder.snapshot_store()
        Replica(parts.named(), reader=commits, snapshots=snapshots, clock=WallClock()).bootstrap()
    assert parts.measures["policy_counts"].of("lin_ucb")["shown"] == 1
