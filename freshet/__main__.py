"""`python -m freshet` is `freshet`."""

from __future__ import annotations

from freshet.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
