"""`python -m freshet` is `freshet`."""

from __future__ import annotations

import sys
from pathlib import Path

__all__: list[str] = []

if __name__ == "__main__":
    # `-m` looks for modules in the current folder first, where a stranger's `queue.py` must not run; but a
    # checkout may be that folder.
    if not sys.flags.safe_path and Path(sys.path[0]) != Path(__file__).parents[1]:
        del sys.path[0]
    from freshet.siblings import refuse_strangers

    refuse_strangers()
    from freshet.cli import main

    main()
