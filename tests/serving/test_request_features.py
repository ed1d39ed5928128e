"""The features of a request: what was decided on is what is learned, on both engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from bandits import Context, Rule, Uniform
from freshet.config import Settings, load_settings
from index import LiveIndex
from learners import RowBlock, encode
from learners.encode_items import encode_items
from learners.request_features import RequestFeatures
from learning.parts import Parts, build_parts
from learning.put_items import put_items
from learning.shards.outbound import outcomes_of
from replay.targets import slate_context
from serving.decisions import Circumstances, DecisionMaker
from serving.item_index import ItemIndex
from serving.requests import decode_recommend
from serving.settings import ServeSettings
from stream.block_codec import decode_segment, encode_segment
from stream.blocks import FeedbackBlock
from stream.codec import decode_logged, encode_events
from stream.events import Click, Decision, ItemEvent
from stream.forget import ForgetBook
from stream.frame import pack, unpack
from stream.item_blocks import ItemOutcomes
from stream.item_routing import route_outcomes
from stream.join import Joiner

T0 = 1_700_000_000_000
NAMES = ("hour", "device", "tags", "né")
ODD = [
    b"{}", b"null", b'{"unknown": 5}', b'{"hour": 7}', b'{"hour": 0.1}', b'{"hour": -1e15}',
    b'{"hour": true}', b'{"hour": false, "device": "phone"}', b'{"device": 3, "hour": "three"}',
    b'{"device": ""}', b'{"tags": ["a", "b", "a", 7, null, 1.5, ["c"], true, {}]}', b'{"hour": 1e-320}',
    b'{"tags": [], "device": null}', b'{"hour": {"deep": [1]}}', b'{"hour": 9223372036854775807}',
    b'{"n\xc3\xa9": "\\u00fc \\ud83d\\ude00"}', b'{"device": "a", "device": "b"}',
    b'{"device": "%s"}' % (b"x" * 5_000), b'{"features": [1, 2], "item_id": "i1", "hour": 3.33333333333335}',
]  # fmt: skip


class Witness(Uniform):
    """A policy that remembers the features that it was asked with."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def plan(self, context: Context, candidates: Any) -> Rule:
        self.seen.append(context.features)
        return super().plan(context, candidates)


def _settings() -> Settings:
    policy = {"features": list(NAMES), "feature_dim": 32, "name": "uniform", "others": []}
    return load_settings(environ={}, flags={"policy": policy, "learn": {"embedding_dim": 8}})


def _decided(parts: Parts, contexts: Sequence[bytes], witness: Witness) -> tuple[list[Decision], Any]:
    """Requests with these contexts, as what is logged of them is read back; and what the policy saw."""
    parts.policies = {"uniform": witness}
    put_items(parts, [ItemEvent(item_id=f"i{n}", ts=T0) for n in range(9)])
    index = ItemIndex(LiveIndex(parts.items.dim, 64), parts.items, parts.catalogue)
    index.rebuild()
    maker, log, seen = DecisionMaker(parts, index, ServeSettings(), epsilon=1.0, seed=1), [], []
    for n, context in enumerate(contexts):
        asked = decode_recommend(b'{"user_id": "u%d", "k": 3, "context": %s}' % (n, context))
        log.append(maker.decide(asked, Circumstances(f"r{n}", T0 + n, 0, False, "")))
        seen.append(witness.seen[-1])
    logged = [event for event in decode_logged(encode_events(log)) if isinstance(event, Decision)]
    return logged, np.stack(seen)


def _joined(decisions: Sequence[Decision]) -> FeedbackBlock:
    """One block in which every decision was shown and its second item clicked."""
    joiner = Joiner(_settings().join, ForgetBook(b"sixteen bytes or more"))
    joiner.on_events(decisions)
    joiner.on_events(
        [
            Click(ts=d.ts + 9, user_id=d.user_id, item_id=d.items[1], request_id=d.request_id)
            for d in decisions
        ]
    )
    (block,) = joiner.take()
    assert isinstance(block, FeedbackBlock)
    return block


def _learned(block: FeedbackBlock, parts: Parts, policies: Sequence[str] = ("uniform",)) -> RowBlock:
    return encode(block, parts.users, parts.items, policies=policies, request=parts.request_features)


def _travelled(block: Any) -> Any:
    """The same after a stay in a topic."""
    return decode_segment(encode_segment(block))


def _sent(block: FeedbackBlock, parts: Parts) -> ItemOutcomes:
    rows, layout = _learned(_travelled(block), parts), parts.request_features.layout
    sent: ItemOutcomes = _travelled(
        outcomes_of(block, rows, parts.items, policies=["uniform"], layout=layout)
    )
    return sent


def test_what_a_policy_saw_when_it_decided_is_what_is_learned_on_both_engines() -> None:
    parts = build_parts(_settings())
    decisions, seen = _decided(parts, ODD, Witness())
    block = _joined(decisions)
    rows = _learned(block, parts)
    assert [slate.request_id for slate in block.slates] == [f"r{n}" for n in range(len(ODD))]
    assert seen.dtype == np.float32 and np.array_equal(rows.request, seen)
    there = encode_items(_sent(block, parts), parts.items, request=parts.request_features)
    assert np.array_equal(there.request, rows.request[rows.slate])
    replayed: list[Any] = [slate_context(s, parts.request_features).features for s in block.slates]
    assert np.array_equal(replayed, seen)


def test_owners_of_items_learn_with_the_propensity_and_the_policy_that_were_logged() -> None:
    parts = build_parts(_settings())
    decisions, _ = _decided(parts, [b"{}", b"{}"], Witness())
    decisions[1] = msgspec.structs.replace(decisions[1], policy="gone", propensities=[0.25, None, 0.5])
    block = _joined(decisions)
    sent = _sent(block, parts)
    home = np.arange(len(sent.names), dtype=np.int32) % 2
    found: list[Any] = []
    for mine in route_outcomes(sent, home).values():
        rows = encode_items(_travelled(mine), build_parts(_settings()).items, policies=["other", "uniform"])
        op = np.repeat(np.arange(len(rows)), np.diff(rows.start))
        names = [mine.names[n] for n in mine.items]
        found += zip(rows.ts[op], names, rows.propensity.astype(str), rows.policy[op], strict=True)
    expected = [
        (ts, item, str(np.float32(np.nan if chance is None else chance)), (1, -1)[n])
        for n, d in enumerate(decisions)
        for places, ts in ((range(3), d.ts), ([1], d.ts + 9))
        for item, chance in ((d.items[p], (d.propensities or [])[p]) for p in places)
    ]
    assert sorted(found) == sorted(expected)


def test_features_that_were_laid_out_otherwise_are_not_known() -> None:
    parts = build_parts(_settings())
    decisions, _ = _decided(parts, [b'{"hour": 7}'], Witness())
    sent = _sent(_joined(decisions), parts)
    other = RequestFeatures([*reversed(NAMES)], dim=32)
    assert not encode_items(sent, parts.items, request=other).request.any()
    assert encode_items(sent, parts.items).request.tolist() == [[1.0], [1.0]]


def test_the_intercept_alone_takes_no_room_in_a_topic_and_an_older_record_is_read() -> None:
    parts = build_parts(Settings())
    decisions, seen = _decided(parts, ODD, Witness())
    assert seen.tolist() == [[1.0]] * len(ODD)
    frame = unpack(encode_segment(_sent(_joined(decisions), parts)))
    assert "layout" not in frame and "request" not in frame["columns"]
    for name in ("propensity", "policy"):
        del frame["columns"][name]
    older = decode_segment(pack({k: v for k, v in frame.items() if k != "policies"}))
    rows = encode_items(older, parts.items, policies=["uniform"], request=RequestFeatures(["hour"]))  # type: ignore[arg-type]
    assert np.isnan(rows.propensity).all() and (rows.policy == -1).all() and not rows.request.any()
