"""Building a slate place by place, with the probability of each item at its place given the items above.

At each place the ranker's choice is the first of `ranked` not yet placed. With probability epsilon the policy
draws from its candidates not yet placed; where it has none epsilon is 0, where the ranker has none it is 1.
So

    propensity = (1 - epsilon) [item is the ranker's choice] + epsilon pi(item | above)

and these sum to 1 over all items at a place. Lane 0 of a place decides, lane 1 draws (`bandits.ops.draws`).
"""

from __future__ import annotations

import numpy as np

from bandits.ops.arrays import Bool, Float64, Int32
from bandits.ops.beliefs import arms_of, draw_best, empty_grid, lay, share_of_best, take_away
from bandits.ops.choice import Survey, draw_index, share, survey
from bandits.ops.draws import uniform
from bandits.ops.graph import find_member
from bandits.ops.inverse_gap import draw_by_gap, gap_share, safe_losses, survey_gaps
from stream.kernel import kernel

__all__ = ["fill_by_beliefs", "fill_by_gap", "fill_by_rule"]


@kernel
def _index(values: Int32, wanted: int) -> int:
    for i in range(values.size):
        if values[i] == wanted:
            return i
    return -1


@kernel
def _next_ranked(ranked: Int32, first: int, items: Int32, placed: int) -> int:
    """Position in `ranked`, from `first` on, of the first item not yet placed; its length if there is
    none."""
    while first < ranked.size and _index(items[:placed], ranked[first]) >= 0:
        first += 1
    return first


@kernel
def _with_outside(seen: Survey, outside: int) -> Survey:
    """The survey with candidates that have no score counted as alive."""
    return seen[0] + outside, seen[1], seen[2], seen[3], seen[4], seen[5], seen[6]


@kernel
def fill_by_rule(
    ranked: Int32,
    candidates: Int32,
    scores: Float64,
    widths: Float64,
    top: int,
    temperature: float,
    spread: float,
    uniform_share: float,
    outside: int,
    strangers: Int32,
    epsilon: float,
    key: np.uint64,
    given: Int32,
    items: Int32,
    propensities: Float64,
    explored: Bool,
) -> int:
    """Fill `items` (k,), `propensities` (k,), `explored` (k,); returns how many places were filled.

    `given` (k,) are items to price instead of drawing, or empty. `scores` is used up: placed candidates
    become -inf. `outside` further items share in what `uniform_share` deals out to everybody; `strangers` are
    the first of them in an order drawn at random, as many as there are places or as there are of them.
    """
    few, position, n_met = np.empty(top), 0, 0
    seen = _with_outside(survey(scores, widths, top, temperature, few), outside)
    for place in range(items.size):
        position = _next_ranked(ranked, position, items, place)
        choice = ranked[position] if position < ranked.size else -1
        item, index, pi, eps = choice, -1, 0.0, epsilon
        if seen[0] == 0:
            eps = 0.0
        elif choice < 0:
            eps = 1.0
        dealt = 1.0 if seen[0] == outside else uniform_share
        if given.size > 0:
            item = given[place]
        elif eps > 0.0 and uniform(key, place, 0) < eps:
            index = draw_index(scores, seen, spread, dealt, uniform(key, place, 1), outside)
            if index == scores.size and n_met < strangers.size:
                item = strangers[n_met]
                n_met += 1
            else:
                item = candidates[index]
            explored[place] = True
        if item < 0:
            return place
        index = find_member(candidates, item)
        if index >= 0 and scores[index] != -np.inf:
            score, n_infinite = scores[index], seen[1]
            pi = share(score, seen, spread, dealt)
            scores[index] = -np.inf
            # Whoever had no share of the top leaves it as it is.
            if score == np.inf or (n_infinite == 0 and score >= seen[3]):
                seen = _with_outside(survey(scores, widths, top, temperature, few), outside)
            else:
                seen = _with_outside(seen, -1)
        elif index < 0 and outside > 0:
            pi = dealt / seen[0]
            outside -= 1
            seen = _with_outside(seen, -1)
        items[place] = item
        propensities[place] = (1.0 - eps) * (item == choice) + eps * pi
    return int(items.size)


@kernel
def fill_by_beliefs(
    ranked: Int32,
    candidates: Int32,
    a: Float64,
    b: Float64,
    epsilon: float,
    key: np.uint64,
    given: Int32,
    items: Int32,
    propensities: Float64,
    explored: Bool,
) -> int:
    """As `fill_by_rule`, for a policy that takes each candidate with the probability that it is the best of
    those not yet placed by its belief Beta(a, b) (`bandits.ops.beliefs`)."""
    position, n_alive = 0, candidates.size
    arms = arms_of(a, b)
    grid = empty_grid(arms)
    for place in range(items.size):
        position = _next_ranked(ranked, position, items, place)
        choice = ranked[position] if position < ranked.size else -1
        item, eps = choice, epsilon
        if n_alive == 0:
            eps = 0.0
        elif choice < 0:
            eps = 1.0
        if eps > 0.0:
            grid = lay(arms, grid)
        if given.size > 0:
            item = given[place]
        elif eps > 0.0 and uniform(key, place, 0) < eps:
            item = candidates[draw_best(arms, grid, uniform(key, place, 1))]
            explored[place] = True
        if item < 0:
            return place
        index, pi = find_member(candidates, item), 0.0
        if index >= 0 and arms.belief[index] >= 0:
            if eps > 0.0:
                pi = share_of_best(grid, arms.belief[index])
            take_away(arms, grid, index)
            n_alive -= 1
        items[place] = item
        propensities[place] = (1.0 - eps) * (item == choice) + eps * pi
    return int(items.size)


@kernel
def fill_by_gap(
    ranked: Int32,
    candidates: Int32,
    losses: Float64,
    gamma: float,
    fast: bool,
    epsilon: float,
    key: np.uint64,
    given: Int32,
    items: Int32,
    propensities: Float64,
    explored: Bool,
) -> int:
    """As `fill_by_rule`, for a policy that draws by predicted losses from those not yet placed
    (`bandits.ops.inverse_gap`): at each place K, the best and what is left for it are those of the rest."""
    position = 0
    left = safe_losses(losses)
    seen = survey_gaps(left, gamma, fast)
    for place in range(items.size):
        position = _next_ranked(ranked, position, items, place)
        choice = ranked[position] if position < ranked.size else -1
        item, eps = choice, epsilon
        if seen[0] == 0:
            eps = 0.0
        elif choice < 0:
            eps = 1.0
        if given.size > 0:
            item = given[place]
        elif eps > 0.0 and uniform(key, place, 0) < eps:
            item = candidates[draw_by_gap(left, seen, gamma, fast, uniform(key, place, 1))]
            explored[place] = True
        if item < 0:
            return place
        index, pi = find_member(candidates, item), 0.0
        if index >= 0 and left[index] >= 0.0:
            pi = gap_share(left[index], seen, gamma, fast)
            left[index] = -1.0
            # Everybody's share depends on how many are left, so all are looked at again.
            seen = survey_gaps(left, gamma, fast)
        items[place] = item
        propensities[place] = (1.0 - eps) * (item == choice) + eps * pi
    return int(items.size)
