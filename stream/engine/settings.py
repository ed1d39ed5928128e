"""Settings of the local engine and of what it keeps on disk."""

from __future__ import annotations

from typing import Annotated

import msgspec

__all__ = ["EngineSettings"]

_Positive = Annotated[int, msgspec.Meta(ge=1)]


class EngineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the learner commits, snapshots and forgets; every bound on disk stands here."""

    tick_ms: _Positive = 1_000
    """Time between ticks, on both clocks."""
    batch_records: _Positive = 1_024
    """Records taken from one source for one commit, at most."""
    batch_bytes: _Positive = 4 << 20
    """Bytes taken from one source for one commit, at most (a single record may be larger)."""
    idle_ms: _Positive = 20
    """Longest wait without a nudge, and the time between heartbeats."""
    snapshot_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    """Time between snapshots while something is learned."""
    forget_s: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    """Least time between two snapshots taken early because a user was forgotten."""
    snapshot_mb: _Positive = 256
    """Bytes of deltas after which a snapshot is written early."""
    keep_days: Annotated[float, msgspec.Meta(gt=0, le=36_500)] = 7.0
    """Age at which events and decisions are dropped, once two snapshots hold what they taught."""
    keep_mb: _Positive = 4_096
    """Size of one worker's file above which the oldest records are dropped early, likewise."""
    max_mb: _Positive = 16_384
    """Size of one worker's file at which further events are refused."""
    max_letters: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    """Dead letters kept by each writing process."""
    max_letter_mb: Annotated[int, msgspec.Meta(ge=0)] = 64
    """Bytes of dead letters kept by each writing process."""
    letter_days: Annotated[float, msgspec.Meta(gt=0, le=36_500)] = 7.0
    """Age at which dead letters are dropped: nobody can say whose words are in them."""
