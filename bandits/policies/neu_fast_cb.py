"""NeuFastCB: a small network predicts losses by cross-entropy, and FastCB's shares choose by them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from bandits.network_policy import NetworkPolicy, NetworkSettings
from learners.world import World

__all__ = ["NeuFastCb", "Settings", "build"]

SOURCE = "Deb et al., ICLR 2024, arXiv 2312.07145; Foster and Krishnamurthy, NeurIPS 2021"
READS_FEATURES = True
TRAINS_WITH = ("torch",)


class Settings(NetworkSettings, frozen=True, forbid_unknown_fields=True):
    """What the network looks at, how it learns, and how strictly its predictions are followed."""

    learning_rate: Annotated[float, Meta(ge=0, le=1_000)] = 32.0
    """Length of the first steps, in units of the gradient of a batch's mean loss by `width`; this loss bears
    longer ones than the squared error."""


class NeuFastCb(NetworkPolicy):
    """A network with cross-entropy (KL), and p_a = y_b / (K y_b + gamma (y_a - y_b)) for all but the best
    predicted b: where the best loss is near 0 it explores little.

    Example:
        >>> import numpy as np
        >>> from bandits import Context
        >>> nobody = Context(np.array([0], np.int32), np.ones(1, np.float32), np.ones(1, np.float32))
        >>> NeuFastCb(trains=False).probabilities(nobody, np.array([3, 8], np.int32)).tolist()
        [0.5, 0.5]
    """

    name = "neu_fast_cb"
    logistic, fast = True, True
    defaults = Settings()


def build(settings: Settings, world: World) -> NeuFastCb:
    """The policy, as the settings say.

    Raises:
        PolicyError: the network would be too large to travel.
    """
    return NeuFastCb(**NetworkPolicy.arguments(settings, world))
