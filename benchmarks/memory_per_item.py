"""What one more item costs a serving process: 64 dimensions, vectors, graph links, edges, popularity, names,
all of it.

Two systems are started, one over a folder with few items and one over a folder with many, each item with a
group, a title and an impression. The worker's private memory (Pss of anonymous pages) is read once it is
ready and its index has settled; the difference is divided by the difference in items.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks._folders import settings_for
from benchmarks.restart_1m import fill, wait_for_index
from freshet.run import EmbeddedSystem
from stream.clock import WallClock

__all__ = ["run"]

_LONGEST_S = 1_200.0
_SETTLED = 0.01


def _anonymous_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:")) << 10


def _settled(pid: int, clock: WallClock) -> int:
    """Memory once it has moved by less than a hundredth in two seconds."""
    before = 0
    while True:
        now = _anonymous_bytes(pid)
        if before and abs(now - before) <= _SETTLED * before:
            return now
        before = now
        clock.sleep_s(2.0)


def _worker_bytes(n_items: int) -> int:
    clock = WallClock()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        fill(data, n_items)
        system = EmbeddedSystem(data, settings_for(), clock)
        system.start(_LONGEST_S)
        wait_for_index(data, system, clock)
        size = _settled(system.pid("worker-0"), clock)
        system.stop()
    return size


def run(quick: bool) -> list[dict[str, Any]]:
    """Bytes an item between 10,000 and 300,000 items, or 60,000 when `quick`."""
    few, many = 10_000, 60_000 if quick else 300_000
    _worker_bytes(few)  # the first start on a machine compiles, and what compiles keeps hundreds of megabytes
    small, large = _worker_bytes(few), _worker_bytes(many)
    sizes = {"items": many, "worker_mb": large / 2**20, "worker_mb_with_10k": small / 2**20}
    return [{"name": "memory_per_item", "value": (large - small) / (many - few), "unit": "bytes", **sizes}]
