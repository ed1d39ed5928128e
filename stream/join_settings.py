"""What JOIN can be told, and what it counts."""

from __future__ import annotations

import msgspec

__all__ = ["OUTCOMES", "JoinSettings"]

OUTCOMES = {
    "shown": "slates that count as shown, whoever decided them",
    "foreign": "of these, slates without a decision of ours",
    "upgraded": "foreign slates whose decision came after them",
    "joined": "clicks that found their place, once more when their slate is upgraded",
    "organic": "clicks taught without a decision behind them",
    "correction": "clicks that replaced an older one of the same identity",
    "superseded": "clicks dropped because a newer one of the same identity was there",
    "duplicate": "events seen before",
    "conflicting_decision": "decisions under a request id that another decision holds",
    "late": "events older than the watermark less the allowed lateness",
    "orphan": "clicks whose slate never came",
    "out_of_window": "clicks before their slate by more than the allowed skew, or after its window",
    "not_in_slate": "clicks on an item that the slate does not hold",
    "unknown_kind": "clicks of a kind that has no weight",
    "unrewarded": "organic clicks of no value",
    "excess": "clicks beyond the bound of one request",
    "closed": "slates whose window is over",
    "expired_decision": "decisions that were never shown",
    "forgotten": "events and slates dropped because their user asked for it",
    "items": "items as last sent",
    "forgets": "users to erase",
}
"""The counters of a `Joiner` and what each counts."""


_MOST_KINDS = 127  # numbered in 8 bits


class JoinSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How outcomes are joined; times in milliseconds.

    Example:
        >>> JoinSettings(weights={"click": 1.0, "purchase": 5.0}, cap=6.0).window_ms
        1800000
    """

    window_ms: int = 30 * 60_000
    """How long after a slate a click still counts for it."""
    skew_ms: int = 5_000
    """How long before its slate a click may seem to come and still count: two clocks wrote the times."""
    lateness_ms: int = 10 * 60_000
    """How far behind the watermark an event may be and still be learned."""
    weights: dict[str, float] = msgspec.field(default_factory=lambda: {"click": 1.0})
    """What a click of each kind is worth; other kinds are counted and dropped."""
    cap: float = 1.0
    """The largest reward of one shown item; the least is -cap, or the least weight if that lies below."""
    max_pending: int = 1_000_000
    """Slates that may wait for their clicks, about 2 kB each; at the bound callers are answered 429. Needed:
    slates a second times (window + lateness); the default is 400 a second for 40 minutes."""
    max_pending_mb: int = 8_192
    """Megabytes that these slates may take, their contexts and features included; likewise."""
    max_seen: int = 10_000_000
    """Clicks and identities remembered, about 150 bytes each; at the bound callers are answered 429."""
    max_clicks: int = 2_000
    """Clicks kept for one request."""
    forget_horizon_ms: int = 30 * 86_400_000
    """How long a forget is remembered, and with it what is delivered again."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that a click may have, in the order of their numbers: "click" first, weighed or not.

        Example:
            >>> JoinSettings(weights={"view": 0.0, "buy": 5.0}).kinds
            ('click', 'buy', 'view')
        """
        return ("click", *sorted(self.weights.keys() - {"click"}))

    @property
    def floor(self) -> float:
        """The least reward of one shown item."""
        return min((-self.cap, *self.weights.values()))

    def __post_init__(self) -> None:
        for name in (
            "window_ms",
            "skew_ms",
            "lateness_ms",
            "forget_horizon_ms",
            "max_pending",
            "max_pending_mb",
            "max_seen",
            "max_clicks",
        ):
            least = 0 if name.endswith("_ms") else 1
            if getattr(self, name) < least:
                msg = f"join.{name}: expected at least {least}, got {getattr(self, name)}"
                raise ValueError(msg)
        if not 0 < self.cap < float("inf"):
            msg = f"join.cap: expected a finite number above 0, got {self.cap}"
            raise ValueError(msg)
        if len(self.weights) >= _MOST_KINDS:
            msg = f"join.weights: expected fewer than {_MOST_KINDS} kinds, got {len(self.weights)}"
            raise ValueError(msg)
        for kind, weight in self.weights.items():
            if not abs(weight) <= 1e6:
                msg = f"join.weights: expected numbers up to 1e6 either way, got {weight} for {kind!r}"
                raise ValueError(msg)
