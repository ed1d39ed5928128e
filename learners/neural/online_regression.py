"""Online regression by a small network whose predictions are perturbed while it learns."""

from __future__ import annotations

from math import isfinite, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from learners.errors import LearnerError
from learners.network import NetworkShape
from learners.ops.hashing import mix
from learners.ops.network import CENTRE, activate, draw_signs, learn_head, mask_inactive, move_weights
from stream.frame import Frame

__all__ = ["OnlineRegression"]

Float32 = npt.NDArray[np.float32]

_ABSURD = 25.0
"""Mean loss of a batch beyond which a network has diverged: targets are 0..1, so that a squared error of 50,
or a logit of 25 on the wrong side, is no prediction any more."""


class OnlineRegression:
    """Projected online gradient descent on a perturbed prediction (Deb et al., ICLR 2024, arXiv 2312.07145).

        f~(theta; x, e) = f(theta; x) + c m^(-1/4) <theta - theta_0, e>,    e = +-1 for each weight

    A step takes the mean loss of one batch over S draws of e, goes down its gradient, and puts the weights
    back into the ball of `radius` around theta_0. Signs are those of counters, new ones for each step; the
    starting weights are, too. So the weights after n batches depend on these batches alone. On another kind
    of processor they may differ in the last bits, for the library adds up in another order there.

    Multiplying matrices is torch's; what is small is compiled (`learners.ops.network`), for at these sizes a
    call costs more than its work. Gradients are written out by hand for the same reason.

    *Diverging.* Where a batch's loss or a step is not finite, or the loss is absurd, training stops for good:
    `diverged`, and the weights become those that scored the batch before that.

    Args:
        shape: of the network.
        batch: examples a step; `x` (batch, inputs + 1), `losses` and `amounts` (batch,) are to be filled, the
            last column of `x` is 1.
        logistic: the loss is the cross-entropy of a sigmoid (KL); else half the squared error.
        learning_rate: of a step, times the units of the last layer; with half the squared error a step that
            is longer than about 1 overshoots.
        halving: steps after which a step is half as long as the first; its length falls as 1 / sqrt(t), as
            online gradient descent has it.
        radius: of the ball.
        perturbation: c; 0 for none.
        draws: S.
        n_active: inputs of an example that are not 0, about; starting weights rest on it.
        seed: of starting weights and signs.

    Example:
        >>> model = OnlineRegression(NetworkShape(1, (8,)), batch=2, learning_rate=1.0)
        >>> for _ in range(200):
        ...     model.x[:, 0], model.losses[:], model.amounts[:] = [0.0, 1.0], [0.8, 0.2], 1.0
        ...     model.step()
        >>> [round(float(f), 3) for f in model.outputs(model.x)]
        [0.8, 0.2]
    """

    def __init__(
        self,
        shape: NetworkShape,
        *,
        batch: int,
        logistic: bool = False,
        learning_rate: float = 0.5,
        radius: float = 100.0,
        halving: float = np.inf,
        perturbation: float = 0.0,
        draws: int = 4,
        n_active: int = 1,
        seed: int = 0,
    ) -> None:
        if batch < 1 or not learning_rate >= 0 or not radius > 0 or not perturbation >= 0 or draws < 1:
            msg = (
                "a regression needs batch, draws >= 1, learning_rate, perturbation >= 0 and radius > 0; got "
                f"batch={batch}, draws={draws}, learning_rate={learning_rate}, radius={radius}, "
                f"perturbation={perturbation}"
            )
            raise LearnerError(msg)
        self.shape, self.batch, self.logistic = shape, batch, logistic
        self.learning_rate, self.radius = learning_rate, radius
        # The last layer's share of how far a step moves a prediction grows with its units.
        self._rate, self._halving = learning_rate / shape.hidden[-1], halving
        self.steps, self.diverged, self.loss = 0, False, 0.0
        self._key = int(mix(np.uint64(seed % 2**64), np.uint64(1)))
        self._start = shape.start(n_active=n_active, bias=0.0 if logistic else 0.5, key=seed)
        draws = draws if perturbation > 0 else 1
        self._scale = np.float32(perturbation / shape.hidden[-1] ** 0.25)
        self._signs = np.zeros((draws if perturbation > 0 else 0, shape.n_weights // 32), np.uint32)
        self._shifts, self._shares = np.zeros(draws, np.float32), np.zeros(draws, np.float32)
        self._gaps = shape.gaps
        self._good = self._start.copy()
        self._allocate()

    def _allocate(self) -> None:
        """Everything that a step writes. Torch's memory begins at a border of 64 bytes, as numpy's may not:
        the bits of a product of matrices may depend on where they lie."""
        shape, n = self.shape, self.batch
        self.weights = torch.from_numpy(self._start).clone().numpy()
        self._gradient = torch.zeros(shape.n_weights).numpy()
        self._matrices = _views(torch.from_numpy(self.weights), shape)
        self._gradients = _views(torch.from_numpy(self._gradient), shape)
        self._layers = [torch.ones(n, width + 1) for width in (shape.inputs, *shape.hidden)]
        self._units = [layer[:, :-1] for layer in self._layers]
        self._falls = [torch.zeros(n, width) for width in shape.hidden]
        self.x: Float32 = self._layers[0].numpy()
        self.losses: Float32 = np.zeros(n, np.float32)
        self.amounts: Float32 = np.ones(n, np.float32)
        self._hidden = [layer.numpy() for layer in self._layers]
        self._fall_arrays = [fall.numpy() for fall in self._falls]
        self._head = self._matrices[-1].numpy().reshape(-1)
        self._head_gradient = self._gradients[-1].numpy().reshape(-1)
        self._transposed = [layer.t() for layer in self._layers]
        self._turned = [matrix[:-1].t() for matrix in self._matrices]

    def step(self) -> None:
        """Learn the batch that `x`, `losses` and `amounts` hold; nothing once it has diverged."""
        if self.diverged:
            return
        # One thread, whatever the process has set: at these sizes more are slower, and sums keep their order.
        before = torch.get_num_threads()
        if before == 1:
            self._step()
            return
        torch.set_num_threads(1)
        try:
            self._step()
        finally:
            torch.set_num_threads(before)

    def _step(self) -> None:
        if self._signs.size:
            key = np.uint64(mix(np.uint64(self._key), np.uint64(self.steps)))
            draw_signs(self.weights, self._start, key, self._scale, self._signs, self._shifts)
        n_hidden = len(self.shape.hidden)
        for layer in range(n_hidden):
            torch.mm(self._layers[layer], self._matrices[layer], out=self._units[layer + 1])
            activate(self._hidden[layer + 1])
        self.loss = learn_head(
            self._hidden[-1], self._head, self.losses, self.amounts, self._shifts, self.logistic,
            self._head_gradient, self._fall_arrays[-1], self._shares,
        )  # fmt: skip
        if not self.loss <= _ABSURD:
            self._stop()
            return
        self._good[:] = self.weights
        for layer in range(n_hidden - 1, 0, -1):
            torch.mm(self._transposed[layer], self._falls[layer], out=self._gradients[layer])
            torch.mm(self._falls[layer], self._turned[layer], out=self._falls[layer - 1])
            mask_inactive(self._fall_arrays[layer - 1], self._hidden[layer])
        torch.mm(self._transposed[0], self._falls[0], out=self._gradients[0])
        rate = self._rate / sqrt(1.0 + 3.0 * self.steps / self._halving)
        distance = move_weights(
            self.weights, self._start, self._gradient, self._signs, self._shares, self._scale, self._gaps,
            rate, self.radius,
        )  # fmt: skip
        self.steps += 1
        if not isfinite(distance):
            self._stop()

    def _stop(self) -> None:
        self.diverged = True
        self.weights[:] = self._good

    def outputs(self, x: Float32) -> Float32:
        """f (n,) of inputs (n, inputs + 1), as torch computes it."""
        h = torch.from_numpy(x)
        ones = torch.ones(len(x), 1)
        for matrix in self._matrices[:-1]:
            h = torch.cat([torch.relu(h @ matrix) - CENTRE, ones], 1)
        out: Float32 = (h @ self._matrices[-1]).reshape(-1).numpy()
        return out

    # --- state ---

    def snapshot(self) -> Frame:
        """Weights, those of the batch before, and how far it has come; whoever fills batches keeps those."""
        return {
            "weights": self.weights.copy(),
            "good": self._good.copy(),
            "steps": self.steps,
            "diverged": self.diverged,
            "loss": float(self.loss),
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described.

        Raises:
            LearnerError: it is of a network of another shape.
        """
        if frame["weights"].shape != self.weights.shape:
            msg = f"expected {self.weights.size} weights, got {frame['weights'].size}: another network"
            raise LearnerError(msg)
        self.weights[:], self._good[:] = frame["weights"], frame["good"]
        self.steps, self.diverged, self.loss = frame["steps"], frame["diverged"], frame["loss"]


def _views(flat: Any, shape: NetworkShape) -> list[Any]:
    """The matrices in a flat tensor."""
    return [
        flat[at : at + rows * columns].view(rows, columns)
        for at, (rows, columns) in zip(shape.offsets.tolist(), shape.sizes, strict=True)
    ]
