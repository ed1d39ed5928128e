"""The catalogue: which kinds of part there are, by the names of their modules.

A kind is a module with a class `Settings` and a function `build(settings, world)`; `needs(settings)` names
the parts that `build` finds in its world, or maps their names to the classes whose methods it calls. Ours lie
in a package of their room, such as `bandits/policies`; other packages register theirs under the entry point
group `freshet.parts`. Only what was chosen is imported.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution, entry_points
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, NamedTuple, cast

import msgspec

from learners.world import World
from learning.errors import SettingsError

__all__ = [
    "GROUP",
    "LEARNERS",
    "MEASURES",
    "POLICIES",
    "SCORERS",
    "SECTIONS",
    "Kind",
    "Kinds",
    "misnamed",
    "nearest",
    "words_of",
]

GROUP = "freshet.parts"
"""The entry point group; a name in it is the section and the kind, `policies.newest`. A name without a
section is a policy."""

SECTIONS = ("policies", "learners", "measures", "scorers", "sources", "estimators")

_ONE = {
    "policies": "a policy", "learners": "a learner", "measures": "a measure", "scorers": "a scorer",
    "sources": "a source", "estimators": "an estimator",
}  # fmt: skip
_CATALOGUE: dict[str, Kinds] = {}
"""The kinds of every section that was made, by its name: a kind may be looked for in a wrong one."""

_NAMES = ("Settings", "build")
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class Kind(NamedTuple):
    """One imported kind."""

    name: str
    module: ModuleType
    package: str
    """The package that brought it; empty for Freshet's own."""
    serves: bool = True
    """Whether kinds of its section are for serving workers at all."""

    @property
    def settings(self) -> type[msgspec.Struct]:
        """What may be set."""
        return cast(type[msgspec.Struct], self.module.Settings)

    @property
    def build(self) -> Callable[[Any, World], Any]:
        """Makes the part."""
        return cast(Callable[[Any, World], Any], self.module.build)

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"kind {self.name!r}{f' of package {self.package}' if self.package else ''}"

    def needs(self, settings: msgspec.Struct) -> Mapping[str, type]:
        """The parts that `build` reads from its world, by name, with the class whose methods it calls:
        `object` where the module names none.

        Raises:
            SettingsError: the module's `needs` raises, or gives what are no names.
        """
        found = getattr(self.module, "needs", None)
        if found is None:
            return {}
        try:
            needed = found(settings)
            named = dict(needed) if isinstance(needed, Mapping) else dict.fromkeys(needed, object)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            msg = f"{self.title}: needs(settings) raised {words_of(error)}"
            raise SettingsError(msg) from error
        fits = all(isinstance(name, str) and isinstance(kind, type) for name, kind in named.items())
        if isinstance(needed, str) or not fits:
            msg = f"{self.title}: needs(settings) gives names of parts, as in ('graph',); got {needed!r}"
            raise SettingsError(msg)
        return named

    @property
    def what(self) -> str:
        """The first paragraph of its docstring, on one line."""
        return " ".join((inspect.getdoc(self.module) or "").split("\n\n")[0].split())

    @property
    def source(self) -> str:
        """The paper or book that it follows; empty where it follows none."""
        return str(getattr(self.module, "SOURCE", ""))

    @property
    def reads_features(self) -> bool:
        """Whether it is there for the features of the request, and knows little without them."""
        return bool(getattr(self.module, "READS_FEATURES", False))

    def lacks(self) -> str:
        """What is not installed and needed to train it (`TRAINS_WITH`, modules by name), as a message; empty
        where nothing is. Nothing is imported."""
        return self._without_any(getattr(self.module, "TRAINS_WITH", ()))

    def lacks_to_learn(self, settings: msgspec.Struct) -> str:
        """What is not installed and is imported when it first learns under these settings (their method
        `learns_with`, if they have one, names the modules), as a message; empty where nothing is."""
        asked = getattr(settings, "learns_with", None)
        return self._without_any(asked()) if callable(asked) else ""

    def _without_any(self, modules: Iterable[str]) -> str:
        missing = [name for name in modules if find_spec(name) is None]
        return self.without(missing[0]) if missing else ""

    def without(self, missing: str) -> str:
        """The message where a module is not installed, with the line that installs it where that is known."""
        try:
            brought = distribution(self.package) if self.package else _freshet()
        except PackageNotFoundError:
            brought = None
        # A plugin's settings may extend ours, and need what we bring.
        line = _extra(missing, brought) or _extra(missing, _freshet())
        return f"{self.title} needs {missing}, which is not installed{line}"

    @property
    def servable(self) -> bool:
        """Whether serving workers can run it."""
        return bool(getattr(self.module, "SERVABLE", self.serves))


class Kinds:
    """The kinds of one section of the settings.

    Args:
        section: its name, as in `[[policies]]` and in entry points.
        package: where ours lie, one a module.
        without: modules of it that cannot be chosen.
        serves: whether serving workers run them; a module's `SERVABLE` goes first.

    Example:
        >>> POLICIES.own()
        ['diag_lin_ucb', 'epsilon_greedy', 'lin_ucb', 'neu_fast_cb', 'neu_square_cb', 'thompson', 'uniform']
        >>> POLICIES.load("lin_ucb").source
        'Li et al. 2010, arXiv 1003.0146, Algorithms 1 and 2'
    """

    def __init__(
        self, section: str, package: str, *, without: Sequence[str] = (), serves: bool = True
    ) -> None:
        self.section, self._serves = section, serves
        self._package, self._without = package, frozenset(without)
        _CATALOGUE.setdefault(section, self)

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
            module = _imported(kind, path, lambda: importlib.import_module(path), None)
            return Kind(kind, _checked(kind, path, module), "", self._serves)
        points = self._registered().get(kind, [])
        if not points:
            raise SettingsError(self._unknown(kind))
        if len({point.value for point in points}) > 1:
            msg = f"{kind!r} is registered by {' and by '.join(map(_who, points))}; uninstall one of them"
            raise SettingsError(msg)
        point = points[0]
        module = _imported(kind, _who(point), point.load, point)
        package = point.dist.name if point.dist else ""
        return Kind(kind, _checked(kind, _who(point), module), package, self._serves)

    def near(self, word: str) -> list[str]:
        """The kinds that a word was probably meant for, the nearest first; none that cannot be loaded."""
        return [kind for kind in nearest(word, self.names()) if self._loads(kind)]

    def _loads(self, kind: str) -> bool:
        try:
            self.load(kind)
        except SettingsError:
            return False
        return True

    def passed_over(self) -> list[str]:
        """What other packages register for this section and nobody can choose, and why.

        Example:
            >>> POLICIES.passed_over()
            []
        """
        own, found = self.own(), []
        for point in entry_points(group=GROUP):
            section, kind = _section_and_kind(point)
            if section == self.section and kind in own:
                found.append(
                    f"{_who(point)} is registered as {point.name!r}, and {kind!r} is one of Freshet's own "
                    "kinds; register it under another name"
                )
            elif section == self.section and (why := _amiss(point)):
                found.append(why)
        return found

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
            section, kind = _section_and_kind(point)
            if section == self.section and _KIND.fullmatch(kind):
                found.setdefault(kind, []).append(point)
        return found

    def _unknown(self, kind: str) -> str:
        near = self.near(kind)
        others = [each.section for each in _CATALOGUE.values() if each is not self and kind in each.names()]
        if others:
            meant = " and ".join(f"{_ONE.get(section, 'a part')} ([[{section}]])" for section in others)
            said = f"{kind!r} is {meant}, not {_ONE.get(self.section, 'a part')}; there are"
        elif near:
            said = f"there is no kind {kind!r}; did you mean {near[0]}? There are"
        else:
            said = f"there is no kind {kind!r}; there are"
        also = "".join(f"; {lost}" for lost in misnamed() if repr(kind) in lost)
        return f"{said}: {', '.join(self.names())}; see `freshet parts`{also}"


POLICIES = Kinds("policies", "bandits.policies")
SCORERS = Kinds("scorers", "learners.scorers")
# Of these there is one: users and items, what users clicked, and the order of what the sources offer.
LEARNERS = Kinds(
    "learners", "learners.parts", without=("factorisation", "history", "ranker", "table_columns")
)
MEASURES = Kinds("measures", "learning.measures")


def misnamed() -> list[str]:
    """What is wrong with names in the entry point group; such a name is passed over.

    Example:
        >>> misnamed()
        []
    """
    return [why for point in entry_points(group=GROUP) if (why := _amiss(point))]


def nearest(word: str, names: Iterable[str]) -> list[str]:
    """The names that a word was probably meant for, the nearest first, however they are capitalised.

    Example:
        >>> nearest("Lin_UBC", ["lin_ucb", "uniform"])
        ['lin_ucb']
    """
    plain = {name.lower(): name for name in names}
    return [plain[name] for name in get_close_matches(word.lower(), plain)]


def words_of(error: BaseException) -> str:
    """What was raised, in a line.

    Example:
        >>> words_of(SystemExit(2)), words_of(KeyError("a"))
        ('SystemExit: 2', "KeyError: 'a'")
    """
    return ": ".join(filter(None, (type(error).__name__, str(error))))


def _section_and_kind(point: EntryPoint) -> tuple[str, str]:
    section, _, kind = point.name.rpartition(".")
    return section or "policies", kind


def _amiss(point: EntryPoint) -> str:
    """What is wrong with its name; empty where nothing is."""
    section, kind = _section_and_kind(point)
    registered = f"{_who(point)} is registered as {point.name!r}"
    if section not in SECTIONS:
        return f"{registered}, so {kind!r} is in a section {section!r}; there are {', '.join(SECTIONS)}"
    if not _KIND.fullmatch(kind):
        return (
            f"{registered}, whose kind {kind!r} is no name: expected a letter, then up to 63 letters, "
            "digits, dashes and underscores"
        )
    return ""


def _who(point: EntryPoint) -> str:
    brought = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
    return f"{point.value}{brought}"


def _imported(kind: str, what: str, load: Callable[[], Any], point: EntryPoint | None) -> ModuleType:
    try:
        return cast(ModuleType, load())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may end with sys.exit, too
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is None:
            msg = f"{what} cannot be imported: {words_of(error)}"
        else:
            msg = _lacking(kind, missing, point)
        raise SettingsError(msg) from error


def _lacking(kind: str, missing: str, point: EntryPoint | None) -> str:
    """Which module is not there; with the line that installs it only where an extra is known to bring it:
    a package may have another name than its module."""
    if point is None:
        return f"kind {kind!r} needs {missing}, which is not installed{_extra(missing, _freshet())}"
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
    if f"{point.module}.".startswith(f"{missing}."):
        return f"{package} names the module {missing}, which is not in it"
    if missing.partition(".")[0] == point.module.partition(".")[0]:
        return f"kind {kind!r} of {package} imports {missing}, which is not in it"
    return (
        f"kind {kind!r} of {package} imports {missing}, which is not installed{_extra(missing, point.dist)}"
    )


def _freshet() -> Distribution | None:
    try:
        return distribution("freshet")
    except PackageNotFoundError:
        return None


def _extra(missing: str, package: Distribution | None) -> str:
    """The line that installs what is missing, where the package or an extra of it is declared to bring it."""
    wanted, line_of_its_own = _plain(missing.partition(".")[0]), ""
    brings, sizes = [], Counter[str]()
    for line in (package.requires if package else None) or ():
        name, extra = re.match(r"[\w.-]+", line), re.search(r"""extra\s*==\s*['"]([\w.-]+)""", line)
        sizes[extra[1] if extra else ""] += 1
        if name and extra and _plain(name[0]) == wanted:
            brings.append(extra[1])
        elif name and _plain(name[0]) == wanted:
            line_of_its_own = f": run pip install {name[0]}"
    if package and brings:
        # Extras that bring others whole are listed with all of them; the smallest brings least beside it.
        return f": run pip install '{package.name}[{min(brings, key=sizes.__getitem__)}]'"
    return line_of_its_own


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
