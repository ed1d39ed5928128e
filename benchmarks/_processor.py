"""What one thread asked of the processor, and how long it had to wait for one; Linux only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["ThreadTime", "all_threads"]


@dataclass(frozen=True)
class ThreadTime:
    """Seconds that a thread ran, and seconds that it was ready to run and another one ran instead."""

    ran_s: float
    waited_s: float

    def __sub__(self, earlier: ThreadTime) -> ThreadTime:
        """What has been added since."""
        return ThreadTime(self.ran_s - earlier.ran_s, self.waited_s - earlier.waited_s)


def all_threads(pid: int) -> tuple[ThreadTime, ThreadTime]:
    """Of a process the first thread, which runs the event loop, and the sum of the others."""
    loop, others = ThreadTime(0.0, 0.0), ThreadTime(0.0, 0.0)
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            ran, waited, _ = (task / "schedstat").read_text("ascii").split()
        except OSError:
            continue  # the thread ended meanwhile
        time = ThreadTime(int(ran) / 1e9, int(waited) / 1e9)
        if task.name == str(pid):
            loop = time
        else:
            others = ThreadTime(others.ran_s + time.ran_s, others.waited_s + time.waited_s)
    return loop, others
