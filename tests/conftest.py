"""What holds for the tests of all rooms."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# An example may take as long as it takes: that measures the machine. In CI, where Hypothesis draws the same
# examples each time, the rest of that profile stays.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

_FIRST = "tests/kafka"


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # it comes without types
    """One file at a time for each process, and all that ask the broker to one: it is started once, and its
    tests wait for it while the others compute."""

    def _split_scope(self, nodeid: str) -> str:
        return _FIRST if nodeid.startswith(_FIRST) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Shares the files out in the order below: none that is long may come last."""
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The broker's tests begin: they are the longest piece."""
    items.sort(key=lambda item: not item.nodeid.startswith(_FIRST))
