"""How what was learned in a data folder goes with settings: what a start would refuse, keep or begin anew."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

from freshet.config import Settings
from freshet.run.learner import fingerprint
from learning.parts import Parts, build_parts
from stream.errors import FreshetError
from stream.folder import DataFolder

__all__ = ["Learned", "compare_learned"]


class Learned(NamedTuple):
    """`found`: what there is; `refused`: why a start would end; `changed`: what would be otherwise."""

    found: str
    refused: str = ""
    changed: tuple[str, ...] = ()


def compare_learned(path: Path, settings: Settings) -> Learned:
    """The newest snapshot of a data folder beside these settings; nothing is written.

    Raises:
        LogError, SnapshotError: something in the folder is damaged.
    """
    frame, _ = DataFolder(path, create=False).snapshot_store().load()
    if frame is None:
        return Learned("no snapshot yet")
    step, parts = frame["step"], build_parts(settings)
    found = f"snapshot {frame['seq']}"
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it is told here
    try:
        parts.restore(step)
    except FreshetError as error:
        return Learned(found, refused=str(error))
    except (KeyError, ValueError, TypeError, IndexError) as error:
        return Learned(found, refused=f"the stored state does not fit: {error!r}")
    finally:
        logging.disable(before)
    changed = tuple(_changed(step, parts))
    if not changed and frame.get("fingerprint") not in (None, fingerprint(settings)):
        changed = ("it was learned under other settings; a start goes on from it under these",)
    return Learned(found, changed=changed)


def _changed(step: dict[str, Any], parts: Parts) -> list[str]:
    features = step["ranker"]["names"]
    said = {
        "starts afresh": parts.new_beside(step),
        "kept, for it is not configured": _plain(parts.unclaimed.snapshot()),
        "new feature of the ranker, at its starting weight": _missing(parts.ranker.names, features),
        "feature of the ranker that no scorer has now": _missing(features, parts.ranker.names),
    }
    return [f"{what}: {', '.join(names)}" for what, names in said.items() if names]


def _plain(names: Any) -> list[str]:
    return sorted(name.removeprefix("policy:") for name in names)


def _missing(names: Any, there: Any) -> list[str]:
    return [name for name in names if name not in there]
