"""`freshet replay` and `freshet simulate` from the outside."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from freshet.cli import app
from freshet.config import load_settings
from freshet.offline import StateRecommender
from learners.feature_schema import schema_id
from learning.errors import SettingsError
from learning.pipeline import Pipeline
from replay import Entry, Observer, drive
from replay.errors import ReplayError
from replay.mirrors import MirroredPipeline
from stream.blocks import SHOWN, FeedbackBlock, Slate
from stream.codec import encode_events
from stream.events import Click, Decision, Impression, ItemEvent, LoggedEvent
from stream.folder import DataFolder
from stream.frame import pack
from stream.log import Record

_KEY = b"sixteen bytes or more"

T = 1_700_000_000_000


def _events(n_slates: int) -> list[LoggedEvent]:
    events: list[LoggedEvent] = [ItemEvent(item_id=item, ts=0) for item in "abcdefgh"]
    for n in range(n_slates):
        shown = ["abcdefgh"[(n + place) % 8] for place in range(3)]
        events.append(
            Decision(
                request_id=f"r{n}",
                ts=n * 1_000,
                user_id=f"u{n % 9}",
                items=shown,
                propensities=[0.5, 0.5, 0.5],
                policy="uniform",
                clusters=[0],
                weights=[1.0],
            )
        )
        if n % 4 == 0:
            events.append(Click(request_id=f"r{n}", item_id=shown[0], ts=n * 1_000 + 500))
    return events


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = DataFolder(tmp_path / "data")
    data.prepare(workers=1)
    writer = data.writer("events-0")
    writer.append([Record("events", encode_events([event]), event.ts) for event in _events(120)])
    writer.close()
    return data.path


def test_a_data_folder_is_scored_and_its_policies_are_compared(folder: Path, tmp_path: Path) -> None:
    out, plot = tmp_path / "out.json", tmp_path / "out.png"
    ran = CliRunner().invoke(
        app,
        [
            "replay",
            str(folder),
            "--policy",
            "uniform",
            "--k",
            "3",
            "--json",
            str(out),
            "--plot",
            str(plot),
            "--features",
        ],
    )
    assert ran.exit_code == 0, ran.output
    found = json.loads(out.read_text("utf-8"))
    assert found["positives"] == found["slates_with_auc"] == found["outcomes"]["joined"] == 30
    assert found["policies"]["(logged)"]["all"]["ips"]["mean"] == pytest.approx(30 / 120)
    assert found["policies"]["uniform"]["first"]["rounds"] == 120
    assert plot.read_bytes()[:4] == b"\x89PNG"
    lists = found["lists"]["parts"]["all lists"]
    # Every click was on the first place.
    assert (lists["lists"], lists["orders"]["as displayed"]["mrr"]["mean"]) == (30, 1.0)
    assert lists["verdict"]["text"][:50] in " ".join(ran.output.split())
    assert (found["features"]["lists"], "taste" in ran.output) == (30, True)
    assert {"taste", "popular"} <= {each["name"] for each in found["features"]["scorers"]}


def test_estimators_are_chosen_by_settings_or_by_the_command(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "freshet.toml"
    config.write_text("[[estimators]]\nkind = 'snips'\nname = 'steady'\n[[estimators]]\nkind = 'beta_ips'\n")
    base = ["replay", str(folder), "--policy", "uniform", "--config", str(config), "--json"]
    for chosen, expected in (([], ["steady", "beta_ips"]), (["ips", "steady"], ["ips", "steady"])):
        options = [word for name in chosen for word in ("--estimator", name)]
        ran = CliRunner().invoke(app, [*base, str(tmp_path / "out.json"), *options])
        first = json.loads((tmp_path / "out.json").read_text("utf-8"))["policies"]["uniform"]["first"]
        assert list(first)[: len(expected) + 1] == [*expected, "rounds"], ran.output
        assert all(name.upper() in ran.output for name in expected)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--estimator", "snisp"], r"'snisp' is not configured \(ips, snips\), and .*did you mean snips"),
        (["--config", "{config}"], r"estimators\[0\]\.name: reports say something else by 'rounds'"),
    ],
)
def test_an_estimator_that_cannot_be_is_refused_by_name(
    folder: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    config = tmp_path / "freshet.toml"
    config.write_text("[[estimators]]\nkind = 'ips'\nname = 'rounds'\n")
    ran = CliRunner().invoke(app, ["replay", str(folder), *(word.format(config=config) for word in options)])
    assert isinstance(ran.exception, SettingsError) and re.search(said, str(ran.exception))


def test_a_file_of_clicks_alone_has_a_catalogue_of_what_it_mentions(tmp_path: Path) -> None:
    file, out = tmp_path / "clicks.jsonl.gz", tmp_path / "out.json"
    lines = [
        json.dumps({"type": "click", "ts": T + n, "user_id": f"u{n % 15}", "item_id": f"i{n % 7}"})
        for n in range(30)
    ]
    file.write_bytes(gzip.compress("\n".join([*lines, "{"]).encode()))
    ran = CliRunner().invoke(app, ["replay", str(file), "--json", str(out)])
    assert ran.exit_code == 0, ran.output
    found = json.loads(out.read_text("utf-8"))
    assert (found["positives"], found["reachable"], found["hit_at_k"]["mean"]) == (
        30,
        23,
        pytest.approx(23 / 30),
    )
    assert (found["skipped"], found["policies"]) == (1, {})


def test_a_folder_without_data_is_refused_in_words(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["replay", str(tmp_path)])
    assert isinstance(ran.exception, ReplayError)
    assert "freshet.json" in str(ran.exception)


def test_a_simulation_reports_every_policy(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["simulate", "bernoulli", "--policy", "uniform", "--policy", "thompson", "--rounds", "200"]
    ran = CliRunner().invoke(app, [*arguments, "--seeds", "2", "--json", str(out)])
    assert ran.exit_code == 0, ran.output
    assert set(json.loads(out.read_text("utf-8"))["policies"]) == {"uniform", "thompson"}


def test_a_list_of_others_is_scored_by_the_very_features_that_its_clicks_teach() -> None:
    settings = load_settings(environ={}, flags={"learn": {"embedding_dim": 8}})
    pipeline = Pipeline(settings, b"sixteen bytes or more")
    state = StateRecommender(pipeline.parts, settings.serve.sources)
    seen: dict[str, bytes] = {}

    class Reads(Observer):
        def needs_state(self, block: FeedbackBlock) -> bool:
            return SHOWN in block.kind

        def observe(self, block: FeedbackBlock) -> None:
            for slate in block.slates if SHOWN in block.kind else ():
                seen[slate.request_id] = state.list_features(slate, slate.ts).tobytes()

    log: list[LoggedEvent] = []
    for n in range(40):
        items = ["abcdefghij"[(n * at) % 10] for at in (1, 3, 7)] if n % 10 else ["a", "new"]
        prices: list[dict[str, Any] | None] = [{"price": 3 + at} for at in range(len(items))]
        log += [
            Impression(
                request_id=f"r{n}", ts=T + n, user_id=f"u{n % 3}", items=items, context={"item_id": "a"},
                item_context=prices,
            ),
            Click(request_id=f"r{n}", ts=T + n, item_id=items[-1]),
        ]  # fmt: skip
    drive(pipeline, [Entry(event, event.ts) for event in log], join=settings.join, observers=[Reads()])
    learned = {slate.request_id: slate.features for slate in pipeline.joiners[False]._open.values()}
    assert (len(learned), learned) == (40, seen)


def test_a_decision_over_named_candidates_is_scored_by_the_features_that_it_logged() -> None:
    settings = load_settings(environ={}, flags={"learn": {"embedding_dim": 8}})
    state = StateRecommender(Pipeline(settings, b"sixteen bytes or more").parts, settings.serve.sources)
    names = [name for columns in state.features.values() for name in columns]
    logged = np.arange(3 * len(names), dtype="<f4").reshape(3, -1)
    slate = Slate(request_id="r", user_id="u", ts=T, items=["a", "b"], others=["c"], decided=True)
    slate.features, slate.feature_schema = logged.tobytes(), schema_id(names)
    np.testing.assert_array_equal(state.list_features(slate, T, as_logged=True), logged[:2])
    assert state.list_features(slate, T).shape == (2, len(names))
    slate.feature_schema = "of others"
    np.testing.assert_array_equal(
        state.list_features(slate, T, as_logged=True), state.list_features(slate, T)
    )


def test_asking_the_state_changes_nothing() -> None:
    settings = load_settings(environ={}, flags={"learn": {"embedding_dim": 8}})
    asked, silent = (Pipeline(settings, b"sixteen bytes or more") for _ in range(2))
    state = StateRecommender(asked.parts, settings.serve.sources)
    for event in _events(40):
        state.recommend("u1", 5, event.ts)
        state.scores(Slate(request_id="r", user_id="u2", ts=event.ts, items=["a", "nobody"]), event.ts)
        for pipeline in (asked, silent):
            pipeline.on_events([event])
    assert state.recommend("u1", 5, 10**6)
    assert pack(asked.snapshot()) == pack(silent.snapshot())


def _fashion(n_slates: int, period: int) -> list[LoggedEvent]:
    """Slates of four from 24 items, one a minute; which quarter of them is liked changes every `period`."""
    rng = np.random.default_rng(7)
    events: list[LoggedEvent] = [ItemEvent(item_id=f"i{n}", ts=T) for n in range(24)]
    for n in range(n_slates):
        ts, shown = T + n * 60_000, [f"i{item}" for item in rng.permutation(24)[:4]]
        events.append(
            Decision(
                request_id=f"r{n}", ts=ts, user_id=f"u{n % 9}", items=shown, propensities=[0.5] * 4,
                policy="uniform", clusters=[0], weights=[1.0],
            )
        )  # fmt: skip
        liked = [item for item in shown if int(item[1:]) % 4 == n // period % 4]
        events += [Click(request_id=f"r{n}", item_id=item, ts=ts + 500) for item in liked]
    return events


def test_the_longer_serving_waits_for_what_was_learned_the_worse_it_predicts(tmp_path: Path) -> None:
    file, out = tmp_path / "log.jsonl", tmp_path / "out.json"
    file.write_bytes(b"\n".join(encode_events([event])[1:-1] for event in _fashion(1_500, 100)))
    config = tmp_path / "fashion.toml"
    config.write_text("[learn]\nembedding_dim = 8\nhalf_lives_ms = [1200000]\n", "utf-8")
    intervals = ["1s", "20m", "5h"]
    asked = [word for interval in intervals for word in ("--sync", interval)]
    ran = CliRunner().invoke(app, ["replay", str(file), *asked, "--config", str(config), "--json", str(out)])
    assert ran.exit_code == 0, ran.output
    found = json.loads(out.read_text("utf-8"))
    seconds, minutes, hours = (found["syncs"][interval]["auc"] for interval in intervals)
    assert seconds["mean"] == pytest.approx(found["auc"]["mean"], abs=1e-3)
    assert seconds["mean"] >= minutes["mean"] and minutes["low"] > hours["high"]


@pytest.mark.parametrize("shape", ["newest first", "one from the future", "one long ago"])
def test_a_file_in_any_order_gives_the_figures_of_one_in_order(tmp_path: Path, shape: str) -> None:
    events = _fashion(200, 20_000)
    extra = Click(user_id="u1", item_id="i1", ts=4_102_444_800_000)
    turned = [*events[:40], extra, *events[40:]] if shape == "one from the future" else events[::-1]
    if shape == "one long ago":
        turned = [*events[:300], events[40], *events[300:]]
    found = []
    for n, order in enumerate((events, turned)):
        file, out = tmp_path / f"{n}.jsonl", tmp_path / f"{n}.json"
        file.write_bytes(b"\n".join(encode_events([event])[1:-1] for event in order))
        assert CliRunner().invoke(app, ["replay", str(file), "--json", str(out)]).exit_code == 0
        found.append(json.loads(out.read_text("utf-8")))
    good, mended = found
    assert mended["outcomes"]["late"] == 0 and mended["auc"] == good["auc"]
    assert ("sorted by ts" in " ".join(mended["notes"])) and mended["skipped"] == (extra in turned)


def _folder(path: Path, events: list[LoggedEvent], *, backfill: bool = False) -> Path:
    data = DataFolder(path)
    data.prepare(workers=1)
    writer = data.writer("events-0")
    writer.append([Record("events", encode_events([each]), each.ts, backfill=backfill) for each in events])
    writer.close()
    return data.path


def _replayed(log: Path, *flags: str) -> dict[str, Any]:
    ran = CliRunner().invoke(app, ["replay", str(log), *flags, "--json", str(log) + ".json"])
    assert ran.exit_code == 0, ran.output
    found: dict[str, Any] = json.loads(
        Path(str(log) + ".json").read_text("utf-8"), parse_constant=pytest.fail
    )
    return found


def test_backfilled_history_is_lived_through_as_the_same_history_in_a_file(tmp_path: Path) -> None:
    # A click comes first: items do not move the time of history.
    events = [Click(ts=T, user_id="first", item_id="i0"), *_fashion(300, 50)]
    file = tmp_path / "log.jsonl"
    file.write_bytes(b"\n".join(encode_events([event])[1:-1] for event in events))
    folder = _folder(tmp_path / "data", events, backfill=True)
    from_file, from_backfill = (
        _replayed(log, "--items", "log", "--sync", "1m", "--sync", "5h") for log in (file, folder)
    )
    assert from_backfill == from_file
    minute, hours = (abs(from_file["syncs"][every]["hits_lost"]["mean"]) for every in ("1m", "5h"))
    assert minute < 0.01 < hours


def _random_log(n_items: int, n_decisions: int, k: int) -> list[LoggedEvent]:
    """Items drawn and clicked by chance alone: nothing can be foretold."""
    rng = np.random.default_rng(2)
    events: list[LoggedEvent] = [ItemEvent(item_id=f"i{n}", ts=0) for n in range(n_items)]
    for n in range(n_decisions):
        shown = [f"i{item}" for item in rng.choice(n_items, k, replace=False)]
        events.append(
            Decision(
                request_id=f"r{n}", ts=60_000 * n, user_id=f"u{n % 80}", items=shown,
                propensities=[1 / (n_items - place) for place in range(k)], policy="uniform", clusters=[0],
                weights=[1.0],
            )
        )  # fmt: skip
        clicked = shown[int(rng.integers(k))]
        events.append(Click(request_id=f"r{n}", user_id=f"u{n % 80}", item_id=clicked, ts=60_000 * n + 1_000))
    return events


def test_a_random_log_foretells_nothing(tmp_path: Path) -> None:
    """The canary of a leak: whoever saw a click before predicting it would be better than chance."""
    log = _folder(tmp_path / "data", _random_log(200, 800, 5))
    found = _replayed(log, "--k", "10")
    # A user has clicked up to ten of the 200 items, which are not named again.
    assert found["hit_at_k"]["low"] <= 10 / 190 and found["hit_at_k"]["high"] >= 10 / 200
    assert found["hit_at_k"]["mean"] < 0.08
    assert found["auc"]["low"] <= 0.5 <= found["auc"]["high"]
    logged = found["policies"]["(logged)"]
    assert logged["first"]["ips"]["low"] <= 1 / 5 <= logged["first"]["ips"]["high"]
    assert 0.99 < logged["all"]["ips"]["low"] < 1.0 == logged["all"]["ips"]["mean"]
    # The log shows again what was clicked, and the target does not: such slates weigh nothing, others more.
    uniform = found["policies"]["uniform"]["all"]
    assert uniform["mean_weight"]["low"] <= 1.0 <= uniform["mean_weight"]["high"]
    assert 0.0 < uniform["unsupported_share"] < 0.2 and uniform["warnings"] == []


def test_mirrors_do_not_change_what_is_learned() -> None:
    settings = load_settings(environ={}, flags={"learn": {"embedding_dim": 8}})
    plain, mirrored = Pipeline(settings, _KEY), MirroredPipeline(settings, _KEY, [5_000, 60_000])
    for event in _events(60):
        for step in (plain, mirrored):
            step.on_events([event])
            step.on_tick(event.ts)
        plain.take()
    mirrored.take()
    assert pack(plain.snapshot()) == pack(mirrored.snapshot())


@pytest.mark.parametrize("text", ["1", "5 min", "-1h", "0.1s", ""])
def test_an_interval_that_is_none_is_a_misuse(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"")
    ran = CliRunner().invoke(app, ["replay", str(tmp_path / "log.jsonl"), "--sync", text])
    assert ran.exit_code == 2 and "30s, 5m, 1.5h or 1d" in " ".join(ran.output.split())


def test_simulate_plays_what_a_named_file_configures_and_refuses_a_bad_one(tmp_path: Path) -> None:
    good, bad, out = tmp_path / "good.toml", tmp_path / "bad.toml", tmp_path / "out.json"
    good.write_text('[[policies]]\nkind = "uniform"\nname = "dice"\n', "utf-8")
    bad.write_text("garbage = = 3", "utf-8")
    short = ["simulate", "bernoulli", "--rounds", "50", "--seeds", "2"]
    assert CliRunner().invoke(app, [*short, "--config", str(good), "--json", str(out)]).exit_code == 0
    assert list(json.loads(out.read_text("utf-8"))["policies"]) == ["dice"]
    assert CliRunner().invoke(app, [*short, "--config", str(bad)]).exit_code == 1
