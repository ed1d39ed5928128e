"""A policy that writes down what it is given of whole lists, in their order, and publishes a sum of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bandits import Uniform
from learners.part import Column, Columns, PartSpec, Side
from learners.published import Published
from learners.rows import RowBlock
from learners.world import World
from stream.blocks import CLOSED
from stream.frame import Frame

__all__ = ["ENTRY", "Listening", "Settings", "build", "install"]

ENTRY = {"kind": "listening"}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often the sum is published, and whether it may learn when there is time."""

    publish_ms: int = 0
    late: bool = False


class Listening(Uniform):
    """Each place that ends moves the sum, by an amount that depends on all that was before."""

    reads_inputs = True

    def __init__(self, settings: Settings, world: World) -> None:
        self.learns_late = settings.late  # type: ignore[misc]
        self.spec = PartSpec({"shared": (Column("sum", "<f8", (world.request_dim + 2,)),)})
        self.seen: list[tuple[Any, ...]] = []
        self.sum = np.zeros(world.request_dim + 2)
        self.trains = world.trains
        self.given = Published(settings.publish_ms, {"sum": self.sum})

    def learn_lists(self, block: RowBlock) -> None:
        for o in np.flatnonzero(block.kind == CLOSED).tolist():
            s = int(block.slate[o])
            if not block.decided[s]:
                continue
            for place in range(int(block.start[s]), int(block.start[s + 1])):
                key, x = int(block.item_keys[place]), block.request[s].astype(float)
                told = [block.rewards[place], key % 1_009, *x]
                self.seen.append((key, x.tolist(), block.rank_features[place].tolist(), told[0]))
                self.sum = 0.75 * self.sum + np.array(told) * block.stands_for[o]
            self.given.step(int(block.ts[o]), lambda: {"sum": self.sum})

    def touched(self, side: Side) -> Any:
        return self.given.drain() if side == "shared" else super().touched(side)

    def export(self, side: Side, rows: Any) -> Columns:
        return self.given.columns

    def adopt(self, side: Side, rows: Any, columns: Any) -> None:
        self.given.columns = dict(columns)

    def snapshot(self) -> Frame:
        return {"sum": self.sum.copy(), "given": self.given.snapshot()}

    def restore(self, frame: Frame) -> None:
        self.sum = frame["sum"].copy()
        self.given.restore(frame["given"])


def build(settings: Settings, world: World) -> Listening:
    return Listening(settings, world)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it a kind of policies, as a package that is installed."""
    info = folder / "listening-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: listening\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[freshet.parts]\npolicies.listening = tests.harness.listening\n")
    monkeypatch.syspath_prepend(str(folder))
