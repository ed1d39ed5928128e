"""One rule that turns scores into probabilities, shared by every policy that scores its candidates.

For scores s (n,), -inf meaning "not a candidate (any more)":

* if some scores are +inf, those share everything equally;
* else the best `top` scores, and whatever ties with the last of them, share a softmax of s / tau, with
  tau = temperature * (width of the best), of which `spread` is dealt out equally among them;
* of all that, `uniform` is dealt out equally among all candidates.

``top=1`` is arg-max with ties drawn at random. The rule depends on the set of candidates only, never on their
order.
"""

from __future__ import annotations

import math

import numpy as np

from bandits.ops.arrays import Float64
from stream.kernel import kernel

__all__ = ["Survey", "choose", "draw_index", "rule_probabilities", "share", "survey"]

Survey = tuple[int, int, float, float, float, float, int]
"""(alive, infinite, best, cut, tau, total, members): what `share` needs to know of all scores."""


@kernel
def survey(scores: Float64, widths: Float64, top: int, temperature: float, few: Float64) -> Survey:
    """Look at all scores once or twice; `few` (top,) is scratch.

    Returns the number of candidates, of infinite ones, the best finite score, the score at the cut, tau, the
    softmax's denominator and the number of members above the cut.
    """
    alive, infinite, filled = 0, 0, 0
    best, width = -np.inf, 0.0
    for i in range(scores.size):
        s = scores[i]
        if s == -np.inf:
            continue
        alive += 1
        if s == np.inf:
            infinite += 1
            continue
        if s > best or (s == best and widths[i] > width):
            best, width = s, widths[i]
        if filled < top or s > few[top - 1]:
            j = min(filled, top - 1)
            while j > 0 and few[j - 1] < s:
                few[j] = few[j - 1]
                j -= 1
            few[j] = s
            filled = min(filled + 1, top)
    if alive == 0 or infinite > 0:
        return alive, infinite, best, best, 0.0, 1.0, 1
    tau = temperature * width
    cut = few[filled - 1] if tau > 0.0 else best
    total, members = 0.0, 0
    for i in range(scores.size):
        if scores[i] >= cut:
            members += 1
            total += math.exp((scores[i] - best) / tau) if tau > 0.0 else 1.0
    return alive, infinite, best, cut, tau, total, members


@kernel
def share(score: float, seen: Survey, spread: float, uniform_share: float) -> float:
    """Probability of one candidate with this score, given the survey of all."""
    alive, infinite, best, cut, tau, total, members = seen
    if score == -np.inf or alive == 0:
        return 0.0
    p = 0.0
    if infinite > 0:
        p = 1.0 / infinite if score == np.inf else 0.0
    elif score >= cut:
        e = math.exp((score - best) / tau) if tau > 0.0 else 1.0
        p = (1.0 - spread) * e / total + spread / members
    return (1.0 - uniform_share) * p + uniform_share / alive


@kernel
def draw_index(
    scores: Float64, seen: Survey, spread: float, uniform_share: float, u: float, outside: int = 0
) -> int:
    """Index drawn with `share`'s probabilities by a uniform number; -1 without a candidate.

    `size` of the scores stands for one of `outside` candidates without a score, which `seen` counts as alive.
    """
    left, chosen = u, -1
    for i in range(scores.size):
        if scores[i] == -np.inf:
            continue
        p = share(scores[i], seen, spread, uniform_share)
        if p > 0.0:
            chosen = i
            left -= p
            if left < 0.0:
                return chosen
    return int(scores.size) if outside > 0 else chosen


@kernel
def choose(
    scores: Float64,
    widths: Float64,
    top: int,
    temperature: float,
    spread: float,
    uniform_share: float,
    u: float,
) -> tuple[int, float]:
    """Index drawn by a uniform number under the rule, and its probability; (-1, 0) without a candidate."""
    seen = survey(scores, widths, top, temperature, np.empty(top))
    index = draw_index(scores, seen, spread, uniform_share, u)
    if index < 0:
        return index, 0.0
    return index, share(scores[index], seen, spread, uniform_share)


@kernel
def rule_probabilities(
    scores: Float64, widths: Float64, top: int, temperature: float, spread: float, uniform_share: float
) -> Float64:
    """Probabilities (n,) of all candidates under the rule; they sum to 1, or to 0 without a candidate.

    Example:
        >>> s, w = np.array([1.0, 1.0, 0.5, -np.inf]), np.ones(4)
        >>> rule_probabilities(s, w, 1, 0.0, 0.0, 0.3).round(3).tolist()
        [0.45, 0.45, 0.1, 0.0]
        >>> rule_probabilities(np.array([9.0, np.inf]), w[:2], 5, 0.1, 0.0, 0.0).tolist()
        [0.0, 1.0]
    """
    seen = survey(scores, widths, top, temperature, np.empty(top))
    out = np.empty(scores.size)
    for i in range(scores.size):
        out[i] = share(scores[i], seen, spread, uniform_share)
    return out
