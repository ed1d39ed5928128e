"""What to try, and with what probability.

A policy turns a context and candidates into a choice and its probability, and learns from every slate that
was decided and shown. `DiagLinUcb` over a `ClusterItemGraph` is the one for large catalogues; `LinUcb` is the
exact method that it is compared with; `BetaThompson`, `EpsilonGreedy` and `Uniform` ignore the context.
`build_slate` mixes a policy's choices into a ranker's order and says how likely each item was at its place.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bandits.base import Choice, Context, Policy, Reach
from bandits.centroids import DEFAULT_CLUSTER, Centroids
from bandits.draws import Draws, Uniforms, request_key
from bandits.errors import PolicyError
from bandits.graph import ClusterItemGraph
from bandits.plans import Beliefs, InverseGap, Places, Plan, Rule
from bandits.slate import Offered, Slated, build_slate, slate_propensities, slate_weight
from bandits.warm_choices import warm_up

if TYPE_CHECKING:
    from bandits.policies.diag_lin_ucb import DiagLinUcb
    from bandits.policies.epsilon_greedy import EpsilonGreedy
    from bandits.policies.lin_ucb import LinUcb
    from bandits.policies.thompson import BetaThompson
    from bandits.policies.uniform import Uniform

__all__ = [
    "DEFAULT_CLUSTER",
    "Beliefs",
    "BetaThompson",
    "Centroids",
    "Choice",
    "ClusterItemGraph",
    "Context",
    "DiagLinUcb",
    "Draws",
    "EpsilonGreedy",
    "InverseGap",
    "LinUcb",
    "Offered",
    "Places",
    "Plan",
    "Policy",
    "PolicyError",
    "Reach",
    "Rule",
    "Slated",
    "Uniform",
    "Uniforms",
    "build_slate",
    "request_key",
    "slate_propensities",
    "slate_weight",
    "warm_up",
]

_MODULES = {
    "BetaThompson": "thompson",
    "DiagLinUcb": "diag_lin_ucb",
    "EpsilonGreedy": "epsilon_greedy",
    "LinUcb": "lin_ucb",
    "Uniform": "uniform",
}


def __getattr__(name: str) -> Any:
    # A policy is imported when somebody names it: a process has those that it was told to run.
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"bandits.policies.{_MODULES[name]}"), name)
