"""What is learned about users and items, one part a file."""

from __future__ import annotations

__all__: list[str] = []
