"""Mends a data folder in which times are stored that have not come: the clock was wrong when they were."""

from __future__ import annotations

import logging
from contextlib import ExitStack, closing
from pathlib import Path

from freshet.config import Settings
from freshet.run.learner import fingerprint
from learning.pipeline import Pipeline
from stream.clock import Clock
from stream.engine import LocalEngine
from stream.folder import DataFolder
from stream.scrub import LearnerScrub
from stream.steady import AHEAD_MS, why_ahead

__all__ = ["newest_times", "repair_clock", "why_folder_ahead"]

_log = logging.getLogger(__name__)


def newest_times(path: Path) -> tuple[int, int]:
    """How far the folder's state is: `absorbed_at` and the live watermark (ms); zeros where there is none.

    Raises:
        LogError, SnapshotError: something in it is damaged.
    """
    folder = DataFolder(path, create=False)
    with closing(folder.commit_reader()) as commits:
        absorbed_at, watermark = commits.absorbed()
    frame, _ = folder.snapshot_store().load()
    if frame is not None:
        absorbed_at, watermark = (
            max(absorbed_at, frame["absorbed_at"]),
            max(watermark, frame["tickers"]["live"]),
        )
    return absorbed_at, watermark


def why_folder_ahead(path: Path, settings: Settings, clock: Clock) -> str:
    """That the folder's times have not come, and what to do; empty where they have."""
    absorbed_at, watermark = newest_times(path)
    newest = max(absorbed_at, watermark if settings.clock == "wall" else 0)
    return why_ahead(f"what was learned in {path}", newest, clock.now_ms())


def repair_clock(path: Path, settings: Settings, clock: Clock) -> str:
    """Let time begin again at the present, with everything that was learned; says what was done.

    What is still to be learned is learned. Slates and clicks that are stamped more than five minutes ahead
    are given up; a newest snapshot stands for all older state. Nothing may run on the folder.

    Raises:
        LogError: something runs on it, or it is damaged.
        SnapshotError: the mended state could not be written; the folder is as it was.
    """
    with ExitStack() as undo:
        folder = DataFolder(path, exclusive=True, create=False)
        undo.callback(folder.close)
        folder.refuse_missing_files()
        sources = folder.readers()
        for source in sources.values():
            undo.callback(source.close)
        commits = undo.enter_context(closing(folder.commit_log(settings.engine)))
        pipeline = Pipeline(settings, folder.key)
        engine = LocalEngine(
            pipeline,
            sources,
            commits,
            folder.snapshot_store(),
            clock=clock,
            mode=settings.clock,
            settings=settings.engine,
            fingerprint=fingerprint(settings),
            scrubs=LearnerScrub(commits, sources, folder.key),
        )
        engine.recover()
        before = max(engine.absorbed_at, engine.watermark)
        _rewind(engine, pipeline, clock)
        while engine.run_once():
            continue
        # What was left may have been stamped while the clock was wrong.
        _rewind(engine, pipeline, clock)
        _forget_marks(folder, clock)
    seconds = (before - clock.now_ms()) / 1e3
    return f"{path}: time was {seconds:.0f} s ahead and begins again now; everything learned is kept"


def _rewind(engine: LocalEngine, pipeline: Pipeline, clock: Clock) -> None:
    now = int(clock.now_ms())
    pipeline.rewind(now)
    engine.rewind(now)


def _forget_marks(folder: DataFolder, clock: Clock) -> None:
    """Marks of history that lie ahead are of that time, too."""
    marks = folder.history_path
    numbers = memoryview(marks.read_bytes() if marks.exists() else b"").cast("q")
    if max(numbers, default=0) > clock.now_ms() + AHEAD_MS:
        marks.unlink()
