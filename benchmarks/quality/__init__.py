"""How well each policy and learner learns: planted worlds and small real logs, over seeds, with intervals.

`python -m benchmarks.quality` prints the table, `--write docs/results.md` writes it. Each module with a
function `rows(quick)` is a part of the suite; nothing lists them.
"""

__all__: list[str] = []
