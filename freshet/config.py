"""All settings, read once: defaults, then ``freshet.toml``, then ``FRESHET_*``, then flags.

A variable is named after its section and field: ``FRESHET_POLICY_EPSILON=0.1`` is ``[policy] epsilon = 0.1``.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from freshet.settings_sources import from_environment, from_file
from learning.choices import (
    chosen_learners,
    chosen_measures,
    chosen_parts,
    chosen_policies,
    chosen_scorers,
    in_one_way,
    policy_entries,
    request_features_of,
)
from learning.errors import SettingsError
from learning.settings import LearnSettings, PolicySettings
from learning.settings_errors import explained
from replay.chosen_estimators import ESTIMATORS
from serving.chosen_sources import SOURCES
from serving.settings import ServeSettings, ServingSettings
from stream.engine.settings import EngineSettings
from stream.engine.worker_settings import ShardSettings, WorkerSettings
from stream.join import JoinSettings
from stream.kafka import KafkaSettings

__all__ = [
    "Settings",
    "load_settings",
    "settings_digest",
]

_INSTEAD = {
    "policies": ("policy", ("name", "others", "alpha")),
    "learners": ("", ()),
    "measures": ("", ()),
    "scorers": ("", ()),
    "sources": ("serve.sources", ("index", "neighbours", "graph", "popular", "fresh")),
    "estimators": ("", ()),
}
"""Lists of parts, and what a section says that does not go with them."""
_LARGEST = 10**15  # 31,000 years in ms, a petabyte


class Settings(ServingSettings, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set, by section, in the order of the page and of digests."""

    clock: Literal["wall", "event"] = "wall"
    """`event`: time is the largest accepted ts (demos, replays, tests)."""
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    """Serving processes on the one port."""
    host: str = "127.0.0.1"
    """Address to listen on; another than loopback needs tokens or `serve.insecure`."""
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    """Port to listen on; 0 takes a free one."""
    join: JoinSettings = JoinSettings()
    learn: LearnSettings = LearnSettings()
    policy: PolicySettings = PolicySettings()
    policies: tuple[dict[str, Any], ...] = ()
    """The policies that learn and that a request may name, the default one first; `diag_lin_ucb` and
    `uniform` where none are given."""
    learners: tuple[dict[str, Any], ...] = ()
    """What learns from every click beside what always does, for scorers and sources that name it."""
    measures: tuple[dict[str, Any], ...] = ()
    """What is counted of the exploration, for `/metrics`; `policy_counts`, `organic_clicks` and `part_notes`
    where none are given."""
    scorers: tuple[dict[str, Any], ...] = ()
    """What the ranker weighs about a candidate; `popular`, `together`, `together_by_history`, `taste`,
    `rates`, `seen`, `session` and `in_list` where none are given."""
    sources: tuple[dict[str, Any], ...] = ()
    """Where candidates come from; `index`, `neighbours`, `graph`, `popular` and `fresh`, of the sizes of
    `[serve.sources]`, where none are given."""
    estimators: tuple[dict[str, Any], ...] = ()
    """How `freshet replay` tells what a policy would have earned; `ips` and `snips` where none are given."""
    serve: ServeSettings = ServeSettings()
    engine: EngineSettings = EngineSettings()
    kafka: KafkaSettings = KafkaSettings()
    work: WorkerSettings = WorkerSettings()
    shard: ShardSettings = ShardSettings()


def load_settings(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    *,
    say: Callable[[str], None] = lambda _: None,
    requests: bool = True,
) -> Settings:
    """Merge the sources of settings; later ones win.

    `path` defaults to ``freshet.toml`` in the current folder, if it is there. `flags` is a nested mapping
    like the file; values of None are flags that were not given. `say` hears which file was read and what was
    passed over, in a line each. Where no `requests` come, as in a made-up world that has features of its own,
    nobody is told to name features of their context.

    Raises:
        SettingsError: a file cannot be read, a name is unknown, or a value does not fit; no message shows a
            token or a password.

    Example:
        >>> load_settings(environ={"FRESHET_POLICY_EPSILON": "0.2"}).policy.epsilon
        0.2
    """
    sections = {field.name for field in msgspec.structs.fields(Settings) if _is_section(field.type)}
    merged: dict[str, Any] = {}
    _merge(merged, from_file(path, say))
    _merge(merged, from_environment(os.environ if environ is None else environ, sections, _INSTEAD, say))
    _merge(merged, flags or {})
    _refuse_not_finite(merged, "")
    of_before = _of_before(merged)
    try:
        settings = msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        msg = f"settings: {explained(str(error), merged, Settings)}; see docs/reference/settings.md"
        raise SettingsError(msg) from None
    _refuse_out_of_range(settings, "")
    chosen_policies(settings), chosen_learners(settings), chosen_scorers(settings)
    chosen_measures(settings)
    chosen_parts(SOURCES, settings.sources), chosen_parts(ESTIMATORS, settings.estimators)
    request_features_of(settings)
    blind = [one.name for one in chosen_policies(settings) if one.kind.reads_features]
    if requests and blind and not settings.policy.features:
        say(
            f"policy {', '.join(map(repr, blind))} has no features of the request to look at; name some of "
            'its `context`, as in: [policy] features = ["device", "hour"]'
        )
    if of_before:
        anew = ", ".join(map(_inline, policy_entries(settings)))
        say(f"[policy] {', '.join(of_before)}: write, above all sections, policies = [{anew}] instead")
    return settings


def settings_digest(settings: Settings) -> bytes:
    """The settings as canonical JSON: equal bytes mean equal behaviour of a learner."""
    # In the order of the class above: a base class puts its own fields first.
    whole = in_one_way(settings)
    sections = {
        name: msgspec.Raw(msgspec.json.encode(getattr(whole, name), order="deterministic"))
        for name in inspect.get_annotations(Settings)
    }
    return msgspec.json.encode(sections)


def _refuse_out_of_range(value: object, path: str) -> None:
    """Numbers that no setting means and no machine holds: children would end on them, again and again.

    Raises:
        SettingsError: one of them; the message names it.
    """
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            _refuse_out_of_range(getattr(value, field.name), f"{path}{field.name}.")
    elif isinstance(value, tuple | list):
        for number, one in enumerate(value):
            _refuse_out_of_range(one, f"{path[:-1]}[{number}].")
    elif isinstance(value, dict):
        for key, one in value.items():
            _refuse_out_of_range(one, f"{path}{key}.")
    elif isinstance(value, int | float) and not abs(value) <= _LARGEST:
        msg = f"settings: {path[:-1]}: expected a number up to {_LARGEST}, got {value}"
        raise SettingsError(msg)


def _of_before(merged: Mapping[str, Any]) -> list[str]:
    """What stands in `[policy]` and belongs into `[[policies]]` now.

    Raises:
        SettingsError: a list and a section say the same, or a list is empty.
    """
    found: dict[str, list[str]] = {}
    for name, (section, fields) in _INSTEAD.items():
        at: Any = merged
        for step in section.split("."):
            at = at.get(step) if isinstance(at, Mapping) else None
        found[name] = [field for field in fields if isinstance(at, Mapping) and field in at]
        if name not in merged:
            continue
        if found[name]:
            msg = f"settings: {section}.{found[name][0]} does not go with [[{name}]]: write it there"
            raise SettingsError(msg)
        if not merged[name]:
            msg = f"settings: {name}: expected at least one, got none; leave it out for the default ones"
            raise SettingsError(msg)
    return found["policies"]


def _inline(entry: Mapping[str, Any]) -> str:
    """A table as TOML has it in one line."""
    fields = [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in entry.items()]
    return f"{{{', '.join(fields)}}}"


def _refuse_not_finite(values: Mapping[str, Any], path: str) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            _refuse_not_finite(value, f"{path}{key}.")
        elif isinstance(value, list):
            _refuse_not_finite({f"{key}[{n}]": one for n, one in enumerate(value)}, path)
        elif isinstance(value, float) and not math.isfinite(value):
            msg = f"settings: {path}{key} must be a finite number, got {value}"
            raise SettingsError(msg)


def _merge(into: dict[str, Any], more: Mapping[str, Any], path: str = "") -> None:
    for key, value in more.items():
        if isinstance(value, Mapping):
            under = into.setdefault(key, {})
            if not isinstance(under, dict):
                msg = f"settings: {path}{key} should be a table, another value came"
                raise SettingsError(msg)
            _merge(under, value, f"{path}{key}.")
        elif value is not None:
            into[key] = value


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
