"""How rows leave a table so that nothing of them is left anywhere in the file.

SQLite overwrites what it deletes (secure delete). But when a page gets too empty it moves rows of its
neighbours together, and copies of rows *that stay* remain in the unused parts of pages. If such a row is to
go later, its copy is still there. So rows here are never deleted beside others that hold something: they are
emptied first, which moves nothing, and deleted once a margin of emptied rows stands between them and the
next full one. Rows are added at the end only, which moves nothing either.
"""

from __future__ import annotations

import sqlite3

__all__ = ["MARGIN", "delete_emptied"]

MARGIN = 1_000
"""Emptied rows that stay: more than the pages hold between which SQLite moves rows (four of 170 at most)."""


def delete_emptied(connection: sqlite3.Connection, table: str, key: str, upto: int) -> None:
    """Delete the rows up to `upto`, all of them emptied, but the last thousand.

    Example:
        >>> connection = sqlite3.connect(":memory:")
        >>> _ = connection.execute("CREATE TABLE numbers(n INTEGER PRIMARY KEY)")
        >>> _ = connection.executemany("INSERT INTO numbers VALUES(?)", [(n,) for n in range(2_000)])
        >>> delete_emptied(connection, "numbers", "n", 1_499)
        >>> connection.execute("SELECT min(n), count(*) FROM numbers").fetchone()
        (500, 1500)
    """
    sql = f"SELECT {key} FROM {table} WHERE {key} <= ? ORDER BY {key} DESC LIMIT 1 OFFSET ?"
    found = connection.execute(sql, (upto, MARGIN)).fetchone()
    if found is not None:
        connection.execute(f"DELETE FROM {table} WHERE {key} <= ?", found)
