"""A worker's copy follows the commits: only what was touched travels, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np

from learning.parts import Parts, build_parts
from learning.pipeline import Pipeline
from serving.replica import Replica
from stream.clock import WallClock
from stream.commits import CommitReader, Delta
from stream.engine import NudgeSocket
from stream.errors import LogError
from stream.events import Click
from stream.folder import DataFolder
from stream.frame import pack


class FailingReader(CommitReader):
    """The first three readings fail, as on a disk that stutters."""

    failures = 0

    def read_deltas(self, after_seq: int, limit: int = 256, max_bytes: int = 32 << 20) -> list[Delta]:
        if self.failures < 3:
            self.failures += 1
            msg = "the disk stutters"
            raise LogError(msg)
        return super().read_deltas(after_seq, limit, max_bytes)


def commit(folder: DataFolder, settings: Any, n_items: int) -> tuple[Parts, list[int]]:
    """A learner's commits: `n_items` items clicked at once, then one of them again; their sizes."""
    pipeline, commits, sizes = Pipeline(settings, folder.key), folder.commit_log(), []
    batches = [[Click(ts=n, user_id=f"u{n}", item_id=f"i{n}") for n in range(n_items)]]
    batches.append([Click(ts=n_items, user_id="u0", item_id="i1")])
    for seq, batch in enumerate(batches, 1):
        pipeline.on_events(batch)
        frame = pack(pipeline.take())
        commits.commit(seq, [], frame, absorbed_at=10 * seq, watermark=seq)
        sizes.append(len(frame))
    commits.close()
    return pipeline.parts, sizes


def follow(folder: DataFolder, parts: Parts) -> Replica:
    """A replica behind a reader that fails at first, after it has absorbed both commits."""

    async def live() -> Replica:
        replica = Replica(
            parts.named(),
            reader=FailingReader(folder.learner_path),
            snapshots=folder.snapshot_store(),
            clock=WallClock(),
        )
        nudges = NudgeSocket(folder.socket_path("worker-0"))
        replica.follow(nudges)
        assert await replica.wait_absorbed("u0", 20, 120)
        replica.stop()
        nudges.close()
        return replica

    return asyncio.run(live())


def test_readings_that_fail_are_repeated_and_lose_no_row(tmp_path: Path, kit: Any) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.prepare(workers=1)
    leader, sizes = commit(folder, kit.settings, 500)
    parts = build_parts(kit.settings)
    replica = follow(folder, parts)
    rows = np.arange(leader.items.size, dtype=np.int32)
    assert parts.items.ids_of(rows) == leader.items.ids_of(rows)
    np.testing.assert_array_equal(parts.items.data[rows], leader.items.data[rows])
    assert replica.applied_bytes == sum(sizes)
    # One click, a handful of rows: sampled negatives move as well.
    assert sizes[1] < sizes[0] / 10
