"""Impressions a second through a detector of drift an arm, 10,000 arms, beside a plain loop of river."""

from __future__ import annotations

import argparse
import json
from time import process_time
from typing import Any

import numpy as np
from river.drift import ADWIN

from bandits.base import Context
from bandits.drift import DriftSettings, DriftWatch
from bandits.worlds import row_block
from benchmarks.quality.drift import closed
from learners.rows import RowBlock

__all__ = ["run"]

_ARMS, _BLOCK, _RATE = 10_000, 2_000, 0.05
_NOBODY = Context(np.zeros(1, np.int32), np.ones(1, np.float32))


def _blocks(n: int, seed: int) -> list[RowBlock]:
    """Windows that close, of slates of ten places, of any arms."""
    rng, slates = np.random.default_rng(seed), _BLOCK // 10
    return [
        closed(
            row_block(
                [_NOBODY] * slates,
                rng.integers(0, _ARMS, (slates, 10)).astype(np.int32),
                (rng.random((slates, 10)) < _RATE).astype(float),
            )
        )
        for _ in range(n // _BLOCK)
    ]


def _watched(watch: DriftWatch, blocks: list[RowBlock]) -> float:
    start = process_time()
    for block in blocks:
        for _ in watch.pieces(block):
            pass
    return len(blocks) * _BLOCK / (process_time() - start)


def _plain(detectors: list[Any], blocks: list[RowBlock]) -> float:
    """As the page of river has it, over the same numbers."""
    start, alarms = process_time(), 0
    for block in blocks:
        for row, reward in zip(block.items.tolist(), block.rewards.tolist(), strict=True):
            detectors[row].update(reward)
            alarms += detectors[row].drift_detected
    return len(blocks) * _BLOCK / (process_time() - start)


def run(quick: bool) -> list[dict[str, Any]]:
    """Both in turns, the best of each, once all arms have values."""
    stretches, n = (2, 200_000) if quick else (8, 1_000_000)
    watch = DriftWatch(DriftSettings(detector="adwin", detect_after=0))
    make: Any = ADWIN
    detectors = [make() for _ in range(_ARMS)]
    best, peer = 0.0, 0.0
    for stretch in range(stretches + 1):  # the first makes the arms
        blocks = _blocks(n, stretch)
        ours, theirs = _watched(watch, blocks), _plain(detectors, blocks)
        if stretch:
            best, peer = max(best, ours), max(peer, theirs)
    row = {"name": "detectors", "value": best, "unit": "impressions/s", "arms": _ARMS, "detector": "adwin"}
    return [{**row, "peer": "a plain loop of river", "peer_value": peer, "ratio": best / peer}]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    for line in run(parser.parse_args().quick):
        print(json.dumps(line))
