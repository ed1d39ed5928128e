"""How a serving worker behaves."""

from __future__ import annotations

from math import inf
from typing import Annotated, Any, Literal

import msgspec

from learning.settings import LearningSettings
from stream.rules import MAX_OBJECT_BYTES

__all__ = ["AuthSettings", "ServeSettings", "ServingSettings", "SourceSettings"]

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Days = Annotated[float, msgspec.Meta(gt=0, le=36_500)]
_DAY_MS = 86_400_000


class SourceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many candidates each source may offer for one request; 0 switches a source off."""

    index: _Count = 64
    """Nearest items to the user's vector."""
    neighbours: _Count = 60
    """Items that go together with the user's recent items."""
    recent: _Count = 10
    """Recent items whose neighbours are looked up."""
    graph: _Count = 100
    """Candidates of the policy."""
    popular: _Count = 60
    """What is clicked now."""
    fresh: _Count = 20
    """Newest items of the catalogue."""
    sample: _Count = 100
    """Items drawn at random from all that may be shown, for a policy that must list its candidates
    (`thompson`)."""


class AuthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bearer tokens by what they open; `control` opens everything. All empty: no token is asked for.

    Beyond loopback each must be of 16 characters at least. They are never shown.
    """

    read: tuple[str, ...] = ()
    """Open `recommend`, rows and metrics."""
    write: tuple[str, ...] = ()
    """Open `events`."""
    control: tuple[str, ...] = ()
    """Open both."""

    def __repr__(self) -> str:
        shown = [f"{name}=<{len(getattr(self, name))} tokens>" for name in self.__struct_fields__]
        return f"AuthSettings({', '.join(shown)})"

    @property
    def configured(self) -> bool:
        """Whether any token is asked for."""
        return bool(self.read or self.write or self.control)


class ServeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything about answering requests that can be set."""

    k: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 10
    """Items of an answer whose request names no `k`."""
    hide_clicked: Literal["always", "never"] | _Days = "always"
    """For how long what a user has clicked, as far as `learn.history` remembers it, is not offered to them
    again: `always`, `never`, or so many days after the last click (shops repeat)."""
    activate: Literal["auto", "explicit"] = "auto"
    """`auto`: a decision counts as shown; `explicit`: it waits for the client's impression."""
    after_wait_ms: _Count = 100
    """Longest wait for `after`; then the answer says that it is stale."""
    others: _Count = 20
    """Candidates that were not shown, logged with their features beside those that were."""
    sources: SourceSettings = SourceSettings()
    max_ahead_ms: _Count = 300_000
    """On the wall clock, events further ahead than this are refused."""
    max_body_bytes: _Positive = 8 * 1024 * 1024
    """Largest body of events; beyond it callers get 413."""
    max_recommend_bytes: _Positive = 1024 * 1024
    """Largest body of a recommend request; beyond it callers get 413."""
    max_events: _Positive = 150_000
    """Events of one body; beyond it callers get 413. No body of 8 MiB holds so many that could be good."""
    max_receiving_bytes: _Positive = 64 * 1024 * 1024
    """Bodies that a worker holds at a time, from arrival to answer, 64 KiB of each left out; beyond it
    callers get 429."""
    receive_s: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 10.0
    """Longest time for a request's URL and headers, for the first byte of a connection, and between two looks
    at how fast a body comes; beyond it callers get 408."""
    receive_bytes_s: _Count = 16_384
    """Slowest body, in bytes a second, looked at every `receive_s`; beyond it callers get 408."""
    keep_alive_s: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 75.0
    """How long a connection may wait for its next request; more than a proxy in front keeps its own."""
    max_connections: _Positive = 8_192
    """Connections of a worker, fewer where it may open fewer files; beyond it the longest silent go."""
    max_object_bytes: _Positive = MAX_OBJECT_BYTES
    """Largest `context` of a request or impression, and largest `attributes` of an item, as JSON; beyond it
    that request or event is refused. They are kept as long as the slate or the item is."""
    linger_ms: Annotated[float, msgspec.Meta(ge=0, le=1_000)] = 1.0
    """How long the first decision of a group waits for company before it is committed."""
    max_queued_bytes: _Positive = 64 * 1024 * 1024
    """Accepted but uncommitted bytes of a worker; beyond it callers get 429."""
    max_queued_requests: _Positive = 10_000
    """Requests whose records wait for their commit; beyond it callers get 429."""
    max_concurrent: _Positive = 4_096
    """Requests in progress; beyond it callers get 503, but for `/healthz` and `/readyz`."""
    retry_after_s: _Positive = 1
    """The `Retry-After` of 429 and 503."""
    apply_slice_ms: Annotated[float, msgspec.Meta(gt=0, le=1_000)] = 3.0
    """Longest stretch of taking over the learner's rows between two requests."""
    ready_lag_ms: _Positive = 5_000
    """Ready means: what is served is at most this much behind the learner. An answer is stale when its items
    or policies are older."""
    stop_timeout_s: _Positive = 20
    """How long a stop waits for requests in progress."""
    outbox_mb: _Positive = 1_024
    """On Kafka: decisions on disk that the brokers do not have yet; beyond it `recommend` gives 503."""
    outbox_hours: Annotated[float, msgspec.Meta(gt=0, le=8_760)] = 24.0
    """On Kafka: how long a decision stays on disk to answer its request id again, at most `outbox_mb`."""
    drain_s: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 10.0
    """On Kafka: how long a stop waits until the brokers have all decisions; the rest is sent next time."""
    snapshot_s: Annotated[float, msgspec.Meta(gt=0)] = 300.0
    """On Kafka: time between two copies of all rows on disk, from which a restart goes on."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which Freshet may be called besides addresses, single words and names of own networks, while
    no token is asked for: a proxy's, a page's. `*` takes any."""
    auth: AuthSettings = AuthSettings()
    insecure: bool = False
    """Listen on other addresses than loopback without asking for tokens."""

    @property
    def hide_ms(self) -> float:
        """For how long after a click its item is hidden, ms; infinite for always.

        Example:
            >>> ServeSettings().hide_ms, ServeSettings(hide_clicked=0.5).hide_ms
            (inf, 43200000.0)
        """
        if isinstance(self.hide_clicked, str):
            return inf if self.hide_clicked == "always" else 0.0
        return self.hide_clicked * _DAY_MS


class ServingSettings(LearningSettings, frozen=True, forbid_unknown_fields=True):
    """The sections that a server reads: what those who learn go by, and its own."""

    sources: tuple[dict[str, Any], ...] = ()
    """Where candidates come from; `index`, `neighbours`, `graph`, `popular` and `fresh` where none
    are given."""
    serve: ServeSettings = ServeSettings()

    @property
    def max_ahead_ms(self) -> int | None:
        """How far an event's `ts` may be ahead of the wall clock, in JOIN as where it is accepted."""
        return self.serve.max_ahead_ms
