"""The parts that learn, by name: built from the settings, the same classes on the learner and on a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from bandits import (
    Centroids,
    ClusterItemGraph,
    Policy,
    PolicyError,
)
from learners import (
    Catalogue,
    CoOccurrence,
    Counts,
    EmbeddingTable,
    Histories,
    MatrixFactorisation,
    Part,
    Popularity,
    Ranker,
    RowBlock,
    Vectors,
)
from learners.encode_inputs import as_it_travels
from learners.errors import LearnerError
from learners.item_keys import ItemKeys
from learners.part import Columns, learns_lists, naming
from learners.request_features import RequestFeatures
from learners.scorer import Renamed, Scorer
from learners.world import World
from learning.choices import (
    Chosen,
    build_chosen,
    chosen_learners,
    chosen_measures,
    chosen_policies,
    chosen_scorers,
    read_by_scorers,
    request_features_of,
)
from learning.errors import SettingsError
from learning.fixed_parts import make_clusters, make_tables
from learning.measure import Figure, Measure, with_item_ids
from learning.measures_before import MeasuresBefore
from learning.settings import LearningSettings
from learning.unclaimed import Unclaimed
from stream.blocks import FeedbackBlock
from stream.errors import FreshetError
from stream.events import ItemEvent
from stream.frame import Frame
from stream.step import Replicated

__all__ = ["Parts", "build_parts"]

_POLICY = "policy:"
_READABLE = (
    "users", "items", "catalogue", "mf", "popularity", "cooccurrence", "history", "centroids", "graph",
)  # fmt: skip
_NO_OUTCOMES = RowBlock.empty()
Int32 = npt.NDArray[np.int32]


@dataclass(slots=True)
class Parts:
    """Everything that learns, and that a serving worker follows.

    `policies` maps names to policies, the default one first. A graph and centroids are there for every
    policy: they give the context that decisions log, so that a policy may be changed without losing what was
    learned.
    """

    users: EmbeddingTable
    items: EmbeddingTable
    catalogue: Catalogue
    vectors: Vectors
    counts: Counts
    mf: MatrixFactorisation
    popularity: Popularity
    cooccurrence: CoOccurrence
    history: Histories
    ranker: Ranker
    centroids: Centroids
    graph: ClusterItemGraph
    request_features: RequestFeatures
    policies: dict[str, Policy]
    kinds: Mapping[str, str]
    """The kind of each policy, by name."""
    measures: dict[str, Measure]
    """What looks at all this, by the name that rows and frames have for them."""
    item_keys: ItemKeys
    """Keys of items by their ids alone, for what hashes them."""
    more: dict[str, Part] = field(default_factory=dict)
    """Learners beside these, by the name that rows and frames have for them."""
    scored: tuple[str, ...] = ()
    """Names of the parts from which the ranker's features come."""
    unclaimed: Unclaimed = field(default_factory=Unclaimed)
    reads_inputs: bool = field(init=False)
    """Whether something that learns whole lists reads items' keys and requests' features."""
    _list_policies: dict[str, Part] = field(init=False)

    def __post_init__(self) -> None:
        """Find out once what is asked for each block."""
        of_all = self.policy_parts().items()
        self._list_policies = {name: policy for name, policy in of_all if learns_lists(policy)}
        self.reads_inputs = any(part.reads_inputs for part in self.list_learners().values())

    def readable(self) -> dict[str, Any]:
        """What a source may name in its `needs`, by name."""
        more = {name.partition(":")[0]: part for name, part in self.more.items()}
        return {**{name: getattr(self, name) for name in _READABLE}, **more, **self.policies}

    def policy_parts(self) -> dict[str, Policy]:
        """The policies by what rows call them; one of another kind under the same name is another part."""
        names = {name: name if name == kind else f"{name}:{kind}" for name, kind in self.kinds.items()}
        return {names[name]: policy for name, policy in self.policies.items()}

    def deciders(self) -> dict[str, Part]:
        """The parts that say what may be tried, by name; they learn where items are owned."""
        return {"graph": self.graph, **self.policies}

    def policy_rows(self) -> dict[str, Part]:
        """The same by the names that rows of the topic `policy` have for them."""
        return {"graph": self.graph, **self.policy_parts()}

    def policy_keys(self) -> dict[str, str]:
        """What each of `policy_parts` is called in frames."""
        return {name: f"{_POLICY}{name}" for name in self.policy_parts()}

    def named(self) -> dict[str, Replicated]:
        """Every part by the name that it has in frames; tables come first, since others refer to their
        rows."""
        fixed = {
            name: cast(Replicated, getattr(self, name))
            for name in (
                "users", "items", "catalogue", "vectors", "counts", "mf", "popularity", "cooccurrence",
                "history", "ranker", "centroids", "graph",
            )
        }  # fmt: skip
        before = {"measures": MeasuresBefore(self.measures)}
        return {**fixed, **before, **self.more, **self.measures, **self._keyed_policies()}

    def _keyed_policies(self) -> dict[str, Policy]:
        return dict(zip(self.policy_keys().values(), self.policies.values(), strict=True))

    def learners(self) -> dict[str, Part]:
        """The parts that learn from every block, in the order in which they need each other."""
        return {
            "vectors": self.vectors,
            "counts": self.counts,
            "mf": self.mf,
            "popularity": self.popularity,
            "history": self.history,
            "cooccurrence": self.cooccurrence,
            "centroids": self.centroids,
            **self.more,
        }

    def list_learners(self) -> dict[str, Part]:
        """The parts that may learn whole lists in one order, each from what was logged alone: on Kafka TRAIN
        has them."""
        return {"ranker": self.ranker, **self.more, **self._list_policies}

    def learn_lists(self, block: RowBlock, *, travelled: bool = True, late: bool | None = None) -> None:
        """Let those parts learn a block's lists, which came through `training` if it has `travelled`: those
        that learn `late`, those that do not, or all of them."""
        seen = block if travelled else None
        for name, part in self.list_learners().items():
            if late is not None and part.learns_late != late:
                continue
            if part.reads_inputs and seen is None:
                seen = as_it_travels(block)
            with naming(name):
                part.learn_lists(seen if part.reads_inputs and seen is not None else block)

    def late_learners(self) -> dict[str, Part]:
        """Those of them that may learn later than all else, by the name that they have in frames."""
        of_lists = self.list_learners().values()
        late = {id(part) for part in of_lists if part.learns_late}
        return {
            name: part for name, part in {**self.more, **self._keyed_policies()}.items() if id(part) in late
        }

    def learn_users(self, block: RowBlock) -> dict[str, Mapping[str, Columns]]:
        """Let every part learn the users' side of a block; what each of them says, by name."""
        told: dict[str, Mapping[str, Columns]] = {}
        reached = ""
        try:  # as in `learn_both`
            for reached, part in self.learners().items():
                told[reached] = part.learn_users(block, told)
        except Exception:
            with naming(reached):
                raise
        return told

    def learn_both(self, block: RowBlock) -> dict[str, Mapping[str, Columns]]:
        """Let every part learn a block whose users and items are owned here; as `learn_users`."""
        told: dict[str, Mapping[str, Columns]] = {}
        reached = ""
        try:  # `naming` each would be slow: a list of others ends a block
            for reached, part in self.learners().items():
                told[reached] = part.learn_both(block, told)
        except Exception:
            with naming(reached):
                raise
        return told

    def measure(self, block: FeedbackBlock) -> None:
        """Let every measure look at a block."""
        for name, measure in self.measures.items():
            with naming(name):
                measure.learn(block)

    def figures(self, failed: Callable[[str, str, Exception], None]) -> Iterator[Figure]:
        """What all measures show; of one with a name of its own, under that name. `failed` is told of those
        that raise: what, doing what, and the error."""
        for name, measure in self.measures.items():
            own, _, kind = name.partition(":")
            try:
                found = list(measure.figures())
            except Exception as error:  # noqa: BLE001
                failed(f"measure {own!r}", "showed its figures", error)
                continue
            for figure in found:
                yield figure._replace(name=f"{own}_{figure.name}") if kind else figure

    def read_notes(self, parts: Mapping[str, Part]) -> None:
        """Let every measure read what these parts note, by name."""
        found, reached = {}, ""
        try:  # `naming` each would be slow: ticks are many, and few parts note anything
            for name, part in parts.items():
                reached = name
                if notes := part.notes():
                    found[name.partition(":")[0]] = with_item_ids(notes, self.names_of)
            for name, measure in self.measures.items():
                reached = name
                measure.read(found)
        except Exception:
            with naming(reached):
                raise

    def names_of(self, side: str, rows: Int32) -> list[str | None]:
        """The ids in `rows` (n,) of a side's table; None for rows without an owner, and for -1."""
        return (self.users if side == "user" else self.items).ids_of(rows)

    def changes(self) -> Frame:
        """Changes of all parts."""
        frame: Frame = {}
        for name, part in self.named().items():
            with naming(name, "said what had changed"):
                frame[name] = part.changes()
        return frame

    def snapshot(self) -> Frame:
        """State of all parts, and what is kept of those that are not configured now."""
        frame: Frame = {name: part.snapshot() for name, part in self.named().items()}
        frame["learners"] = [*self.more, *self.measures]
        return {**frame, "unclaimed": kept} if (kept := self.unclaimed.snapshot()) else frame

    def restore(self, frame: Mapping[str, Any]) -> None:
        """Take over the state of all parts; one that the frame does not know starts afresh, and what it holds
        of policies and learners that are not here is kept.

        Raises:
            SettingsError: a part's state was learned under settings that do not go with those of now.
        """
        parts = self.named()
        stored = [name for name in frame if name.startswith(_POLICY)]
        self.unclaimed.restore(frame, parts, [*stored, *frame.get("learners", ())])
        for name, part in parts.items():
            with self._refusing(name):
                if name in frame:
                    part.restore(frame[name])
        for name, part in {**self.more, **self.measures, **self._keyed_policies()}.items():
            with self._refusing(name):
                self.unclaimed.give_back(name, part)

    def new_beside(self, frame: Mapping[str, Any]) -> list[str]:
        """Policies, learners and measures of which a snapshot holds nothing, so that they start afresh."""
        held = {*frame, *frame.get("unclaimed", {})}
        # Programs of before kept all measures as one.
        measures = () if frame.get("measures") else self.measures
        names = (*self.policy_keys().values(), *self.more, *measures)
        return sorted(name.removeprefix(_POLICY) for name in names if name not in held)

    def restore_lists(self, frame: Mapping[str, Any]) -> None:
        """As `restore`, of the parts that learn whole lists; `frame` holds them and what was kept of others.

        Raises:
            SettingsError: as for `restore`.
        """
        parts = self.list_learners()
        self.unclaimed.restore(frame, parts, [name for name in frame if name != "unclaimed"])
        for name, part in parts.items():
            with self._refusing(name):
                if name in frame:
                    part.restore(frame[name])
                self.unclaimed.give_back(name, part)

    @contextmanager
    def _refusing(self, name: str) -> Iterator[None]:
        """State that goes with other settings is refused by the part's name: no restart helps."""
        try:
            yield
        except (PolicyError, LearnerError) as error:
            msg = f"settings: {name.removeprefix(_POLICY)}: {error}"
            if name in self.more or name in self.measures:
                msg += "; put its settings back, or give it another `name`, so that it starts afresh"
            raise SettingsError(msg) from error
        except (FreshetError, MemoryError):
            raise
        except Exception as error:
            chosen = name in {**self.more, **self.measures, **self._list_policies}
            if not (chosen or name.startswith(_POLICY)):
                raise
            msg = (
                f"settings: part {name.removeprefix(_POLICY)!r} raised over its stored state: {error!r}; "
                "give it another `name`, so that it starts afresh"
            )
            raise SettingsError(msg) from error

    def put_items(self, rows: Int32, items: Sequence[ItemEvent]) -> None:
        """Tell the learners beside those that are always there which items the catalogue has taken."""
        if rows.size:
            for name, part in self.more.items():
                with naming(name, "took items"):
                    part.put_items(rows, items)

    def remove_items(self, rows: Int32) -> None:
        """Let go of item rows that the table has freed."""
        if not rows.size:
            return
        self.catalogue.remove_items(rows)
        for one in (*self.learners().values(), *self.deciders().values()):
            one.remove("item", rows)
        self.unclaimed.remove_items(rows)

    def remove_users(self, rows: Int32) -> None:
        """Let go of user rows that the table has freed."""
        if not rows.size:
            return
        for part in self.learners().values():
            part.remove("user", rows)
        self.unclaimed.remove_users(rows)

    def tick(self, now_ms: int) -> dict[str, Mapping[str, Columns]]:
        """Event time has come to `now_ms`, for the learners that go by it; what they say of it, by name."""
        told: dict[str, Mapping[str, Columns]] = {}
        for name, part in self.learners().items():
            with naming(name):
                if tables := part.tick(now_ms):
                    told[name] = tables
        return told

    def tick_both(self, now_ms: int) -> None:
        """As `tick`, where users and items have one owner."""
        for name, tables in self.tick(now_ms).items():
            self.learn_parcel(name, tables)
        self.centroids_gone(self.centroids.dead)
        self.tick_deciders(now_ms)

    def tick_deciders(self, now_ms: int) -> None:
        """Event time has come to `now_ms`, where items are owned."""
        for name, part in self.deciders().items():
            with naming(name):
                part.tick(now_ms)

    def learn_parcel(self, name: str, tables: Mapping[str, Columns]) -> None:
        """Let a part learn what the owner of users says, and others that are built on it follow."""
        part = self.learners()[name]
        with naming(name):
            part.learn_items(_NO_OUTCOMES, tables)
        if part is self.centroids:
            self.centroids_gone(self.centroids.dead)

    def centroids_gone(self, ids: Int32) -> None:
        """Drop what policies keep under centroids that are gone; their ids never come back."""
        for policy in self.policies.values():
            policy.centroids_gone(ids)


def build_parts(
    settings: LearningSettings, *, partition: int = 0, n_partitions: int = 1, trains: bool = False
) -> Parts:
    """Empty parts, as the settings say, of one partition or of all; `trains` where whole lists are learned.

    Raises:
        SettingsError: a part that was chosen cannot be built.

    Example:
        >>> list(build_parts(LearningSettings()).policies)
        ['diag_lin_ucb', 'uniform']
    """
    learn = settings.learn
    users, items = make_tables(learn)
    centroids, graph = make_clusters(settings, users if partition == 0 else None, items)
    mf = MatrixFactorisation(
        users,
        items,
        learning_rate=learn.learning_rate,
        l2=learn.l2,
        negatives=learn.negatives,
        shown_weight=learn.shown_weight,
        seed=learn.seed,
    )
    popularity = Popularity(half_lives_ms=learn.half_lives_ms)
    cooccurrence = CoOccurrence(slots=learn.neighbours)
    history, catalogue = Histories(cap=learn.history, window=learn.pair_window), Catalogue()
    chosen, item_keys = chosen_policies(settings), ItemKeys(items)
    parts = {
        "users": users, "items": items, "catalogue": catalogue, "mf": mf, "popularity": popularity,
        "cooccurrence": cooccurrence, "history": history, "centroids": centroids, "graph": graph,
    }  # fmt: skip
    world = _world(settings, parts, item_keys)
    world = replace(world, partition=partition, n_partitions=n_partitions, trains=trains)
    learners = chosen_learners(settings)
    more = build_chosen(learners, world, Part)
    world = replace(world, parts={**world.parts, **more})
    ranker = _ranker(settings, world)
    world = replace(world, rank_names=ranker.names)
    return Parts(
        users=users,
        items=items,
        catalogue=catalogue,
        vectors=Vectors(users, items),
        counts=Counts(users, items),
        mf=mf,
        popularity=popularity,
        cooccurrence=cooccurrence,
        history=history,
        ranker=ranker,
        centroids=centroids,
        graph=graph,
        request_features=request_features_of(settings),
        item_keys=item_keys,
        policies=build_chosen(chosen, world, Policy),
        kinds={one.name: one.kind.name for one in chosen},
        measures=_measures(settings, world),
        more={_frame_name(one): more[one.name] for one in learners},
        scored=tuple(read_by_scorers(settings)),
    )


def _world(settings: LearningSettings, parts: Mapping[str, Any], item_keys: ItemKeys) -> World:
    """What all parts share, of the whole and where nothing is trained."""
    request_features = request_features_of(settings)
    return World(
        dim=settings.learn.embedding_dim,
        request_dim=request_features.width,
        request_layout=request_features.layout,
        cap=settings.join.cap,
        actions=settings.join.kinds,
        seed=settings.learn.seed,
        parts=parts,
        item_keys=item_keys.of_rows,
    )


def _frame_name(one: Chosen) -> str:
    """One of another kind under the same name is another part, whose state fits nothing of this."""
    return one.name if one.name == one.kind.name else f"{one.name}:{one.kind.name}"


def _measures(settings: LearningSettings, world: World) -> dict[str, Measure]:
    chosen = chosen_measures(settings)
    built = build_chosen(chosen, world, Measure)
    return {_frame_name(one): built[one.name] for one in chosen}


def _ranker(settings: LearningSettings, world: World) -> Ranker:
    try:
        return Ranker(_scorers(settings, world))
    except LearnerError as error:
        msg = f"settings: scorers: {error}"
        raise SettingsError(msg) from error


def _scorers(settings: LearningSettings, world: World) -> list[Scorer]:
    chosen = chosen_scorers(settings)
    built: dict[str, Scorer] = build_chosen(chosen, world, Scorer)
    # Two of one kind have features of one name: those of a scorer with a name of its own bear that.
    return [
        built[one.name] if one.name == one.kind.name else Renamed(built[one.name], one.name) for one in chosen
    ]
