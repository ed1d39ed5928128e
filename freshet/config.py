"""All settings, read once: defaults, then ``freshet.toml``, then ``FRESHET_*``, then flags.

A variable is named after its section and field: ``FRESHET_POLICY_EPSILON=0.1`` is ``[policy] epsilon = 0.1``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from freshet.errors import SettingsError
from freshet.settings_errors import explained
from freshet.settings_sources import from_environment, from_file
from serving.settings import ServeSettings
from stream.engine.settings import EngineSettings
from stream.engine.worker_settings import ShardSettings, WorkerSettings
from stream.join import JoinSettings
from stream.kafka import KafkaSettings

__all__ = [
    "AdmissionRule",
    "LearnSettings",
    "PolicyName",
    "PolicySettings",
    "Settings",
    "load_settings",
    "settings_digest",
]

_DAY_MS = 86_400_000
_LARGEST = 10**15  # 31,000 years in ms, a petabyte
_MOST_ROWS = 2**31 - 1  # rows are numbered in 32 bits
Positive = Annotated[int, Meta(ge=1)]

AdmissionRule = Literal["threshold", "share", "equal"]
PolicyName = Literal["diag_lin_ucb", "uniform", "epsilon_greedy", "thompson"]


class LearnSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is learned about users and items, and how much of it is kept."""

    embedding_dim: Annotated[int, Meta(ge=1, le=4_096)] = 64
    """Length of user and item vectors."""
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 0.1
    """Step size of the matrix factorisation."""
    l2: Annotated[float, Meta(ge=0, le=1)] = 0.001
    """Weight of the squared-norm penalty on vectors and biases."""
    negatives: Annotated[int, Meta(ge=0, le=64)] = 5
    """Sampled negatives for each positive."""
    shown_weight: Annotated[float, Meta(ge=0, le=100)] = 0.25
    """Weight of a shown-not-clicked place against a positive's 1."""
    half_lives_ms: Annotated[tuple[Positive, ...], Meta(min_length=1, max_length=16)] = (_DAY_MS, 4 * _DAY_MS)
    """Half-lives of the popularities; the one nearest to a day orders the `popular` source."""
    neighbours: Positive = 100
    """Co-occurring items kept for each item."""
    pair_window: Annotated[int, Meta(ge=0, le=1_000)] = 5
    """Earlier items that a click is paired with."""
    history: Positive = 500
    """Clicked items remembered for each user, which are not shown to them again."""
    admission: Positive = 1
    """Sightings that let an id in, see `admission_rule`; items of the catalogue always have a row."""
    admission_rule: AdmissionRule = "threshold"
    """`threshold`: after so many sightings; `share`, `equal`: by chance at each sighting."""
    ttl_ms: Annotated[int, Meta(ge=0)] = 0
    """Expiry of rows untouched for so long in event time; 0 keeps them."""
    user_admission: Positive | None = None
    """The same as `admission`, for users alone; as `admission` where it is not given."""
    item_admission: Positive | None = None
    """The same as `admission`, for items alone; as `admission` where it is not given."""
    user_admission_rule: AdmissionRule | None = None
    """The same as `admission_rule`, for users alone."""
    item_admission_rule: AdmissionRule | None = None
    """The same as `admission_rule`, for items alone."""
    user_ttl_ms: Annotated[int, Meta(ge=0)] | None = None
    """The same as `ttl_ms`, for users alone."""
    item_ttl_ms: Annotated[int, Meta(ge=0)] | None = None
    """The same as `ttl_ms`, for items alone."""
    maintain_ms: Positive = 60_000
    """Time between looks at expiry, centroids and graph."""
    max_users: Annotated[int, Meta(ge=8, le=_MOST_ROWS)] = 4_000_000
    """Rows of users, at most; above seven eighths of it the longest untouched are dropped."""
    max_items: Annotated[int, Meta(ge=8, le=_MOST_ROWS)] = 4_000_000
    """Rows of items, at most, bounded likewise, but items that are in the catalogue are dropped last, and a
    sixteenth of the rows is theirs alone; a worker reserves address space, not memory, for all."""
    seed: Annotated[int, Meta(ge=0, le=2**32 - 2)] = 0
    """What first vectors, sampled negatives and the draws of decisions are derived from."""


class PolicySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The exploring policy and its cluster-item graph."""

    name: PolicyName = "diag_lin_ucb"
    """The policy that explores when a request names none."""
    others: tuple[PolicyName, ...] = ("uniform",)
    """Further policies that learn from the same log and that a request may name."""
    epsilon: Annotated[float, Meta(ge=0, le=1)] = 0.05
    """Probability at each place that the policy, not the ranker, picks; 1 lets it decide everything."""
    alpha: Annotated[float, Meta(ge=0, le=1_000)] = 0.5
    """Width of the confidence bonus."""
    centroids: Annotated[int, Meta(ge=1, le=65_536)] = 64
    """Clusters of users, at most."""
    context_clusters: Annotated[int, Meta(ge=1, le=64)] = 4
    """Nearest centroids that make the context of a request."""
    edges_per_item: Annotated[int, Meta(ge=2, le=64)] = 8
    """Clusters that an item may be explored in, at most."""
    edges_per_cluster: Positive = 200
    """Items that may be explored in a cluster, at most."""
    refresh_budget: Positive = 256
    """Items whose edges are looked at again at each maintenance."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set, by section."""

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
) -> Settings:
    """Merge the sources of settings; later ones win.

    `path` defaults to ``freshet.toml`` in the current folder, if it is there. `flags` is a nested mapping
    like the file; values of None are flags that were not given. `say` hears which file was read and what was
    passed over, in a line each.

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
    _merge(merged, from_environment(os.environ if environ is None else environ, sections, say))
    _merge(merged, flags or {})
    _refuse_not_finite(merged, "")
    try:
        settings = msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        msg = f"settings: {explained(str(error), merged, Settings)}; see docs/reference/settings.md"
        raise SettingsError(msg) from None
    _refuse_out_of_range(settings, "")
    return settings


def settings_digest(settings: Settings) -> bytes:
    """The settings as canonical JSON: equal bytes mean equal behaviour of a learner."""
    return msgspec.json.encode(settings, order="deterministic")


def _refuse_out_of_range(value: object, path: str) -> None:
    """Numbers that no setting means and no machine holds: children would end on them, again and again.

    Raises:
        SettingsError: one of them; the message names it.
    """
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            _refuse_out_of_range(getattr(value, field.name), f"{path}{field.name}.")
    elif isinstance(value, tuple | list):
        for one in value:
            _refuse_out_of_range(one, path)
    elif isinstance(value, dict):
        for key, one in value.items():
            _refuse_out_of_range(one, f"{path}{key}.")
    elif isinstance(value, int | float) and not abs(value) <= _LARGEST:
        msg = f"settings: {path[:-1]}: expected a number up to {_LARGEST}, got {value}"
        raise SettingsError(msg)


def _refuse_not_finite(values: Mapping[str, Any], path: str) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            _refuse_not_finite(value, f"{path}{key}.")
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
