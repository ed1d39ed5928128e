"""One name for one thing: constructors use the vocabulary of docs/reference/names.md."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import ModuleType


def _refused(page: str) -> re.Pattern[str]:
    """The words of the table's right column; an ellipsis stands for any word."""
    cells = [line.split("|")[3] for line in page.splitlines() if line.startswith("| `")]
    words = re.findall(r"`([^`]+)`", " ".join(cells))
    return re.compile("|".join(re.escape(word).replace("…", r"\w+") for word in words))


def test_constructors_use_the_vocabulary(rooms: list[ModuleType], root: Path) -> None:
    refused = _refused((root / "docs" / "reference" / "names.md").read_text(encoding="utf-8"))
    offenders = [
        f"{room.__name__}.{name}({argument})"
        for room in rooms
        for name in room.__all__
        if inspect.isclass(thing := getattr(room, name)) and not issubclass(thing, BaseException)
        for argument in inspect.signature(thing).parameters
        if refused.fullmatch(argument)
    ]
    assert not offenders, "\n".join(["see docs/reference/names.md", *offenders])
