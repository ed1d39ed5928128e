"""Kinds of operations of a block, as whole numbers that kernels compile in.

`stream.blocks` hands them on for everything that is no kernel.
"""

from __future__ import annotations

__all__ = ["CLICK", "CLOSED", "ORGANIC", "SHOWN", "TAKEN_BACK"]

SHOWN = 0
"""A slate counts as shown: every place had one impression. For consumers in `immediate` mode."""
CLICK = 1
"""The reward of one shown place changed by `reward`. `first` says that it rose above 0, or fell below 0 (a
dislike), for the first time; the sign of `reward` says which. A `reward` of 0 is a signal: a click of a kind
of weight 0."""
CLOSED = 2
"""A slate's window is over: places in `Slate.rewards` were positives, the others negatives (`windowed`)."""
ORGANIC = 3
"""A click without a decision behind it: teaches embeddings, co-occurrence and popularity, never a policy.
With a negative `reward` it is a dislike, with one of 0 a signal."""
TAKEN_BACK = -1
"""As the kind of a click (`FeedbackBlock.action`): nobody clicked, a reward moved or was withdrawn."""
