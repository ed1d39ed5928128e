"""Errors of the learning room, and of starting what uses it.

FreshetError
├── SettingsError    a setting is unknown or does not fit
└── StartError       the system cannot start here; the message says what to do
"""

from __future__ import annotations

from stream.errors import FreshetError

__all__ = ["SettingsError", "StartError"]


class SettingsError(FreshetError):
    """A setting is unknown, cannot be read, or has a value that does not fit."""


class StartError(FreshetError):
    """The system cannot start: port in use, folder in use, a process that died at once."""
