"""What holds for the tests of all rooms."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# An example may take as long as it takes: that measures the machine. In CI, where Hypothesis draws the same
# examples each time, the rest of that profile stays.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
