"""What a network may see of a shown place comes to it alike on both engines, and only where it asks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from learners.count_filter import key_of
from learning.rows.codec import decode_control
from learning.settings import LearningSettings, LearnSettings, PolicySettings
from learning.shards.train import TrainShard
from learning.testing_chain import Chain
from learning.testing_engines import Embedded, chained, followed, pieces, scripted
from stream.block_codec import decode_segment, encode_segment
from stream.block_routing import bounded
from stream.engine.shard import SourceRecord
from stream.events import Decision, LoggedEvent
from stream.frame import pack, unpack
from stream.join_settings import JoinSettings
from stream.training import TrainingLists, revive_training
from tests.harness.listening import ENTRY, Listening, install

SHARED = "part/listening/train/0"


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)


def settings(*features: str, policies: Sequence[dict[str, Any]] = (ENTRY,)) -> LearningSettings:
    return LearningSettings(
        learn=LearnSettings(embedding_dim=4, maintain_ms=2_000, max_items=4_096, max_users=4_096),
        policy=PolicySettings(centroids=6, features=features or ("device", "hour"), feature_dim=4),
        policies=({"kind": "uniform"}, *policies),
        join=JoinSettings(window_ms=5_000, lateness_ms=1_000),  # lists end all along the log
    )


def heard(parts: Any) -> Listening:
    return cast(Listening, parts.policies["listening"])


def lists_in(chain: Chain) -> list[TrainingLists]:
    records = map(decode_segment, (record.value for record in chain.topics["training", 0]))
    return [segment for segment in records if isinstance(segment, TrainingLists)]


def unrounded(event: LoggedEvent) -> LoggedEvent:
    """The same with numbers that float16 has not."""
    if not isinstance(event, Decision):
        return event
    features = (np.frombuffer(event.features, "<f4") * 0.3).astype("<f4").tobytes()
    context = {**(event.context or {}), "hour": 0.3 * event.ts % 24}
    return msgspec.structs.replace(event, features=features, context=context)


def test_both_engines_see_the_same_keys_features_and_rewards_in_the_same_order() -> None:
    log = [unrounded(event) for event in scripted(settings(), n=300)]
    embedded = heard(Embedded(settings()).learn(pieces(log, np.random.default_rng(1))).parts)
    chain = chained(settings(), 1, ([event] for event in log))
    train = heard(chain.train.parts)
    assert (embedded.trains, train.trains, heard(chain.items[0].parts).trains) == (True, True, False)
    assert len(train.seen) > 200 and train.seen == embedded.seen
    assert train.sum.tobytes() == embedded.sum.tobytes()
    items = {item for event in log if isinstance(event, Decision) for item in event.items}
    assert {key for key, *_ in train.seen} <= {key_of(item) for item in items}
    assert len({tuple(x) for _, x, *_ in train.seen}) > 5


def test_what_all_share_is_published_by_train_alone_and_followed() -> None:
    chain = chained(settings(), 2, pieces(scripted(settings(), n=200), np.random.default_rng(1)))
    rows = {output.key for output in chain.outputs if b"listening" in (output.key or b"")}
    assert rows == {SHARED.encode()}
    server = followed(settings(), chain.outputs, np.random.default_rng(2))
    train = heard(chain.train.parts)
    assert heard(server).given.columns["sum"].tobytes() == train.sum.tobytes() != bytes(train.sum.nbytes)


def test_it_is_published_no_more_often_than_its_part_says_and_not_by_commits() -> None:
    often, seldom = settings(), settings(policies=({**ENTRY, "publish_ms": 10_000},))
    log = scripted(often, n=300)
    n_rows = []
    for chosen in (often, seldom):
        chain = chained(chosen, 1, ([event] for event in log))
        rows = [output for output in chain.outputs if output.key == SHARED.encode()]
        at = heard(chain.train.parts)
        _, newest = decode_control(rows[-1].value or b"")
        assert newest["columns"]["sum"].tobytes() == at.given.columns["sum"].tobytes()
        n_rows.append(len(rows))
    assert n_rows[1] < n_rows[0] / 2
    learner = Embedded(seldom, "frames").learn([event] for event in log)
    carrying = sum("shared" in frame["policy:listening"] for frame in learner.frames)
    assert 0 < carrying <= n_rows[1] < len(learner.frames) / 20


def test_nothing_is_sent_or_stored_where_nobody_asks() -> None:
    plain, asking = settings(policies=()), settings()
    log = scripted(plain, n=200)
    chains = [chained(chosen, 1, pieces(log, np.random.default_rng(1))) for chosen in (plain, asking)]
    columns = [unpack(record.value) for record in chains[0].topics["training", 0]]
    assert not any(
        {"keys", "request"} & frame.get("columns", {}).keys() or "layout" in frame for frame in columns
    )
    assert (
        not {"keys", "request", "layout"}
        & {**chains[0].train.lists.snapshot(), **chains[0].train.snapshot()}.keys()
    )
    for ours, theirs in zip(*map(lists_in, chains), strict=True):
        ours.keys, ours.request, ours.layout = theirs.keys, theirs.request, theirs.layout
        assert encode_segment(ours) == encode_segment(theirs)


@pytest.mark.parametrize("policy", [ENTRY, {"kind": "neu_fast_cb", "publish_ms": 500}])
def test_a_killed_train_comes_back_to_the_same_bits_wherever_it_was_cut(policy: dict[str, Any]) -> None:
    chosen = settings(policies=(policy,))
    log, rng = scripted(chosen, n=300), np.random.default_rng(3)
    whole = chained(chosen, 2, pieces(log, rng))
    records = whole.topics["training", 0]
    train = TrainShard(0, chosen, 2)
    while records:
        cut = int(rng.integers(1, 30))
        train.on_records(records[:cut])
        records = records[cut:]
        train.take()
        frame = unpack(pack(train.snapshot()))
        train = TrainShard(0, chosen, 2)
        train.restore(frame)
    assert pack(train.snapshot()) == pack(whole.train.snapshot())
    given = train.parts.policies[policy["kind"]].export("shared", np.zeros(1, np.int32))
    assert given["sum"].any() if "sum" in given else given["steps"] > 5


def test_lists_of_a_worker_of_before_and_features_of_other_names_count_as_not_known() -> None:
    log = scripted(settings(), n=100)
    before = chained(settings(policies=()), 1, [log]).topics["training", 0]
    others = chained(settings("hour", "device"), 1, [log]).topics["training", 0]
    for records, has_keys in ((before, False), (others, True)):
        train = TrainShard(0, settings(), 1)
        train.on_records(records)
        seen = heard(train.parts).seen
        assert len(seen) > 20
        assert {any(x) for _, x, *_ in seen} == {False} and {key > 0 for key, *_ in seen} == {has_keys}


def test_open_lists_forget_what_other_settings_of_today_cannot_read() -> None:
    records = chained(settings(), 1, [scripted(settings(), n=100)[:-1]]).topics["training", 0]
    before = TrainShard(0, settings(), 1)
    before.on_records(records)
    frame = unpack(pack(before.snapshot()))
    assert frame["lists"]["keys"] and frame["lists"]["request"]
    for chosen, kept in (
        (settings("hour"), {"keys"}), (settings(policies=()), set()), (settings(), {"keys", "request"}),
    ):  # fmt: skip
        train = TrainShard(0, chosen, 1)
        train.restore(frame)
        found = train.snapshot()["lists"]
        assert {"keys", "request"} & found.keys() == kept and len(train.lists) == len(before.lists) > 0
        # The room that they take is counted.
        inputs = sum(len(found.get(name, b"")) for name in ("keys", "request"))
        plain = TrainShard(0, settings(policies=()), 1)
        plain.restore(frame)
        assert train.lists.n_bytes == plain.lists.n_bytes + inputs


@cache
def widest() -> bytes:
    """A record with more lists than others."""
    lists = lists_in(chained(settings(), 1, [scripted(settings(), n=200)]))
    return encode_segment(max(lists, key=lambda one: len(one.users)))


def test_a_record_is_cut_in_two_with_its_inputs() -> None:
    whole = cast(TrainingLists, decode_segment(widest()))
    cuts = [decode_segment(value) for value in bounded(whole, 2_000)]
    assert len(cuts) > 1
    for name in ("keys", "request"):
        joined = np.concatenate([getattr(cut, name) for cut in cuts])
        assert joined.size and joined.tobytes() == getattr(whole, name).tobytes()
    told = [cast(TrainingLists, cut) for cut in cuts]
    assert {cut.layout for cut in told if cut.users} == {whole.layout}


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("keys", lambda keys: keys[1:]),
        ("keys", lambda keys: keys.astype("<i8")),
        ("request", lambda x: x[1:]),
        ("request", lambda x: np.where(x == 1, np.inf, x).astype("<f2")),
        ("request", lambda x: np.resize(x, x.size * 2_049)),
        ("layout", lambda _: 5),
    ],
)
def test_inputs_that_do_not_fit_are_a_dead_letter(name: str, column: Any) -> None:
    frame = unpack(widest())
    assert revive_training(frame)
    holder = frame if name == "layout" else frame["columns"]
    holder[name] = column(holder[name])
    train = TrainShard(0, settings(), 1)
    train.on_records([SourceRecord(7, pack(frame)), SourceRecord(8, widest())])
    assert train.n_letters == 1 and len(train.lists) > 1


def test_a_decision_without_a_context_has_the_constant_alone() -> None:
    log = [
        msgspec.structs.replace(event, context=None) if isinstance(event, Decision) else event
        for event in scripted(settings(), n=100)
    ]
    found = {tuple(x) for _, x, *_ in heard(Embedded(settings()).learn([log]).parts).seen}
    assert found == {(1.0, *[0.0] * 6)}
