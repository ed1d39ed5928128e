"""The page about events agrees with the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

from stream.codec import decode_events
from stream.join import OUTCOMES
from stream.schema import json_schemas

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "events.md").read_text(encoding="utf-8")


def test_the_examples_on_the_page_are_accepted() -> None:
    [examples] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    decoded = decode_events(examples.encode(), ndjson=True)
    assert (len(decoded.events), decoded.rejected) == (4, [])


def test_the_page_names_every_field() -> None:
    schemas = json_schemas()
    fields = {name for kind in schemas for name in schemas[kind]["properties"]} - {"type"}
    assert [name for name in sorted(fields) if f"`{name}`" not in PAGE and f'"{name}"' not in PAGE] == []


def test_the_page_explains_every_outcome() -> None:
    assert [name for name, what in OUTCOMES.items() if f"| `{name}` | {what} |" not in PAGE] == []


def test_the_stored_examples_need_nothing_but_a_json_parser() -> None:
    for line in (Path(__file__).parent / "data" / "events-v1.jsonl").read_text(encoding="utf-8").splitlines():
        assert isinstance(json.loads(line), dict | list)
