"""The live page: one self-contained file that reads ``/metrics`` every two seconds."""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["PAGE_TYPE", "page"]

PAGE_TYPE = b"text/html; charset=utf-8"


@cache
def page() -> bytes:
    """The page's bytes, read once.

    Example:
        >>> page()[:15]
        b'<!doctype html>'
    """
    return Path(__file__).with_name("page.html").read_bytes()
