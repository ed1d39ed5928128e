"""What is cut out of JSON leaves JSON, of the same length, with the rest in its place."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.cuts import cut, event_spans, member_spans

texts = st.text(st.sampled_from('a,"]}{[\\ :é'), max_size=6)
values = st.one_of(st.integers(), texts, st.lists(texts, max_size=3), st.none(), st.booleans())
events = st.dictionaries(texts, values, min_size=1, max_size=4)


@settings(max_examples=60)
@given(st.lists(st.tuples(events, st.booleans(), st.booleans()), min_size=1, max_size=6), st.booleans())
def test_events_are_cut_in_any_order_and_again(drawn: list[tuple[Any, bool, bool]], spaces: bool) -> None:
    body = json.dumps([event for event, _, _ in drawn], separators=(", ", ": ") if spaces else None).encode()
    spans = event_spans(body)
    first = [span for span, (_, goes, _) in zip(spans, drawn, strict=True) if goes]
    then = [span for span, (_, _, goes) in zip(spans, drawn, strict=True) if goes]
    text, _ = cut(cut(body, first)[0], then)
    assert json.loads(text) == [event for event, a, b in drawn if not a and not b] and len(text) == len(body)
    assert cut(cut(text, first)[0], then)[0] == text


@settings(max_examples=60)
@given(events, st.data())
def test_members_are_cut(event: dict[str, Any], data: st.DataObject) -> None:
    body = json.dumps(event, ensure_ascii=False).encode()
    spans = member_spans(body)
    gone = data.draw(st.sets(st.sampled_from(range(len(spans))), max_size=len(spans) - 1))
    text, changed = cut(body, [spans[n][1:] for n in gone])
    kept = [name for n, name in enumerate(event) if n not in gone]
    assert json.loads(text) == {name: event[name] for name in kept}
    again = bytearray(body)
    for start, end in changed:
        again[start:end] = text[start:end]
    assert again == text


def test_a_text_that_was_emptied_meanwhile_stays() -> None:
    assert cut(b"[]", [(1, 90)]) == (b"[]", [])
