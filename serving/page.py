"""The live page: one self-contained file that reads ``/metrics`` every two seconds."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path

__all__ = ["PAGE_TYPE", "page", "page_headers"]

PAGE_TYPE = b"text/html; charset=utf-8"


@cache
def page() -> bytes:
    """The page's bytes, read once.

    Example:
        >>> page()[:15]
        b'<!doctype html>'
    """
    return Path(__file__).with_name("page.html").read_bytes()


@cache
def page_headers() -> list[tuple[bytes, bytes]]:
    """What a browser may do with the page: run its own script, read this Freshet, and nothing else.

    Example:
        >>> dict(page_headers())[b"referrer-policy"]
        b'no-referrer'
    """
    policy = (
        f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return [
        (b"content-security-policy", policy.encode()),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
    ]


def _hashes(tag: str) -> str:
    """The page's own elements of this kind, by what is in them."""
    found = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), page(), re.DOTALL)
    return " ".join(f"'sha256-{b64encode(sha256(text).digest()).decode()}'" for text in found)
