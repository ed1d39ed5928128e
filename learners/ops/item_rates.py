"""Fading counts of clicks and impressions, one record an item, and the ranker's features of them.

Each record carries the time of its newest event and what its counts were then; they fade when they are next
looked at. So a record can be copied as it is, and a read needs one power of two for all half-lives: each is a
whole number of times shorter than the longest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from learners.ops.prefetch import prefetch_row
from learners.ops.table import mark
from stream.kernel import kernel
from stream.ops.kinds import CLICK, ORGANIC, SHOWN

__all__ = ["N_COUNTS", "N_RATES", "add_rates", "rate_features"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

N_COUNTS = 16
"""Numbers of a record, 128 bytes: two lines of the cache, which the processor brings together."""
N_RATES = 14
"""Features of an item."""

# Where they stand: the time of the newest event and of the first (ms, 0 while there was none), both plus 1;
# fading clicks and impressions at five half-lives; signals, dislikes; impressions, clicks.
_AT, _FIRST, _CLICKS, _SHOWN, _SIGNALS, _DISLIKES, _TOTAL_SHOWN, _TOTAL_CLICKS = 0, 1, 2, 7, 12, 13, 14, 15

_LONGEST_MS = 16 * 86_400_000.0
_DAY, _HOUR = 2, 0  # which of the five half-lives
_FLOOR = 0.5
"""Added to a count before its logarithm, as `popular` does: a first click is worth a factor of three."""
_OWN = 10.0
"""Impressions that the overall rate counts for in an item's own: with so many an item speaks for itself as
loudly as all others. About one short list."""


@kernel
def _fade(share: float, factors: Float64) -> None:
    """What is left after `share` of 16 days at half-lives of 1 h, 6 h, 1 d, 4 d and 16 d: (5,)."""
    sixteen = 2.0**-share
    four = sixteen * sixteen
    four *= four
    one = four * four
    one *= one
    six_hours = one * one
    six_hours *= six_hours
    hour = six_hours * six_hours
    hour *= hour * hour
    # Below about 2^-1022 arithmetic is many times slower, and nobody can tell such a count from none.
    factors[0] = hour if hour > 1e-30 else 0.0
    factors[1] = six_hours if six_hours > 1e-30 else 0.0
    factors[2] = one if one > 1e-30 else 0.0
    factors[3] = four if four > 1e-30 else 0.0
    factors[4] = sixteen if sixteen > 1e-30 else 0.0


@kernel
def _bring(record: Float64, ts: int, factors: Float64) -> None:
    """Let a record fade up to `ts`; `factors` (5,) are then what one more event at `ts` counts."""
    if record[_AT] == 0.0:
        record[_AT] = record[_FIRST] = ts + 1.0
    record[_FIRST] = min(record[_FIRST], ts + 1.0)
    passed = (ts + 1.0) - record[_AT]
    if passed < 0.0:
        # Blocks are in order of arrival: an older event has faded already, and time does not go back.
        _fade(-passed / _LONGEST_MS, factors)
        return
    if passed > 0.0:
        _fade(passed / _LONGEST_MS, factors)
        for h in range(5):
            record[_CLICKS + h] *= factors[h]
            record[_SHOWN + h] *= factors[h]
        record[_SIGNALS] *= factors[_DAY]
        record[_DISLIKES] *= factors[4]
        record[_AT] = ts + 1.0
    factors[:] = 1.0


@kernel
def add_rates(
    kind: npt.NDArray[np.int8],
    slate: Int32,
    start: Int32,
    items: Int32,
    item: Int32,
    first: npt.NDArray[np.bool_],
    reward: Float64,
    ts: Int64,
    records: Float64,
    totals: Int64,
    flags: npt.NDArray[np.uint8],
    marked: Int32,
    size: Int64,
) -> None:
    """Add a block's impressions, clicks, signals and dislikes, in order.

    `records` (capacity, 16); `totals` (2,): impressions and clicks of all items. A click without a decision
    counts as an impression of its own in rates: somebody met the item, and clicked.
    """
    factors = np.ones(5)
    for o in range(kind.size):
        if kind[o] == SHOWN:
            for n in range(start[slate[o]], start[slate[o] + 1]):
                prefetch_row(records, items[min(n + 12, items.size - 1)])
                row = items[n]
                if row < 0:
                    continue
                _bring(records[row], ts[o], factors)
                for h in range(5):
                    records[row, _SHOWN + h] += factors[h]
                records[row, _TOTAL_SHOWN] += 1.0
                totals[0] += 1
                mark(flags, marked, size, row)
            continue
        row = item[o]
        if row < 0 or not (kind[o] == ORGANIC or kind[o] == CLICK):
            continue
        # Of a place that is clicked again only what changes its reward for the first time counts.
        if reward[o] != 0.0 and kind[o] == CLICK and not first[o]:
            continue
        _bring(records[row], ts[o], factors)
        if reward[o] > 0.0:
            for h in range(5):
                records[row, _CLICKS + h] += factors[h]
                if kind[o] == ORGANIC:
                    records[row, _SHOWN + h] += factors[h]
            records[row, _TOTAL_CLICKS] += 1.0
            totals[1] += 1
            totals[0] += 1 if kind[o] == ORGANIC else 0
        elif reward[o] == 0.0:
            records[row, _SIGNALS] += factors[_DAY]
        else:
            records[row, _DISLIKES] += factors[4]
        mark(flags, marked, size, row)


@kernel
def rate_features(records: Float64, used: int, totals: Int64, rows: Int32, now_ms: int, out: Float32) -> None:
    """Features (n, 14) of item `rows` (n,) at `now_ms`; an item that nobody met has the overall rate.

    In order: log click rate at the five half-lives; log clicks at 1 h, 6 h and 16 d; trends of an hour
    against a day and of a day against 16 days; log signals; log times shown; log hours since it was first
    met, NaN if it never was; whether it never was.
    """
    # 1 in 20 before anything is known: nobody's rate, only the start of an average.
    overall = (totals[1] + 1.0) / (totals[0] + 20.0)
    factors = np.empty(5)
    clicks, nothing = np.empty(5), np.zeros(N_COUNTS)
    for n in range(rows.size):
        ahead = rows[min(n + 12, rows.size - 1)]
        if 0 <= ahead < used:
            prefetch_row(records, ahead)
        record = records[rows[n]] if 0 <= rows[n] < used else nothing
        _fade(max(now_ms + 1.0 - record[_AT], 0.0) / _LONGEST_MS, factors)
        # A dislike counts as the impressions that one click makes up for, so it always lowers a rate.
        disliked = record[_DISLIKES] * factors[4] / overall
        for h in range(5):
            clicks[h] = record[_CLICKS + h] * factors[h]
            shown = record[_SHOWN + h] * factors[h] + disliked
            out[n, h] = np.log((clicks[h] + _OWN * overall) / (shown + _OWN))
        out[n, 5] = np.log(clicks[0] + _FLOOR)
        out[n, 6] = np.log(clicks[1] + _FLOOR)
        out[n, 7] = np.log(clicks[4] + _FLOOR)
        # Against what the longer half-life says that the shorter one would hold if nothing changed.
        out[n, 8] = np.log((clicks[_HOUR] + _FLOOR) / (clicks[_DAY] / 24.0 + _FLOOR))
        out[n, 9] = np.log((clicks[_DAY] + _FLOOR) / (clicks[4] / 16.0 + _FLOOR))
        out[n, 10] = np.log(record[_SIGNALS] * factors[_DAY] + _FLOOR)
        out[n, 11] = np.log(record[_TOTAL_SHOWN] + 1.0)
        is_new = record[_AT] == 0.0
        hours = max(now_ms + 1.0 - record[_FIRST], 0.0) / 3_600_000.0
        out[n, 12] = np.nan if is_new else np.log(hours + 1.0)
        out[n, 13] = 1.0 if is_new else 0.0
