"""What policies have in common that choose by a network's predicted losses."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from bandits.base import Context, Policy
from bandits.errors import PolicyError
from bandits.network_inputs import NetworkInputs
from bandits.ops.arrays import Float32, Float64, Int32
from bandits.plans import InverseGap
from learners.errors import LearnerError
from learners.item_keys import numbered_keys
from learners.network import NetworkShape
from learners.ops.network import predict
from learners.part import Column, Columns, PartSpec, Side
from learners.published import Published
from learners.rows import RowBlock
from learners.world import World
from stream.blocks import CLOSED
from stream.frame import Frame

__all__ = ["NetworkPolicy", "NetworkSettings"]

_log = logging.getLogger(__name__)

UInt64 = npt.NDArray[np.uint64]

_NONE = np.zeros(0, np.int32)
_STOPPED = (
    "learns nothing any more and serves its last good weights; lower its learning_rate, then set "
    "retry_diverged or give it another name"
)


class NetworkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the network looks at, how it learns and how strictly its predictions are followed."""

    gamma0: Annotated[float, Meta(ge=0, le=1_000_000)] = 20.0
    """How strictly the best prediction is followed after one round: gamma = gamma0 t^rho, t lists learned."""
    rho: Annotated[float, Meta(ge=0, le=2)] = 0.5
    """How fast that grows."""
    width: Annotated[int, Meta(ge=1, le=512)] = 64
    """Units of a hidden layer."""
    layers: Annotated[int, Meta(ge=1, le=4)] = 2
    """Hidden layers."""
    item_slots: Annotated[int, Meta(ge=0, le=4_096)] = 64
    """Items that the network knows apart, the first that it learns; later ones share their slots. 0: it knows
    items by the ranker's features alone."""
    crossed: bool | None = None
    """Give each slot weights of its own for the request's features, as the paper does: it learns faster. Left
    out: where requests have features and the network stays small enough to travel."""
    learning_rate: Annotated[float, Meta(ge=0, le=1_000)] = 4.0
    """Length of the first steps, in units of the gradient of a batch's mean loss by `width`."""
    halving: Annotated[float, Meta(gt=0, le=1e12)] = 400.0
    """Steps after which they are half as long; the length falls as 1 / sqrt(t)."""
    batch: Annotated[int, Meta(ge=1, le=4_096)] = 8
    """Shown places a step."""
    radius: Annotated[float, Meta(gt=0, le=1_000_000)] = 100.0
    """How far all weights together may move from where they started; a step beyond is put back."""
    perturb: bool = True
    """Perturb predictions while learning, as the paper does."""
    perturbation: Annotated[float, Meta(ge=0, le=100)] = 0.1
    """How much: c in c width^(-1/4)."""
    draws: Annotated[int, Meta(ge=1, le=256)] = 4
    """Perturbations that a step takes the mean of; of the order of log(width)."""
    freeze_rows: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 10_000
    """Shown places that the scale of numeric features rests on; 0 takes the features as they are."""
    publish_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 10_000
    """Event time between weights that are sent to those who serve; 0: at each step."""
    retry_diverged: bool = False
    """At a restart, a network that diverged starts afresh; else it goes on serving its last good weights."""


class NetworkPolicy(Policy):
    """A network learns the loss of a shown place in 0..1, one pass; `InverseGap` chooses by its predictions.

    Loss is 1 - reward / cap, counted when the list's window closes; all shown places of decided lists teach,
    each as much as its list stands for. Features and items are as `NetworkInputs` says. They are learned in
    batches of `batch`, in the one order of whole lists (`learn_lists`), by torch, in the process that
    `trains`; everywhere else the network is a compiled function of its published columns. What is published,
    every `publish_ms` of event time, is what the learner itself decides on.

    *Gamma* = gamma0 t^rho, t the lists learned when the weights were published.

    *Diverging.* A network whose loss or weights are not finite any more, or absurd, stops learning for good:
    that is logged, then and at each start, `notes` has it (`diverged`), and the last good weights go on
    serving. A restart keeps it so, unless `retry_diverged` is set.

    Args:
        n_request: features of a request.
        rank_names: the ranker's features, in their order.
        layout: tells the request's features from others.
        item_keys: see `World`.
        cap: the largest reward of a shown place.
        seed: of starting weights and perturbations.
        trains: whether lists are learned here.
        settings: as above.
        called: the name that it has in the settings, for the log and errors; else that of its kind.

    Raises:
        PolicyError: the network would be too large to travel.
    """

    reads_inputs = learns_late = True
    logistic: ClassVar[bool]
    """Whether the loss is the cross-entropy of a sigmoid (KL); else the squared error."""
    fast: ClassVar[bool]
    """Whether it chooses by FastCB's form; else by SquareCB's."""
    defaults: ClassVar[NetworkSettings]

    def __init__(
        self,
        n_request: int = 1,
        *,
        rank_names: tuple[str, ...] = (),
        layout: str = "",
        item_keys: Callable[[Int32], UInt64] = numbered_keys,
        cap: float = 1.0,
        seed: int = 0,
        trains: bool = True,
        settings: NetworkSettings | None = None,
        called: str = "",
    ) -> None:
        self.settings, self.called = settings or self.defaults, called or self.name
        s = self.settings
        self.inputs = NetworkInputs(
            n_request,
            len(rank_names),
            slots=s.item_slots,
            crossed=s.crossed is True or (s.crossed is None and _fits_crossed(s, n_request, len(rank_names))),
            freeze_rows=s.freeze_rows,
            item_keys=item_keys,
        )
        try:
            self.shape = NetworkShape(self.inputs.width, (s.width,) * s.layers)
        except LearnerError as error:
            msg = f"{self.called}: {error}"
            raise PolicyError(msg) from error
        self.layout = f"{layout}|{','.join(rank_names)}"
        self.cap, self._seed = cap, seed
        self.spec = PartSpec({"shared": _columns(self.shape, self.inputs)})
        self._offsets, self._widths = self.shape.offsets, self.shape.widths
        self._model: Any = None
        self._allocate()
        if trains:
            self._model = self._new_model()
            self._losses, self._amounts = self._model.losses, self._model.amounts  # the same memory
        self._given = Published(s.publish_ms, self._columns())

    def _allocate(self) -> None:
        """Room for a batch: raw features, so that they are scaled by what is known when it is learned."""
        n = self.settings.batch
        self._n_waiting = 0
        self._features = np.zeros((n, self.inputs.n_features), np.float32)
        self._keys = np.zeros(n, np.uint64)
        self._losses, self._amounts = np.zeros(n, np.float32), np.zeros(n, np.float32)
        self._rounds = 0.0

    def _new_model(self) -> Any:
        # By name, so that nothing but a process that trains ever loads torch.
        s, module = self.settings, importlib.import_module("learners.neural.online_regression")
        return module.OnlineRegression(
            self.shape,
            batch=s.batch,
            logistic=self.logistic,
            learning_rate=s.learning_rate,
            radius=s.radius,
            halving=s.halving,
            perturbation=s.perturbation if s.perturb else 0.0,
            draws=s.draws,
            n_active=self.inputs.n_active,
            seed=self._seed,
        )

    # --- deciding ---

    def plan(self, context: Context, candidates: Int32) -> InverseGap:
        """Shares by predicted losses."""
        rounds = float(self._given.columns["rounds"])
        gamma = self.settings.gamma0 * rounds**self.settings.rho
        return InverseGap(self.losses(context, candidates), gamma, self.fast)

    def losses(self, context: Context, rows: Int32) -> Float64:
        """Predicted losses (n,) in 0..1 of item rows (n,); the reward is 1 - that, of the largest one.

        Raises:
            PolicyError: the context's features are others than were learned.
        """
        request, inputs, given = context.features, self.inputs, self._given.columns
        if request is None and inputs.n_request == 1:
            request = np.ones(1, np.float32)
        if request is None or request.shape != (inputs.n_request,):
            shape = None if request is None else request.shape
            msg = f"{self.called} decides on features of shape ({inputs.n_request},); the context has {shape}"
            raise PolicyError(msg)
        out = predict(
            given["weights"], self._offsets, self._widths, request, self._rank_features(context, rows),
            inputs.slots_of(rows, given["keys"]), inputs.slots, inputs.crossed, given["mean"], given["scale"],
            inputs.most,
        ).astype(np.float64)  # fmt: skip
        if self.logistic:
            return np.asarray(0.5 + 0.5 * np.tanh(0.5 * out), np.float64)  # a sigmoid that cannot overflow
        return np.clip(out, 0.0, 1.0)

    def _rank_features(self, context: Context, rows: Int32) -> Float32:
        n = self.inputs.n_rank
        if n and context.rank_features is not None:
            found = context.rank_features(rows)
            if found.shape == (rows.size, n):
                return np.ascontiguousarray(found, np.float32)
        return np.full((rows.size, n), np.nan, np.float32)

    # --- learning ---

    def learn(self, rows: RowBlock) -> Int32:
        """Nothing: what it learns comes as whole lists."""
        return _NONE

    def learn_lists(self, block: RowBlock) -> None:
        """Learn the shown places of decided lists that end, in order.

        Raises:
            PolicyError: the block's requests have another number of features.
        """
        if self._model is None or self._model.diverged:
            return
        ends = np.flatnonzero(block.kind == CLOSED)
        ends = ends[block.decided[block.slate[ends]]]
        if not ends.size:
            return
        lists, amounts = block.slate[ends], block.stands_for[ends]
        n_places = block.start[lists + 1] - block.start[lists]
        # One after the other from where it stands, so that it adds up alike however blocks are cut.
        rounds = np.cumsum(np.concatenate([[self._rounds], amounts]))[1:]
        of_list = np.repeat(np.arange(ends.size), n_places)
        before = np.cumsum(n_places) - n_places
        places = np.arange(of_list.size) - before[of_list] + block.start[lists][of_list]
        if block.request.shape[1] != self.inputs.n_request:
            msg = (
                f"{self.called} learns features of width {self.inputs.n_request}; the block has "
                f"{block.request.shape[1]}"
            )
            raise PolicyError(msg)
        keys = block.item_keys[places] if block.item_keys.size else np.zeros(places.size, np.uint64)
        features = self.inputs.features(block.request[lists][of_list], block.rank_features[places])
        losses = 1.0 - np.clip(block.rewards[places] / np.float32(self.cap), 0.0, 1.0)
        self._learn(features, keys, losses, amounts[of_list], rounds[of_list], block.ts[ends][of_list])
        if not self._model.diverged:  # else as many as there were at that step, however the block was cut
            self._rounds = float(rounds[-1])

    def _learn(
        self,
        features: Float32,
        keys: UInt64,
        losses: Float32,
        amounts: Float64,
        rounds: Float64,
        ts: npt.NDArray[np.int64],
    ) -> None:
        """Put examples into batches; each that is full is a step."""
        at, n, size = 0, len(features), self.settings.batch
        while at < n and not self._model.diverged:
            first = self._n_waiting
            taken = min(n - at, size - first)
            here, there = slice(first, first + taken), slice(at, at + taken)
            self._features[here], self._keys[here] = features[there], keys[there]
            self._losses[here], self._amounts[here] = losses[there], amounts[there]
            at, self._n_waiting = at + taken, first + taken
            if self._n_waiting == size:
                self._n_waiting = 0
                self._rounds = float(rounds[at - 1])
                self._step(int(ts[at - 1]))

    def _step(self, ts: int) -> None:
        model = self._model
        self.inputs.fill(model.x, self._features, self._keys)
        model.step()
        if model.diverged:
            _log.error(
                "%s diverged at step %d, with a loss of %s: it %s",
                self.called, model.steps, model.loss, _STOPPED,
            )  # fmt: skip
            self._given.replace(self._columns())
        else:
            self._given.step(ts, self._columns)

    def remove_items(self, rows: Int32) -> None:
        """Nothing: items are known by keys, and what was learned of them is in all weights."""

    # --- replication ---

    def _columns(self) -> Columns:
        model, inputs = self._model, self.inputs
        return {
            "weights": self._first_weights() if model is None else model.weights,
            "keys": inputs.keys,
            "mean": inputs.mean,
            "scale": inputs.scale,
            "rounds": np.array(self._rounds),
            "steps": np.array(0 if model is None else model.steps, np.int64),
            "diverged": np.array(model is not None and model.diverged),
        }

    def _first_weights(self) -> Float32:
        bias = 0.0 if self.logistic else 0.5
        return self.shape.start(n_active=self.inputs.n_active, bias=bias, key=self._seed)

    def touched(self, side: Side) -> Int32:
        """See `learners.part.Part.touched`."""
        return self._given.drain() if side == "shared" else _NONE

    def export(self, side: Side, rows: Int32) -> Columns:
        """See `learners.part.Part.export`: what was published last."""
        return {name: np.array(column) for name, column in self._given.columns.items()}

    def check_shared(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Weights and scales are finite.

        Raises:
            PolicyError: they are not.
        """
        for name in ("weights", "mean", "scale", "rounds"):
            if not np.isfinite(columns[name]).all():
                msg = f"{self.called}: {name} must be finite"
                raise PolicyError(msg)

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """See `learners.part.Part.adopt`."""
        self._given.columns = {name: np.array(columns[name]) for name in self._given.columns}

    def notes(self) -> Columns:
        """Lists learned, steps, mean loss of the last batch, items with a slot, and whether it diverged."""
        model = self._model
        if model is None:
            return {}
        return {
            "rounds": np.array(self._rounds),
            "steps": np.array(model.steps),
            "loss": np.array(model.loss),
            "slots_taken": np.array(int((self.inputs.keys != 0).sum())),
            "diverged": np.array(int(model.diverged)),
        }

    # --- state ---

    def snapshot(self) -> Frame:
        """The network, the batch that is not full yet, and what was published."""
        frame: Frame = {"layout": self.layout, "given": self._given.snapshot()}
        if self._model is None:
            return frame
        n = self._n_waiting
        waiting = {
            "features": self._features[:n].copy(),
            "keys": self._keys[:n].copy(),
            "losses": self._losses[:n].copy(),
            "amounts": self._amounts[:n].copy(),
        }
        learned = {"model": self._model.snapshot(), "inputs": self.inputs.snapshot(), "rounds": self._rounds}
        return {**frame, **learned, "waiting": waiting}

    def restore(self, frame: Frame) -> None:
        """Become the state of a snapshot; a diverged one may start afresh (`retry_diverged`).

        Raises:
            PolicyError: it is of other features, or of another network.
        """
        given = frame["given"]["columns"]
        mine = {name: column.shape for name, column in self._given.columns.items()}
        if frame["layout"] != self.layout or {name: given[name].shape for name in given} != mine:
            msg = (
                "what it learned is of other features or another network: "
                f"{'; '.join(self._differences(frame['layout'], given))}; put that back, or let it start "
                "afresh under another `name`"
            )
            raise PolicyError(msg)
        if self._model is not None and self.settings.retry_diverged and bool(given["diverged"]):
            _log.warning("%s had diverged, and starts afresh", self.called)
            self._given.replace(self._columns())
            return
        self._given.restore(frame["given"])
        if self._model is None or "model" not in frame:
            return
        self._model.restore(frame["model"])
        self.inputs.restore(frame["inputs"])
        waiting, self._rounds = frame["waiting"], frame["rounds"]
        if self._model.diverged:
            # Once a start: the line that told of it may be long gone from the log.
            _log.warning(
                "%s diverged at step %d, before this start: it %s", self.called, self._model.steps, _STOPPED
            )
        # With a smaller `batch` than before they may make steps at once.
        self._n_waiting, n = 0, len(waiting["keys"])
        rounds, ts = np.full(n, self._rounds), np.full(n, frame["given"]["at_ms"] or 0, np.int64)
        self._learn(
            waiting["features"], waiting["keys"], waiting["losses"], waiting["amounts"], rounds, ts
        )  # fmt: skip

    def _differences(self, layout: str, columns: Mapping[str, npt.NDArray[Any]]) -> list[str]:
        """In what the network of a snapshot differs from this one, each with what was and what came."""
        inputs, n_weights = self.inputs, self.shape.n_weights
        features, _, scorers = layout.partition("|")
        n_request = columns["mean"].size - (scorers.count(",") + 1 if scorers else 0)
        features_now, _, scorers_now = self.layout.partition("|")
        found = []
        if (features, n_request) != (features_now, inputs.n_request):
            # A layout is a hash: of the names themselves nothing is kept.
            other = ", of other names or another order" if n_request == inputs.n_request else ""
            found.append(f"policy.features made {n_request} numbers, now {inputs.n_request}{other}")
        if scorers != scorers_now:
            found.append(f"the scorers' features were {scorers or 'none'}, now {scorers_now or 'none'}")
        if columns["keys"].size != inputs.slots:
            found.append(f"item_slots was {columns['keys'].size}, now {inputs.slots}")
        # All of these change the number of weights, too: it tells something only where none of them did.
        return found or [f"width, layers or crossed made {columns['weights'].size} weights, now {n_weights}"]

    # --- building ---

    @staticmethod
    def arguments(settings: NetworkSettings, world: World) -> dict[str, Any]:
        """What `build(settings, world)` makes one of."""
        return {
            "n_request": world.request_dim,
            "rank_names": world.rank_names,
            "layout": world.request_layout,
            "item_keys": world.item_keys,
            "cap": world.cap,
            "seed": world.seed,
            "trains": world.trains,
            "settings": settings,
            "called": world.name,
        }


def _fits_crossed(settings: NetworkSettings, n_request: int, n_rank: int) -> bool:
    """Whether blocks of request x item tell more than the slots alone, and are few enough."""
    inputs = NetworkInputs(n_request, n_rank, slots=settings.item_slots, crossed=True)
    try:
        NetworkShape(inputs.width, (settings.width,) * settings.layers)
    except LearnerError:
        return False
    return n_request > 1


def _columns(shape: NetworkShape, inputs: NetworkInputs) -> tuple[Column, ...]:
    return (
        Column("weights", "<f4", (shape.n_weights,)),
        Column("keys", "<u8", (inputs.slots,)),
        Column("mean", "<f4", (inputs.n_features,)),
        Column("scale", "<f4", (inputs.n_features,)),
        Column("rounds", "<f8"),
        Column("steps", "<i8"),
        Column("diverged", "?"),
    )
