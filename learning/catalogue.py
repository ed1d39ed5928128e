"""The catalogue: which kinds of part there are, by the names of their modules.

A kind is a module with a class `Settings` and a function `build(settings, world)`; `needs(settings)` names
the parts that `build` finds in its world. Ours lie in a package of their room, such as `bandits/policies`;
other packages register theirs under the entry point group `freshet.parts`. Only what was chosen is imported.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution, entry_points
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, NamedTuple, cast

import msgspec

from learners.world import World
from learning.errors import SettingsError

__all__ = ["GROUP", "LEARNERS", "POLICIES", "SCORERS", "Kind", "Kinds"]

GROUP = "freshet.parts"
"""The entry point group; a name in it is the section and the kind, `policies.newest`. A name without a
section is a policy."""

_NAMES = ("Settings", "build")


class Kind(NamedTuple):
    """One imported kind."""

    name: str
    module: ModuleType
    package: str
    """The package that brought it; empty for Freshet's own."""

    @property
    def settings(self) -> type[msgspec.Struct]:
        """What may be set."""
        return cast(type[msgspec.Struct], self.module.Settings)

    @property
    def build(self) -> Callable[[Any, World], Any]:
        """Makes the part."""
        return cast(Callable[[Any, World], Any], self.module.build)

    def needs(self, settings: msgspec.Struct) -> tuple[str, ...]:
        """The parts that `build` reads from its world, by name."""
        found = getattr(self.module, "needs", None)
        return () if found is None else tuple(found(settings))

    @property
    def what(self) -> str:
        """The first paragraph of its docstring, on one line."""
        return " ".join((inspect.getdoc(self.module) or "").split("\n\n")[0].split())

    @property
    def source(self) -> str:
        """The paper or book that it follows; empty where it follows none."""
        return str(getattr(self.module, "SOURCE", ""))

    @property
    def servable(self) -> bool:
        """Whether serving workers can run it."""
        return bool(getattr(self.module, "SERVABLE", True))


class Kinds:
    """The kinds of one section of the settings.

    Args:
        section: its name, as in `[[policies]]` and in entry points.
        package: where ours lie, one a module.
        without: modules of it that cannot be chosen.

    Example:
        >>> POLICIES.own()
        ['diag_lin_ucb', 'epsilon_greedy', 'lin_ucb', 'thompson', 'uniform']
        >>> POLICIES.load("lin_ucb").source
        'Li et al. 2010, arXiv 1003.0146, Algorithms 1 and 2'
    """

    def __init__(self, section: str, package: str, *, without: Sequence[str] = ()) -> None:
        self.section = section
        self._package, self._without = package, frozenset(without)

    def own(self) -> list[str]:
        """The kinds that come with Freshet, by name; nothing is imported."""
        spec = find_spec(self._package)
        folders = list(spec.submodule_search_locations or ()) if spec else []
        found = {m.name for m in iter_modules(folders) if not (m.ispkg or m.name.startswith("_"))}
        return sorted(found - self._without)

    def names(self) -> list[str]:
        """All kinds, by name; nothing is imported."""
        return sorted({*self.own(), *self._registered()})

    def load(self, kind: str) -> Kind:
        """Import one kind.

        Raises:
            SettingsError: there is none of that name, it lacks a package, or it has not the shape of a kind.
        """
        if kind in self.own():
            path = f"{self._package}.{kind}"
            module = _imported(path, lambda: importlib.import_module(path), None)
            return Kind(kind, _checked(kind, path, module), "")
        points = self._registered().get(kind, [])
        if not points:
            raise SettingsError(self._unknown(kind))
        if len({point.value for point in points}) > 1:
            msg = f"{kind!r} is registered by {' and by '.join(map(_who, points))}; uninstall one of them"
            raise SettingsError(msg)
        point = points[0]
        module = _imported(_who(point), point.load, point.dist)
        return Kind(kind, _checked(kind, _who(point), module), point.dist.name if point.dist else "")

    def with_setting(self, name: str) -> list[str]:
        """The kinds that have a setting of that name; those that cannot be imported are left out."""
        return [kind for kind in self.names() if name in self._settings_of(kind)]

    def _settings_of(self, kind: str) -> tuple[str, ...]:
        try:
            return self.load(kind).settings.__struct_fields__
        except SettingsError:
            return ()

    def _registered(self) -> dict[str, list[EntryPoint]]:
        """What other packages register for this section; a name of ours stays ours."""
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=GROUP):
            section, _, kind = point.name.rpartition(".")
            if (section or "policies") == self.section:
                found.setdefault(kind, []).append(point)
        return found

    def _unknown(self, kind: str) -> str:
        known = self.names()
        near = get_close_matches(kind, known, n=1)
        meant = f"did you mean {near[0]}? There are" if near else "there are"
        return f"there is no kind {kind!r}; {meant}: {', '.join(known)}; see `freshet parts`"


POLICIES = Kinds("policies", "bandits.policies")
SCORERS = Kinds("scorers", "learners.scorers")
# Of these there is one: users and items, what users clicked, and the order of what the sources offer.
LEARNERS = Kinds("learners", "learners.parts", without=("factorisation", "history", "ranker"))


def _who(point: EntryPoint) -> str:
    brought = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
    return f"{point.value}{brought}"


def _imported(what: str, load: Callable[[], Any], dist: Distribution | None) -> ModuleType:
    try:
        return cast(ModuleType, load())
    except ModuleNotFoundError as error:
        msg = f"{what} needs {error.name}, which is not installed: run {_remedy(error.name or '', dist)}"
        raise SettingsError(msg) from None
    except Exception as error:
        msg = f"{what} cannot be imported: {type(error).__name__}: {error}"
        raise SettingsError(msg) from error


def _remedy(missing: str, dist: Distribution | None) -> str:
    """The line that installs what is missing: an extra of the package, where one brings it."""
    wanted = _plain(missing.partition(".")[0])
    try:
        package = distribution("freshet") if dist is None else dist
    except PackageNotFoundError:
        return f"pip install {wanted}"
    for line in package.requires or ():
        name, extra = re.match(r"[\w.-]+", line), re.search(r"""extra\s*==\s*['"]([\w.-]+)""", line)
        if name and extra and _plain(name[0]) == wanted:
            return f"pip install '{package.name}[{extra[1]}]'"
    return f"pip install {wanted}"


def _plain(name: str) -> str:
    """A package's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _checked(kind: str, what: str, module: ModuleType) -> ModuleType:
    if missing := _missing(module):
        msg = f"{kind!r}, {what}, is no kind of part: {missing}; see `freshet.plugin`"
        raise SettingsError(msg)
    return module


def _missing(module: Any) -> str:
    """What keeps a module from being a kind; empty where it is one."""
    lacks = [f"no {name!r}" for name in _NAMES if not hasattr(module, name)]
    if lacks:
        return f"it has {' and '.join(lacks)}"
    made = module.Settings
    if not (isinstance(made, type) and issubclass(made, msgspec.Struct)):
        return "its Settings is no msgspec.Struct"
    taken = {"kind", "name"} & set(made.__struct_fields__)
    if taken:
        return f"its Settings has {sorted(taken)[0]!r}, which every part has"
    if not _takes(module.build, 2):
        return "build must take (settings, world)"
    if hasattr(module, "needs") and not _takes(module.needs, 1):
        return "needs must take (settings)"
    return ""


def _takes(function: Any, n: int) -> bool:
    """Whether it can be called with so many arguments by position."""
    try:
        inspect.signature(function).bind(*[None] * n)
    except (TypeError, ValueError):
        return False
    return True
