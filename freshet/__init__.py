"""The product: settings, wiring of the rooms into one loop, and the command line."""

from __future__ import annotations

import sys

from freshet.siblings import refuse_strangers

__all__ = ["__version__"]

__version__ = "0.1.0"

# `python -m freshet` takes the current folder off the path first, see `__main__`, which looks then.
if sys.orig_argv[1:3] != ["-m", "freshet"]:
    refuse_strangers()
