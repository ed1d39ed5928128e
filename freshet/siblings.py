"""Refuses to start beside strangers: a module of another that has the name of one of our rooms.

The rooms are packages with plain names that lie beside `freshet`, in a checkout as in an environment. Who
has a `stream.py` of their own earlier on Python's path would have it run in place of ours.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

__all__ = ["ROOMS", "refuse_strangers"]

ROOMS = ("stream", "monitor", "learners", "index", "bandits", "learning", "replay", "serving")
"""The packages that belong to Freshet beside `freshet`."""


def refuse_strangers() -> None:
    """End the import if Python would take a room from elsewhere than from beside `freshet`.

    Nothing is imported for it.

    Raises:
        ImportError: names the stranger's file, and says what to do.
    """
    home = Path(__file__).resolve().parents[1]
    for room in ROOMS:
        found = _path_of(room)
        if found is not None and Path(found).resolve().parent != home / room:
            msg = (
                f"Freshet has a package {room!r}, and Python finds another one first: {found}. Rename that, "
                "or keep its folder off Python's path: it is the current folder, that of the script, or one "
                "of PYTHONPATH, and `python -P` leaves out the first two"
            )
            raise ImportError(msg, name=room, path=found)


def _path_of(room: str) -> str | None:
    """The file that Python would take this package from; None where it finds none, or a bare folder."""
    try:
        spec = find_spec(room)
    except ValueError:  # it is being run or imported in a way of its own, and says nothing of its place
        spec = None
    return spec.origin if spec is not None else getattr(sys.modules.get(room), "__file__", None)
