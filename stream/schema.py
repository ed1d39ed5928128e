"""JSON Schemas of what clients send."""

from __future__ import annotations

from typing import Any

import msgspec

from stream.events import Click, Event, Forget, Impression, ItemEvent

__all__ = ["Feed", "event_components", "json_schemas"]


class Feed(msgspec.Struct, kw_only=True):
    """The body of ``POST /v1/events``; `backfill` marks history, which has a watermark of its own."""

    events: list[Event]
    backfill: bool | None = None


def event_components(ref_template: str = "#/components/schemas/{name}") -> dict[str, dict[str, Any]]:
    """The schemas under the names of their types, `Feed` among them, for an OpenAPI document."""
    types = (Impression, Click, ItemEvent, Forget, Feed)
    _, components = msgspec.json.schema_components(types, ref_template=ref_template)
    # The one rule between fields that a schema can say.
    components["Click"]["anyOf"] = [{"required": ["user_id"]}, {"required": ["request_id"]}]
    return components


def json_schemas() -> dict[str, dict[str, Any]]:
    """A schema that stands alone for each type of event, by its `type`, and `events` for the whole body.

    Example:
        >>> schemas = json_schemas()
        >>> sorted(schemas), schemas["forget"]["required"]
        (['click', 'events', 'forget', 'impression', 'item'], ['type', 'user_id', 'ts'])
    """
    components = event_components("#/$defs/{name}")
    feed = components.pop("Feed")
    schemas = {schema["properties"]["type"]["enum"][0]: schema for schema in components.values()}
    schemas["events"] = feed | {"$defs": dict(components)}
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {name: dialect | schema for name, schema in schemas.items()}
