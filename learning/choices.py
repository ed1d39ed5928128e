"""From the settings' lists of parts to what was chosen: kind, name, settings that fit, in order of needs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from inspect import get_annotations
from typing import Any, NamedTuple, TypeVar

import msgspec

from learners.errors import LearnerError
from learners.part import PartSpec
from learners.request_features import RequestFeatures
from learners.world import World
from learning.catalogue import LEARNERS, MEASURES, POLICIES, SCORERS, Kind, Kinds, words_of
from learning.errors import SettingsError
from learning.settings import LearningSettings, PolicySettings
from learning.settings_errors import explained, shown
from stream.errors import FreshetError

__all__ = [
    "Chosen",
    "build_chosen",
    "chosen_learners",
    "chosen_measures",
    "chosen_parts",
    "chosen_policies",
    "chosen_scorers",
    "in_full",
    "in_one_way",
    "policy_entries",
    "policy_names",
    "read_by_scorers",
    "request_features_of",
    "with_policies",
]

S = TypeVar("S", bound=LearningSettings)

_DEFAULT_MEASURES = ("policy_counts", "organic_clicks", "part_notes")
_DEFAULT_SCORERS = (
    "popular", "together", "together_by_history", "taste", "rates", "seen", "session", "in_list",
)  # fmt: skip
_AS_NEEDED = ("item_rates", "user_items", "session")
"""Learners that are built, with their own defaults, where a scorer reads them and no entry names them."""
_TAKEN = {
    "users", "items", "catalogue", "mf", "popularity", "cooccurrence", "history", "ranker", "centroids",
    "graph", "measures", "vectors", "counts",
}  # fmt: skip
_IN_FRAMES = {
    "accepted", "backfill", "forgotten", "index", "join", "learners", "live", "maintained_ms", "marks",
    "moved_users", "unclaimed", "waiting_lists",
}  # fmt: skip
"""What else stands beside learners in snapshots, frames and the world of sources."""
_FEW = 6
_NO_SPEC = PartSpec()
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Chosen(NamedTuple):
    """One part that the settings ask for; `where` is its place there."""

    name: str
    kind: Kind
    settings: msgspec.Struct
    where: str


def policy_entries(settings: LearningSettings) -> list[Mapping[str, Any]]:
    """The entries of `[[policies]]`; where there are none, what `[policy]` says in the way of before.

    Example:
        >>> policy_entries(LearningSettings())
        [{'kind': 'diag_lin_ucb', 'alpha': 0.5}, {'kind': 'uniform'}]
    """
    if settings.policies:
        return list(settings.policies)
    policy = settings.policy
    kinds = dict.fromkeys((policy.name, *policy.others))
    return [{"kind": k, "alpha": policy.alpha} if k == "diag_lin_ucb" else {"kind": k} for k in kinds]


def request_features_of(settings: LearningSettings) -> RequestFeatures:
    """What turns the context of a request into features.

    Raises:
        SettingsError: a name stands twice.

    Example:
        >>> request_features_of(LearningSettings()).width
        1
    """
    try:
        return RequestFeatures(settings.policy.features, dim=settings.policy.feature_dim)
    except LearnerError as error:
        msg = f"policy.features: {error}"
        raise SettingsError(msg) from error


def chosen_policies(settings: LearningSettings) -> list[Chosen]:
    """The policies, the default one first; their modules are imported.

    Raises:
        SettingsError: an entry does not fit.

    Example:
        >>> [policy.name for policy in chosen_policies(LearningSettings())]
        ['diag_lin_ucb', 'uniform']
    """
    entries = policy_entries(settings)
    if settings.policies:
        chosen = chosen_parts(POLICIES, entries)
        if taken := next((one for one in chosen if one.name in _TAKEN), None):
            msg = f"settings: {taken.where}.name: {taken.name!r} is the name of another part; take another"
            raise SettingsError(msg)
        return chosen
    names = [settings.policy.name, *settings.policy.others]
    places = ["policy.name", *(f"policy.others[{n}]" for n in range(len(names) - 1))]
    return chosen_parts(POLICIES, entries, [places[names.index(entry["kind"])] for entry in entries])


def chosen_scorers(settings: LearningSettings) -> list[Chosen]:
    """What the ranker weighs, in the order of its features; their modules are imported.

    Raises:
        SettingsError: an entry does not fit.

    Example:
        >>> [scorer.name for scorer in chosen_scorers(LearningSettings())]
        ['popular', 'together', 'together_by_history', 'taste', 'rates', 'seen', 'session', 'in_list']
    """
    return chosen_parts(SCORERS, settings.scorers or [{"kind": kind} for kind in _DEFAULT_SCORERS])


def chosen_learners(settings: LearningSettings) -> list[Chosen]:
    """Learners beside those that are always there, in their order, and behind them those that scorers read
    and nobody named; their modules are imported.

    Raises:
        SettingsError: an entry does not fit, or its name is that of another part.

    Example:
        >>> lists = LearningSettings(learners=({"kind": "popularity", "name": "last_hour"},))
        >>> [learner.name for learner in chosen_learners(lists)]
        ['last_hour', 'item_rates', 'user_items', 'session']
    """
    named = {str(entry.get("name") or entry.get("kind")) for entry in settings.learners}
    read = {need for scorer in chosen_scorers(settings) for need in _needs(scorer)} - named
    more = [{"kind": kind} for kind in _AS_NEEDED if kind in read]
    chosen = chosen_parts(LEARNERS, [*settings.learners, *more])
    return _of_their_own(chosen, {*_TAKEN, *_IN_FRAMES, *policy_names(settings)})


def read_by_scorers(settings: LearningSettings) -> list[str]:
    """Names of all parts from which features come: what scorers read, and what that reads in its turn.

    Raises:
        SettingsError: an entry does not fit.

    Example:
        >>> read_by_scorers(LearningSettings())
        ['catalogue', 'cooccurrence', 'item_rates', 'mf', 'popularity', 'session', 'user_items']
    """
    learners = {one.name: one for one in chosen_learners(settings)}
    found: set[str] = set()
    left = [need for scorer in chosen_scorers(settings) for need in _needs(scorer)]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += _needs(learners[name]) if name in learners else ()
    return sorted(found)


def chosen_measures(settings: LearningSettings) -> list[Chosen]:
    """What is measured, in their order; their modules are imported.

    Raises:
        SettingsError: an entry does not fit, or its name is that of another part.

    Example:
        >>> [measure.name for measure in chosen_measures(LearningSettings())]
        ['policy_counts', 'organic_clicks', 'part_notes']
    """
    entries = settings.measures or [{"kind": kind} for kind in _DEFAULT_MEASURES]
    learners = {str(entry.get("name") or entry.get("kind")) for entry in settings.learners}
    taken = {*_TAKEN, *_IN_FRAMES, *policy_names(settings), *learners, *_AS_NEEDED}
    return _of_their_own(chosen_parts(MEASURES, entries), taken)


def _of_their_own(chosen: list[Chosen], taken: Collection[str]) -> list[Chosen]:
    """The same, where no other part has one of their names."""
    if one := next((one for one in chosen if one.name in taken), None):
        msg = f"settings: {one.where}.name: {one.name!r} is the name of another part"
        if one.name == one.kind.name and one.name in _TAKEN:
            msg += f', the one of [learn] that is always there; give this one a `name`: name = "{one.name}_2"'
        else:
            msg += "; give it another `name`"
        raise SettingsError(msg)
    return chosen


def policy_names(settings: LearningSettings) -> list[str]:
    """What requests and reports call the policies, the default one first; nothing is imported.

    Example:
        >>> policy_names(LearningSettings(policies=({"kind": "uniform", "name": "dice"},)))
        ['dice']
    """
    return [str(entry.get("name") or entry.get("kind")) for entry in policy_entries(settings)]


def chosen_parts(
    kinds: Kinds, entries: Sequence[Mapping[str, Any]], places: Sequence[str] | None = None
) -> list[Chosen]:
    """What the entries of one section ask for, in their order; `places` are where their kinds stand.

    Raises:
        SettingsError: an unknown kind, two parts of one name, or a setting that does not fit.
    """
    found: dict[str, Chosen] = {}
    for number, entry in enumerate(entries):
        place = f"{kinds.section}[{number}]"
        one = _chosen(kinds, entry, place, f"{place}.kind" if places is None else places[number])
        if one.name in found:
            msg = (
                f"settings: {one.where}: {one.name!r} is also the name of {found[one.name].where}; "
                "give one of them another `name`"
            )
            raise SettingsError(msg)
        found[one.name] = one
    return list(found.values())


def in_full(chosen: Iterable[Chosen]) -> list[dict[str, Any]]:
    """The entries with every setting written out: equal lists mean equal parts.

    Example:
        >>> in_full(chosen_policies(LearningSettings()))[1]
        {'kind': 'uniform', 'name': 'uniform'}
    """
    return [{"kind": one.kind.name, "name": one.name, **msgspec.to_builtins(one.settings)} for one in chosen]


def in_one_way(settings: S) -> S:
    """The same settings with every part in its list, in full, and nothing in the way of before.

    Example:
        >>> of_before = LearningSettings(policy=PolicySettings(name="uniform", others=()))
        >>> of_now = LearningSettings(policies=({"kind": "uniform"},))
        >>> in_one_way(of_before) == in_one_way(of_now)
        True
    """
    plain = PolicySettings()
    policy = msgspec.structs.replace(settings.policy, name=plain.name, others=plain.others, alpha=plain.alpha)
    return msgspec.structs.replace(
        settings,
        policy=policy,
        policies=tuple(in_full(chosen_policies(settings))),
        learners=tuple(in_full(chosen_learners(settings))),
        measures=tuple(in_full(chosen_measures(settings))),
    )


def with_policies(settings: S, names: Iterable[str]) -> S:
    """The same settings, and for each name that is not configured the kind of that name.

    Raises:
        SettingsError: there is no kind of that name either.

    Example:
        >>> policy_names(with_policies(LearningSettings(), ["thompson", "uniform"]))
        ['diag_lin_ucb', 'uniform', 'thompson']
    """
    known = policy_names(settings)
    new = [{"kind": name} for name in dict.fromkeys(names) if name not in known]
    for entry in new:
        try:
            POLICIES.load(entry["kind"])
        except SettingsError as error:
            msg = f"policy {entry['kind']!r} is not configured ({', '.join(known)}), and {error}"
            raise SettingsError(msg) from error
    return msgspec.structs.replace(settings, policies=(*policy_entries(settings), *new))


def build_chosen(chosen: Sequence[Chosen], world: World, expected: type) -> dict[str, Any]:
    """Build what was chosen, each after what it needs; the result is in the order of `chosen`.

    Args:
        chosen: the parts of one section.
        world: what they share; its parts are there already.
        expected: what all of them must be able to do: its public methods and attributes.

    Raises:
        SettingsError: needs that nothing meets or that form a circle, or a part that lacks what it must have.
    """
    by_name = {one.name: one for one in chosen}
    built: dict[str, Any] = {}
    for name in _in_order(by_name, world.parts):
        one = by_name[name]
        # What is there already goes first: a source called `index` reads the index, not itself.
        given = replace(world, parts=_needed(one, {**built, **world.parts}), name=name)
        built[name] = _built(one, given, expected)
    return {name: built[name] for name in by_name}


def _chosen(kinds: Kinds, entry: Mapping[str, Any], where: str, kind_at: str) -> Chosen:
    own = dict(entry)
    named, name = own.pop("kind", None), own.pop("name", None)
    if not isinstance(named, str):
        msg = f"settings: {where}: every entry of [[{kinds.section}]] has a `kind`; see `freshet parts`"
        if named is not None:
            msg = f"settings: {kind_at}: expected text, got {shown(named)}; see `freshet parts`"
        raise SettingsError(msg)
    try:
        kind = kinds.load(named)
    except SettingsError as error:
        msg = f"settings: {kind_at}: {error}"
        raise SettingsError(msg) from error
    name = named if name is None else name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        msg = f"settings: {where}.name: expected up to 64 letters, digits, dots, dashes and underscores"
        raise SettingsError(msg)
    try:
        read = msgspec.convert(own, kind.settings, strict=False)
        why = _unknown_setting(own, kind, where)
    except msgspec.ValidationError as error:
        why = explained(str(error), own, kind.settings, under=where)
    except Exception as error:
        msg = f"settings: {where}: {kind.title}: its Settings cannot be read: {words_of(error)}"
        raise SettingsError(msg) from error
    if not why:
        return Chosen(name, kind, read, where)
    msg = f"settings: {why}{_of_others(kinds, kind, own)}; see `freshet parts {named}`"
    raise SettingsError(msg)


def _unknown_setting(own: Mapping[str, Any], kind: Kind, where: str) -> str:
    """Which setting does not exist, for a plugin's Settings that would pass it over; empty where all do."""
    known = [field.encode_name for field in msgspec.structs.fields(kind.settings)]
    strange = next((name for name in own if name not in known), None)
    if strange is None:
        return ""
    return explained(f"Object contains unknown field `{strange}`", own, kind.settings, under=where)


def _of_others(kinds: Kinds, kind: Kind, own: Mapping[str, Any]) -> str:
    """Which kinds have the settings that this one has not."""
    strange = [name for name in own if name not in kind.settings.__struct_fields__]
    owners = kinds.with_setting(strange[0]) if strange else []
    return f"; {strange[0]} is a setting of {', '.join(owners)}, not of {kind.name}" if owners else ""


def _in_order(by_name: Mapping[str, Chosen], ready: Mapping[str, Any]) -> list[str]:
    """Names in an order in which each comes after what it needs."""
    needs: dict[str, list[str]] = {}
    for name, one in by_name.items():
        needs[name] = [need for need in _needs(one) if need not in ready]
        for need in needs[name]:
            if need not in by_name:
                known = ", ".join(sorted({*ready, *by_name} - {name}))
                msg = f"settings: {by_name[name].where}: {name!r} needs {need!r}; there are: {known}"
                raise SettingsError(msg)
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        circle = " needs ".join(reversed(error.args[1]))
        msg = f"settings: parts need each other in a circle: {circle}"
        raise SettingsError(msg) from None


def _needs(one: Chosen) -> Mapping[str, type]:
    try:
        return one.kind.needs(one.settings)
    except SettingsError as error:
        msg = f"settings: {one.where}: {error}"
        raise SettingsError(msg) from error


def _needed(one: Chosen, there: Mapping[str, Any]) -> dict[str, Any]:
    """What it needs of what is there; each must be able to do what the class of the need can."""
    needs = _needs(one)
    for name, expected in needs.items():
        if there[name] is None or not _lacks(there[name], expected):
            continue
        fits = [other for other, part in there.items() if part is not None and not _lacks(part, expected)]
        settings = [
            f.name for f in msgspec.structs.fields(one.settings) if getattr(one.settings, f.name) == name
        ]
        msg = (
            f"settings: {'.'.join([one.where, *settings[:1]])}: {one.kind.title} reads a part of kind "
            f"{_kind_of(expected)!r}, and {name!r} is of kind {_kind_of(type(there[name]))!r}; "
            f"there are: {', '.join(fits) or 'none'}"
        )
        raise SettingsError(msg)
    return {name: there[name] for name in needs}


def _kind_of(part: type) -> str:
    """A kind is the name of its module."""
    return part.__module__.rpartition(".")[2]


def _built(one: Chosen, world: World, expected: type) -> Any:
    what = f"settings: {one.where}: {one.kind.title}"
    # What is first imported when something is learned would else be missed in the middle of a replay.
    if world.trains and (absent := one.kind.lacks_to_learn(one.settings)):
        msg = f"settings: {one.where}: {absent}"
        raise SettingsError(msg)
    try:
        part = one.kind.build(one.settings, world)
    except FreshetError as error:
        msg = f"{what}: {error}"
        raise SettingsError(msg) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        msg = f"{what} cannot be built: {words_of(error)}"
        # What only training needs is imported here, and not with the module.
        if isinstance(error, ModuleNotFoundError) and error.name:
            msg = f"settings: {one.where}: {one.kind.without(error.name)}"
        raise SettingsError(msg) from error
    if isinstance(part, type):
        msg = f"{what} builds the class {part.__name__!r}; make one: return {part.__name__}(...)"
        raise SettingsError(msg)
    if part is None:
        msg = f"{what} builds nothing: its build(settings, world) returns None"
        raise SettingsError(msg)
    if missing := _lacks(part, expected):
        more = f" and {len(missing) - _FEW} more" if len(missing) > _FEW else ""
        msg = (
            f"{what} builds {type(part).__name__!r} without {', '.join(missing[:_FEW])}{more}; "
            f"every {expected.__name__} has {'it' if len(missing) == 1 else 'them'}, see `freshet.plugin`"
        )
        raise SettingsError(msg)
    if not isinstance(getattr(part, "spec", _NO_SPEC), PartSpec):
        msg = f"{what} builds {type(part).__name__!r}, whose `spec` is no PartSpec; see `freshet.plugin`"
        raise SettingsError(msg)
    return part


def _lacks(part: object, expected: type) -> list[str]:
    """What a class or protocol promises and the part has not, by name."""
    must = getattr(expected, "__abstractmethods__", ())  # these come first
    missing = [name for name in _promised(expected) if not hasattr(part, name)]
    return sorted(missing, key=lambda name: (name not in must, name))


def _promised(expected: type) -> set[str]:
    """The public methods and attributes of a class or protocol."""
    attributes = {name for base in expected.__mro__ for name in get_annotations(base)}
    return {name for name in {*dir(expected), *attributes} if not name.startswith("_")}
