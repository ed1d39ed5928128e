"""Numbers in a client's text that no machine word holds."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["may_be_wide", "wide_number"]

_LEAST, _MOST = -(2**63), 2**64 - 1
_LONG = re.compile(rb"\d{19}|\d[eE]\+?\d{3}")


def may_be_wide(text: bytes) -> bool:
    """Whether a JSON text can hold such a number at all: a quick look.

    Example:
        >>> may_be_wide(b'{"x": 1700000000000}'), may_be_wide(b'{"x": 1e400}')
        (False, True)
    """
    return _LONG.search(text) is not None


def wide_number(field: str, value: Any) -> str | None:
    """Why `value`, read from JSON, holds a whole number beyond 64 bits, as a reason that names it; or None.

    Example:
        >>> wide_number("context", {"features": [1, 10**400]})
        'context.features[1]: expected a number of at most 64 bits, got one of 401 digits'
    """
    if type(value) is int:
        if _LEAST <= value <= _MOST:
            return None
        return f"{field}: expected a number of at most 64 bits, got one of {len(str(abs(value)))} digits"
    pairs: Any = ()
    if type(value) is dict:
        pairs = ((f"{field}.{key[:64]}", inner) for key, inner in value.items())
    elif type(value) is list:
        pairs = ((f"{field}[{place}]", inner) for place, inner in enumerate(value))
    return next((reason for name, inner in pairs if (reason := wide_number(name, inner))), None)
