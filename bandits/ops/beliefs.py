"""How likely each of many Beta beliefs is to be the largest: Thompson sampling's probabilities, without
draws.

For independent X_i ~ Beta(a_i, b_i) with densities f_i and distribution functions F_i, the probability that i
is the best is

    pi_i = integral of f_i(x) prod over j != i of F_j(x) dx

(Russo et al., "A Tutorial on Thompson Sampling", 2018, section 3). With x = sin^2 t every Beta(a, b) is close
to a normal with deviation 1 / (2 sqrt(a + b)), wherever its mean is. The angle t is cut into panels with 16
Gauss-Legendre nodes each, laid from the right to the left; F_i is 1 less the integral of f_i's interpolating
polynomial, and at a node pi_i gets H f_i / F_i, where H is the product of all F_j.

*Where to stop and how finely to cut.* H is itself the distribution function of the largest, so what lies
left of a point is H there: panels end where that is below 1e-12. And over a panel the sum of all shares must
be the change of H: where it is not to 1e-8, the panel is halved. Its first width is two deviations of the
narrowest belief that it meets, which resolves every f_i.

*Places of a slate.* To take an arm away is to divide H by its F. What was left of the panels may count now,
so more of them are laid, for those who are left: a lower place is as exact as the first, and costs little.

Beside a much finer integral a share above 1e-3 is off by less than 1e-7 of itself up to 1e7 impressions an
arm, and by 1e-5 at 2e9. Whoever draws from these numbers draws with exactly these probabilities.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.polynomial import legendre

from bandits.ops.arrays import Float64, Int64
from stream.kernel import kernel

__all__ = [
    "Arms", "Grid", "arms_of", "best_probabilities", "choose_best", "draw_best", "empty_grid", "lay",
    "share_of_best", "take_away",
]  # fmt: skip

_N = 16  # nodes of a panel
_WIDTH = 2.0  # of a panel, in deviations of the narrowest belief in it
_HALVINGS = 4
_TOLERANCE = 1e-8  # of a panel; rounding alone costs a belief on 1e8 impressions as much
_DRIFT = 1e-6  # of all panels, after arms were taken away: beyond it they are laid afresh
_NEGLIGIBLE = 1e-12  # what may lie left of all panels
_LEAST = 1e-15  # of an F, so that it can be divided by
_DROP = 30.0  # a density ends where it is exp(-30) of its mode
_SERIES = 8.0  # from where Stirling's series below is good to 1e-13
_HALF_PI = 0.5 * math.pi


def _rule(n: int) -> tuple[Float64, Float64, Float64]:
    """Nodes and weights (n,) of Gauss and Legendre on -1..1, and the (n, n) integrals from node k to 1 of the
    polynomial that is 1 at node j and 0 at the others, [j, k]."""
    nodes, weights = legendre.leggauss(n)
    upper = np.empty((n, n))
    for degree in range(n):
        whole = legendre.legint(np.eye(degree + 1)[degree])
        upper[:, degree] = legendre.legval(1.0, whole) - legendre.legval(nodes, whole)
    integrals = np.linalg.solve(legendre.legvander(nodes, n - 1).T, upper.T)
    return nodes, weights, np.ascontiguousarray(integrals, np.float64)


_NODES, _WEIGHTS, _UPPER = _rule(_N)


class Arms(NamedTuple):
    """Arms (n,) and the m different beliefs that they hold.

    `belief` (n,) is an arm's belief, -1 once it is taken away, and `alive` (m,) how many hold one. The
    density over t is exp(p log sin^2 t + q log cos^2 t - log_unit), with a deviation of `width` around its
    mode, and nothing outside `low`..`high`.
    """

    belief: Int64
    alive: Int64
    p: Float64
    q: Float64
    log_unit: Float64
    low: Float64
    high: Float64
    width: Float64


class Grid(NamedTuple):
    """Panels (P,) of nodes (N,), from the right.

    `below` and `rates` (P, m, N) are F and the node's weight times f / F of each belief; `first` (m,) is the
    first panel that a belief lies in, before which they are 1 and 0 and not written. `totals` (P, N) sum
    `rates` over all arms, `logs` (P, N) log F. `above` (2, m): 1 - F at the left edge, and scratch. `edge`
    (1,): the left edge. `n` (1,): number of panels. `weights` (P, N): `totals` times H;
    `total` (2,): their sum, and how far it is from what it should be. `scratch` (3, N).
    """

    below: Float64
    rates: Float64
    first: Int64
    totals: Float64
    logs: Float64
    above: Float64
    edge: Float64
    n: Int64
    weights: Float64
    total: Float64
    scratch: Float64


@kernel
def _stirling(z: float) -> float:
    """log Gamma(z) less (z - 1/2) log z - z + log(2 pi) / 2."""
    if z < _SERIES:
        return math.lgamma(z) - (z - 0.5) * math.log(z) + z - 0.9189385332046727
    w = 1.0 / (z * z)
    return (0.08333333333333333 - w * (0.002777777777777778 - w * (7.936507936507937e-4 - w * (
        5.952380952380953e-4 - w * (8.417508417508417e-4 - w * 0.0019175269175269176))))) / z  # fmt: skip


@kernel
def _beliefs(a: Float64, b: Float64, belief: Int64) -> Int64:
    """Give each arm (n,) the number of its belief; returns an arm (m,) of each."""
    order, different, m = np.argsort(a + 1e-9 * b), np.empty(a.size, np.int64), 0
    for i in order:
        if m == 0 or a[i] != a[different[m - 1]] or b[i] != b[different[m - 1]]:
            different[m] = i
            m += 1
        belief[i] = m - 1
    return different[:m]


@kernel
def arms_of(a: Float64, b: Float64) -> Arms:
    """Arms (n,) that believe Beta(a, b), both at least 1."""
    belief = np.empty(a.size, np.int64)
    different = _beliefs(a, b, belief)
    m = different.size
    alive, p, q, log_unit = np.zeros(m, np.int64), np.empty(m), np.empty(m), np.empty(m)
    low, high, width = np.empty(m), np.empty(m), np.empty(m)
    for k in range(belief.size):
        alive[belief[k]] += 1
    for i in range(m):
        x, y = a[different[i]], b[different[i]]
        n = x + y
        p[i], q[i] = x - 0.5, y - 0.5
        # log Beta(x, y) with the large terms gathered, which would cancel.
        log_unit[i] = p[i] * math.log(x / n) + q[i] * math.log(y / n) - 0.5 * math.log(n) + 0.2257913526447274
        log_unit[i] += _stirling(x) + _stirling(y) - _stirling(n)
        mode = math.atan2(math.sqrt(p[i]), math.sqrt(q[i]))
        # Nowhere is the second derivative of the density's logarithm above -2 (sqrt(p) + sqrt(q))^2.
        reach = math.sqrt(_DROP) / (math.sqrt(p[i]) + math.sqrt(q[i]))
        low[i], high[i] = max(0.0, mode - reach), min(_HALF_PI, mode + reach)
        width[i] = 0.5 / math.sqrt(p[i] + q[i])
    return Arms(belief, alive, p, q, log_unit, low, high, width)


@kernel
def _grid(m: int, room: int) -> Grid:
    """Room for that many panels over m beliefs; none is laid."""
    return Grid(
        np.empty((room, m, _N)), np.empty((room, m, _N)), np.full(m, -1), np.empty((room, _N)),
        np.empty((room, _N)), np.zeros((2, m)), np.empty(1), np.zeros(1, np.int64), np.empty((room, _N)),
        np.zeros(2), np.empty((3, _N)),
    )  # fmt: skip


@kernel
def empty_grid(arms: Arms) -> Grid:
    """A grid without a panel yet, for `lay`."""
    grid = _grid(arms.alive.size, 16)
    _clear(arms, grid)
    return grid


@kernel
def _clear(arms: Arms, grid: Grid) -> None:
    """Start at the right end of who is left."""
    grid.n[0], grid.edge[0], grid.first[:], grid.above[:] = 0, 0.0, -1, 0.0
    for i in range(arms.alive.size):
        if arms.alive[i] > 0:
            grid.edge[0] = max(grid.edge[0], arms.high[i])


@kernel
def _roomier(grid: Grid) -> Grid:
    """The same with room for twice as many panels."""
    n = grid.n[0]
    out = _grid(grid.first.size, 2 * n)
    out.below[:n], out.rates[:n], out.totals[:n], out.logs[:n] = (
        grid.below,
        grid.rates,
        grid.totals,
        grid.logs,
    )
    out.first[:], out.above[:], out.edge[:], out.n[:] = grid.first, grid.above, grid.edge, grid.n
    return out


@kernel
def _largest_below(arms: Arms, above: Float64, t: float) -> float:
    """H at an edge `t`, where 1 - F is `above` (m,)."""
    h = 1.0
    for i in range(arms.alive.size):
        if arms.alive[i] > 0 and above[i] > 0.0:
            h *= (_LEAST if t < arms.low[i] else max(1.0 - above[i], _LEAST)) ** arms.alive[i]
            if h < _NEGLIGIBLE:
                return 0.0
    return h


@kernel
def _fill_panel(arms: Arms, grid: Grid, left: float, half: float) -> float:
    """Write the panel number `n`, over `left` .. `left` + 2 `half`; returns the sum of all shares in it."""
    p = grid.n[0]
    totals, logs, after = grid.totals[p], grid.logs[p], grid.above[1]
    sines, cosines, product = grid.scratch[0], grid.scratch[1], grid.scratch[2]
    density = np.empty(_N)
    for k in range(_N):
        t = left + half * (_NODES[k] + 1.0)
        sines[k], cosines[k] = 2.0 * math.log(math.sin(t)), 2.0 * math.log(math.cos(t))
    totals[:], logs[:], product[:] = 0.0, 0.0, 1.0
    n_factors = 0
    for i in range(arms.alive.size):
        count = arms.alive[i]
        after[i] = grid.above[0, i]
        if count == 0 or arms.high[i] <= left:
            continue
        below, rates, q = grid.below[p, i], grid.rates[p, i], grid.above[0, i]
        x, y, z = arms.p[i], arms.q[i], arms.log_unit[i]
        for k in range(_N):
            density[k] = half * math.exp(x * sines[k] + y * cosines[k] - z)
            below[k] = 1.0 - q
        for j in range(_N):
            value = density[j]
            q += _WEIGHTS[j] * value
            for k in range(_N):
                below[k] -= value * _UPPER[j, k]
        after[i] = q
        for k in range(_N):
            below[k] = max(below[k], _LEAST)
            rates[k] = _WEIGHTS[k] * density[k] / below[k]
            totals[k] += count * rates[k]
        # A logarithm takes as long as the rest: as many factors together as cannot underflow.
        if count > 1:
            for k in range(_N):
                logs[k] += count * math.log(below[k])
            continue
        for k in range(_N):
            product[k] *= below[k]
        n_factors += 1
        if n_factors % 16 == 0:
            for k in range(_N):
                logs[k] += math.log(product[k])
                product[k] = 1.0
    mass = 0.0
    for k in range(_N):
        logs[k] += math.log(product[k])
        mass += math.exp(logs[k]) * totals[k]
    return mass


@kernel
def _lay_panel(arms: Arms, grid: Grid, before: float) -> float:
    """Lay one more panel; H is `before` at its right edge and what is returned at its left one."""
    right = grid.edge[0]
    width, after = right, 0.0
    for i in range(arms.alive.size):
        if arms.alive[i] > 0:
            width = min(width, max(0.0, right - arms.high[i]) + _WIDTH * arms.width[i])
    left = right
    for _ in range(_HALVINGS + 1):
        left = right - width
        mass = _fill_panel(arms, grid, left, 0.5 * width)
        after = _largest_below(arms, grid.above[1], left)
        if abs(before - after - mass) < _TOLERANCE:
            break
        width *= 0.5
    for i in range(arms.alive.size):
        if grid.first[i] < 0 and arms.alive[i] > 0 and arms.high[i] > left:
            grid.first[i] = grid.n[0]
    grid.above[0] = grid.above[1]
    grid.edge[0] = left
    grid.n[0] += 1
    return after


@kernel
def _extend(arms: Arms, grid: Grid) -> Grid:
    """Lay the panels that those who are left still need, and weigh all."""
    h = _largest_below(arms, grid.above[0], grid.edge[0])
    while h > _NEGLIGIBLE and grid.edge[0] > 0.0:
        if grid.n[0] == grid.totals.shape[0]:
            grid = _roomier(grid)
        h = _lay_panel(arms, grid, h)
    grid.total[0] = 0.0
    for p in range(grid.n[0]):
        for k in range(_N):
            grid.weights[p, k] = math.exp(grid.logs[p, k]) * grid.totals[p, k]
            grid.total[0] += grid.weights[p, k]
    grid.total[1] = grid.total[0] + h - 1.0
    return grid


@kernel
def lay(arms: Arms, grid: Grid) -> Grid:
    """Make the grid fit for whoever is left; call it before `draw_best` and `share_of_best`."""
    grid = _extend(arms, grid)
    if abs(grid.total[1]) > _DRIFT and grid.n[0] > 0 and arms.belief.min() < 0:
        _clear(arms, grid)
        grid = _extend(arms, grid)
    return grid


@kernel
def _first(grid: Grid, belief: int) -> int:
    """The first panel that a belief lies in, or the number of panels."""
    return int(grid.first[belief] if grid.first[belief] >= 0 else grid.n[0])


@kernel
def share_of_best(grid: Grid, belief: int) -> float:
    """The probability that an arm of this belief is the best of those that are left."""
    share = 0.0
    for p in range(_first(grid, belief), grid.n[0]):
        for k in range(_N):
            if grid.weights[p, k] > 0.0:
                share += grid.weights[p, k] * (grid.rates[p, belief, k] / grid.totals[p, k])
    return float(share / grid.total[0])


@kernel
def _drawn_node(grid: Grid, left: float) -> tuple[int, int, float]:
    """Panel and node where the running sum of weights passes `left`, and what is left of it there."""
    panel, node = -1, -1
    for p in range(grid.n[0]):
        for k in range(_N):
            weight = grid.weights[p, k]
            if weight > 0.0:
                panel, node = p, k
                if left < weight:
                    return panel, node, left
                left -= weight
    return panel, node, 0.0


@kernel
def _drawn_belief(arms: Arms, grid: Grid, left: float) -> tuple[int, int]:
    """A belief, and which of the arms that hold it."""
    panel, node, left = _drawn_node(grid, left)
    belief, member = -1, 0
    if panel < 0:
        return belief, member
    # At a node the sum of rates stands for its weight.
    left *= grid.totals[panel, node] / grid.weights[panel, node]
    for i in range(arms.alive.size):
        rate = grid.rates[panel, i, node] if _first(grid, i) <= panel else 0.0
        if arms.alive[i] > 0 and rate > 0.0:
            belief, member = i, min(int(left / rate), arms.alive[i] - 1)
            left -= arms.alive[i] * rate
            if left < 0.0:
                break
    return belief, member


@kernel
def draw_best(arms: Arms, grid: Grid, u: float) -> int:
    """An arm that is left, drawn by a uniform number with the probabilities of `share_of_best`; -1 without
    one."""
    belief, member = _drawn_belief(arms, grid, u * grid.total[0])
    for i in range(arms.belief.size):
        if arms.belief[i] == belief and belief >= 0:
            if member == 0:
                return i
            member -= 1
    return -1


@kernel
def take_away(arms: Arms, grid: Grid, arm: int) -> None:
    """Take an arm, which is not yet taken away, out of all sums."""
    belief = arms.belief[arm]
    arms.belief[arm] = -1
    arms.alive[belief] -= 1
    for p in range(_first(grid, belief), grid.n[0]):
        for k in range(_N):
            rest = grid.totals[p, k] - grid.rates[p, belief, k]
            if rest < 1e-3 * grid.totals[p, k]:  # too little is left to trust a difference
                rest = 0.0
                for i in range(arms.alive.size):
                    if arms.alive[i] > 0 and _first(grid, i) <= p:
                        rest += arms.alive[i] * grid.rates[p, i, k]
            grid.totals[p, k] = rest
            grid.logs[p, k] -= math.log(grid.below[p, belief, k])


@kernel
def best_probabilities(a: Float64, b: Float64) -> Float64:
    """The probability (n,) of each of n arms with beliefs Beta(a, b) to be the best; they sum to 1.

    Example:
        >>> best_probabilities(np.array([2.0, 1.0]), np.ones(2)).round(6).tolist()
        [0.666667, 0.333333]
    """
    arms = arms_of(a, b)
    grid = lay(arms, empty_grid(arms))
    shares = np.empty(arms.alive.size)
    for i in range(shares.size):
        shares[i] = share_of_best(grid, i)
    return shares[arms.belief]


@kernel
def choose_best(a: Float64, b: Float64, u: float) -> tuple[int, float]:
    """An arm drawn by a uniform number, and its probability; (-1, 0) without an arm."""
    arms = arms_of(a, b)
    grid = lay(arms, empty_grid(arms))
    arm = draw_best(arms, grid, u)
    return (arm, share_of_best(grid, arms.belief[arm])) if arm >= 0 else (-1, 0.0)
