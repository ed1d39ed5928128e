"""NeuSquareCB: a small network predicts losses, and SquareCB's shares choose by them."""

from __future__ import annotations

from bandits.network_policy import NetworkPolicy, NetworkSettings
from learners.world import World

__all__ = ["NeuSquareCb", "Settings", "build"]

SOURCE = "Deb et al., ICLR 2024, arXiv 2312.07145; Foster and Rakhlin, ICML 2020"
READS_FEATURES = True
TRAINS_WITH = ("torch",)


class Settings(NetworkSettings, frozen=True, forbid_unknown_fields=True):
    """What the network looks at, how it learns, and how strictly its predictions are followed."""


class NeuSquareCb(NetworkPolicy):
    """A network with squared loss, and p_a = 1 / (K + gamma (y_a - y_b)) for all but the best predicted b.

    Example:
        >>> import numpy as np
        >>> from bandits import Context
        >>> nobody = Context(np.array([0], np.int32), np.ones(1, np.float32), np.ones(1, np.float32))
        >>> NeuSquareCb(trains=False).probabilities(nobody, np.array([3, 8], np.int32)).tolist()
        [0.5, 0.5]
    """

    name = "neu_square_cb"
    logistic, fast = False, False
    defaults = Settings()


def build(settings: Settings, world: World) -> NeuSquareCb:
    """The policy, as the settings say.

    Raises:
        PolicyError: the network would be too large to travel.
    """
    return NeuSquareCb(**NetworkPolicy.arguments(settings, world))
