"""Guard: the rooms have plain names, so make sure that they are ours. Run alone, before all else."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

ADVICE = "install Freshet into an environment of its own"


def test_no_other_distribution_claims_a_room(room_names: tuple[str, ...]) -> None:
    owners = packages_distributions()
    intruders = {room: set(owners.get(room, ())) - {"freshet"} for room in room_names}
    assert not any(intruders.values()), f"another package ships a folder of this name: {intruders}; {ADVICE}"


def test_each_room_is_imported_from_this_checkout_or_our_wheel(
    room_names: tuple[str, ...], root: Path
) -> None:
    ours = distribution("freshet")
    for room in room_names:
        spec = importlib.util.find_spec(room)
        assert spec is not None, f"{room} cannot be imported; run `make test`"
        assert spec.origin is not None, f"{room} is a folder without __init__.py: {spec}; {ADVICE}"
        homes = {root / room, Path(str(ours.locate_file(room))).resolve()}
        assert Path(spec.origin).resolve().parent in homes, f"{room} comes from {spec.origin}; {ADVICE}"


def test_no_room_hides_the_standard_library(room_names: tuple[str, ...]) -> None:
    assert not set(room_names) & sys.stdlib_module_names
